"""A request in progress: it sends progress and warnings, and knows whether to stop."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ..shared import protocol
from ..shared.errors import CancelledError
from .messages import Id

_SECONDS_BETWEEN = 0.1
# Rates are means over this many seconds: short enough to follow a change, long enough for batches on a slow CPU.
_WINDOW, _LONG_WINDOW = 10.0, 120.0
_LONG_STAGES = (protocol.TRAINING, protocol.BATCH)


class Task:
    """A request that is waiting or running.

    :param request: its id.
    :param notify: called with method and parameters of a notification; sends it.
    :ivar warnings: sentences that the user must see, in their order.
    :ivar action: what a training or batch should do, one of ``protocol.ACTIONS``; another thread sets it.
    """

    def __init__(self, request: Id | None, method: str, params: dict[str, Any], notify: Callable[[str, dict], None]):
        self.id, self.method, self.params, self._notify = request, method, params, notify
        self.warnings: list[str] = []
        self.action = protocol.RUN
        self._cancelled = threading.Event()
        self._stage, self._sent = "", 0.0
        self._samples: deque[tuple[float, float, float]] = deque()

    def cancel(self) -> None:
        """Ask the method to stop; any thread may call this."""
        self._cancelled.set()

    def cancelled(self) -> bool:
        """Whether the method should stop."""
        return self._cancelled.is_set()

    def cancelled_error(self) -> CancelledError:
        """The answer of a cancelled request."""
        return CancelledError("The request was cancelled.", "Nothing was changed.")

    def check(self) -> None:
        """Stop here if the client has cancelled the request.

        :raises CancelledError: it has.
        """
        if self.cancelled():
            raise self.cancelled_error()

    def warn(self, message: str) -> None:
        """Send a warning now, and again with the result."""
        self.warnings.append(message)
        self.log("warning", message)

    def log(self, level: str, message: str) -> None:
        """Send a sentence; level: "info" or "warning"."""
        self._notify("log", {"id": self.id, "level": level, "message": message})

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification about the request, for example that a preview is written."""
        self._notify(method, {"id": self.id, **params})

    def progress(
        self, stage: str, done: float, total: float, unit: str, fraction: float | None = None, **more: Any
    ) -> bool:
        """Send progress, at most ten times a second, but always the first and last of a stage.

        :param fraction: 0 to 1; None: ``done / total``.
        :param more: additional fields.
        :return: whether it was sent.
        """
        fraction = min(1.0, done / total if fraction is None else fraction)
        now = time.monotonic()
        if stage != self._stage:
            # Training and validation alternate; their rate is that of both together.
            if {stage, self._stage} != {protocol.TRAINING, protocol.VALIDATING}:
                self._samples.clear()
            self._stage = stage
        elif fraction < 1 and now - self._sent < _SECONDS_BETWEEN:
            return False
        self._sent = now
        self._samples.append((now, fraction, done))
        window = _LONG_WINDOW if stage in _LONG_STAGES else _WINDOW
        while len(self._samples) > 2 and now - self._samples[1][0] > window:
            self._samples.popleft()
        speed, rate = self._speeds()
        left = (1 - fraction) / speed if speed else None
        numbers = {"fraction": fraction, "done": done, "total": total, "unit": unit, "rate": rate, "secondsLeft": left}
        self._notify("progress", {"id": self.id, "stage": stage, **numbers, **more})
        return True

    def _speeds(self) -> tuple[float | None, float | None]:
        """Fraction and units per second; None if nothing is done yet."""
        (started, fraction, done), (now, fraction_now, done_now) = self._samples[0], self._samples[-1]
        seconds = now - started
        if seconds <= 0 or fraction_now <= fraction:
            return None, None
        return (fraction_now - fraction) / seconds, (done_now - done) / seconds or None
