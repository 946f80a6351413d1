"""Filling the slices between drawn ones: what is drawn, and the job that has it filled."""
