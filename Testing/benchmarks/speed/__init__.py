"""``benchmark_speed.py``: what segmenting, starting and training cost, beside other networks, measured in one run.

Everything that is compared is interleaved (``rounds.py``), so that noise hits all alike. Each section of the benchmark
is a file of ``sections/``; ``run.py`` runs them, ``targets.py`` says what was reached, ``report.py`` writes it down.
"""

SECTIONS = ("network", "segment", "engine", "training", "memory", "scaling", "profile")
