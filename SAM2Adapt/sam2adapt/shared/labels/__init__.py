"""Label files: their names and partners, what their values mean, and overlaps."""
