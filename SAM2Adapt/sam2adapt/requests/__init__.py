"""Carries out the requests of ``shared.requests`` for command line, server, batch and console."""
