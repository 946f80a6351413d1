"""How long a run may take, and what happens when the time is up."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

_AGAIN = 5.0  # s: an alarm that comes while Python frees objects is lost, so it rings again


class TimeIsUp(BaseException):
    """The time of the run is over; no ordinary error, so that nothing on the way handles it as one."""


class Budget:
    """The seconds of a run.

    :param seconds: how long it may take in all.
    """

    def __init__(self, seconds: float):
        self._seconds, self._end = seconds, time.monotonic() + seconds

    def left(self) -> float:
        """Seconds until the end of the run."""
        return self._end - time.monotonic()

    def share(self, part: float) -> Callable[[], float]:
        """What tells the seconds that are left of a part (0 to 1) of the whole time, which begins now."""
        end = time.monotonic() + part * self._seconds
        return lambda: min(self.left(), end - time.monotonic())

    @contextmanager
    def alarm(self) -> Iterator[None]:
        """Raise ``TimeIsUp`` inside when the time is up, where the system has alarms (not on Windows)."""
        if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGALRM, _ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, max(self.left(), 1e-3), _AGAIN)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)


def _ring(*_: object) -> None:
    raise TimeIsUp
