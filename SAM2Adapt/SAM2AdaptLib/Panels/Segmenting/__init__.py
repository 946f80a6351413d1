"""Sections of the panel SAM2 Auto-Segment."""
