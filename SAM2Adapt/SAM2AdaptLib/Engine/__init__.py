"""The engine's process, and the jobs that run in it."""
