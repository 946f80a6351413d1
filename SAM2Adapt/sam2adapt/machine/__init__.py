"""Devices, memory, and processes that work together."""
