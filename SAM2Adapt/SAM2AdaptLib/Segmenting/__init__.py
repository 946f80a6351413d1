"""Jobs that segment."""
