"""Carries out the requests of ``shared.requests``, whoever sends them; the way from entrances to the rooms below."""
