"""Correct a result by clicks: points, scribbles and boxes, for a structure and against it."""
