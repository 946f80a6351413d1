"""The loop of the day: the next case, its correction, and models that learn from corrections and compete."""
