"""Seconds that the parts of a piece of work take."""

import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    """Add the time that the block takes to ``seconds[part]``, even if the block raises an error."""
    started = time.perf_counter()
    try:
        yield
    finally:
        seconds[part] = seconds.get(part, 0.0) + time.perf_counter() - started


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    """The same, to the millisecond."""
    return {part: round(value, 3) for part, value in seconds.items()}
