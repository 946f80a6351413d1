"""Correcting segments by clicks with the help of a model: the session on a volume, and the job of each click."""
