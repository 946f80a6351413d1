"""Checks, installs and repairs the engine."""
