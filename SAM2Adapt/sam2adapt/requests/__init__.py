"""Carries out the requests of ``shared/requests.py``, whoever sends them; the way from entrances to the rooms below."""
