"""Model files and base weights: what is in them, what is on this machine, and how they get there."""
