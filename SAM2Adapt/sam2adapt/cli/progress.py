"""Progress for people: a bar with rate and time left on a terminal, plain lines elsewhere."""

import os
import sys
import time

from tqdm import tqdm

_SECONDS_BETWEEN_LINES = 10.0


def leads() -> bool:
    """Whether this process prints for all processes that torchrun started together."""
    return os.environ.get("RANK", "0") == "0"


class Bar:
    """Progress on standard error.

    :param what: what is counted: ``slice``, ``volume``, ``%``.
    """

    def __init__(self, title: str, what: str):
        self.title, self.what, self.total = title, what, 0
        self._started = self._written = time.monotonic()
        self._bar = None
        if sys.stderr.isatty():
            self._bar = tqdm(desc=title, unit=f" {what}", file=sys.stderr, leave=True)

    def update(self, done: float, total: int, note: str = "") -> None:
        """Show that ``done`` of ``total`` are done, and a note."""
        self.total = total
        if self._bar is not None:
            self._bar.total = total
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(done - self._bar.n)
            return
        now = time.monotonic()
        if now - self._written >= _SECONDS_BETWEEN_LINES or done >= self.total:
            self._written = now
            print(self._line(done, now - self._started, note), file=sys.stderr, flush=True)

    def _line(self, done: float, seconds: float, note: str) -> str:
        rate = done / seconds if seconds > 0 else 0.0
        left = f", {duration((self.total - done) / rate)} left" if rate and done < self.total else ""
        speed = f", {rate:.3g} {self.what}s/s" if self.what != "%" else ""
        count = f"{done:.0f} %" if self.what == "%" else f"{done:.0f} of {self.total} {self.what}s"
        return f"{self.title}: {count}{speed}{left}{', ' + note if note else ''}"

    def close(self) -> None:
        """End the bar's line."""
        if self._bar is not None:
            self._bar.close()


def duration(seconds: float) -> str:
    """Seconds in words, for instance ``3 min 20 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
