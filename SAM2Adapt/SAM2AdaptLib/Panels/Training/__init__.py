"""Sections of the panel SAM2 Adapter Training."""
