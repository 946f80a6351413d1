"""Compute slices side by side: one thread each, since single products are too small to share."""

import contextlib
import functools
import itertools
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait

import torch
from threadpoolctl import ThreadpoolController

_LOOK = 0.05  # seconds after which those who wait for another thread look whether to stop
_AHEAD = 2  # results that may wait for the caller, for each thread: those of a large CT's slices take megabytes


def one_thread() -> None:
    """Let scikit-learn compute in the calling thread alone: its own threads would wait for each other at full speed."""
    _pools().limit(limits=1, user_api="openmp")


@functools.cache
def _pools() -> ThreadpoolController:
    """Found once: to look through all libraries takes milliseconds, which every new thread would spend in turn."""
    return ThreadpoolController()


@contextlib.contextmanager
def beside(count: int) -> Iterator[tuple[ThreadPoolExecutor, threading.Event]]:
    """Threads that compute beside the caller, and an event that tells them to stop.

    Who leaves early, for example because the work is cancelled, does not wait for them.
    """
    pool, stopped = ThreadPoolExecutor(count, initializer=one_thread), threading.Event()
    try:
        yield pool, stopped
    finally:
        stopped.set()
        pool.shutdown(wait=False)


def results_of(futures: list[Future], look: Callable[[], None]) -> list:
    """Their results in order; ``look`` is called again and again until all are there, and may raise to stop."""
    while wait(futures, timeout=_LOOK).not_done:
        look()
    return [future.result() for future in futures]


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
        """Results in the order of the items, a few of them ahead; what is left is dropped where the caller stops."""
        if self.size == 1:
            yield from map(function, items)
            return
        pool = ThreadPoolExecutor(self.size, initializer=one_thread)
        try:
            waiting, rest = deque(), iter(items)
            for item in itertools.islice(rest, _AHEAD * self.size):
                waiting.append(pool.submit(function, item))
            while waiting:
                result = waiting.popleft().result()
                waiting.extend(pool.submit(function, item) for item in itertools.islice(rest, 1))
                yield result
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
