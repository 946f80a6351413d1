"""``gpu.py``: what networks, segmenting, training and filling cost on a machine with an NVIDIA GPU.

Each section is a file with two functions. ``measure(context, left, entry)`` writes its numbers into ``entry`` as it
goes, so that a run that is cut short keeps what it has, and asks ``left()`` for the seconds that it may still take.
``lines(entry)`` gives its part of the page. ``run.py`` runs the sections, ``page.py`` writes the page.
"""

SECTIONS = ("networks", "labels", "segment", "ladder", "training", "filling")  # the most important first
