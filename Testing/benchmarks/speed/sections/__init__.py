"""One file for each of ``SECTIONS``, with a function ``measure`` that gives its numbers."""
