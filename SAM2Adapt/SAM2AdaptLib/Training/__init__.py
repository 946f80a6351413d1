"""Jobs that train, and their cases."""
