"""``benchmark_methods.py``: what each method costs, and which of the papers' claims hold."""
