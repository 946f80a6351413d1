"""Compute slices side by side: one thread each, since single products are too small to share."""

import contextlib
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor

import torch


class Team:
    """As many threads as torch may use; torch itself computes in one thread meanwhile."""

    def __init__(self, size: int | None = None):
        self.size = size or torch.get_num_threads()

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Within this block torch uses one thread."""
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            yield
        finally:
            torch.set_num_threads(before)

    def map(self, function: Callable, items: Iterable) -> Iterator:
        """Results in the order of the items; what is left is dropped where the caller stops."""
        if self.size == 1:
            yield from map(function, items)
            return
        pool = ThreadPoolExecutor(self.size)
        try:
            yield from pool.map(function, items)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
