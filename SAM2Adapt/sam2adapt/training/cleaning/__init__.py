"""Which pieces of what the network finds a new model keeps."""
