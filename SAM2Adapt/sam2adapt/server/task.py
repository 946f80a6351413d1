"""What a method of the engine server gets beside its parameters: progress, warnings, and whether to stop."""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from ..shared import protocol
from ..shared.errors import CancelledError
from .messages import Id

_SECONDS_BETWEEN = 0.1
# Rates are means over this long: short enough to follow a change, long enough for a slow CPU's batches.
_WINDOW, _LONG_WINDOW = 10.0, 120.0
_LONG_STAGES = (protocol.TRAINING, protocol.BATCH)


class Task:
    """One request on its way.

    :param request: its id.
    :param notify: sends a notification, given its method and parameters.
    :ivar warnings: sentences that the user must see, in the order in which they came.
    :ivar action: what a training or batch shall do, one of ``protocol.ACTIONS``; set by another thread.
    """

    def __init__(self, request: Id | None, method: str, params: dict[str, Any], notify: Callable[[str, dict], None]):
        self.id, self.method, self.params, self._notify = request, method, params, notify
        self.warnings: list[str] = []
        self.action = protocol.RUN
        self._cancelled = threading.Event()
        self._stage, self._sent = "", 0.0
        self._samples: deque[tuple[float, float, float]] = deque()

    def cancel(self) -> None:
        """Ask the method to stop; may be called from another thread."""
        self._cancelled.set()

    def cancelled(self) -> bool:
        """Whether the method shall stop."""
        return self._cancelled.is_set()

    def cancelled_error(self) -> CancelledError:
        """What is answered then."""
        return CancelledError("The request was cancelled.", "Nothing was changed.")

    def check(self) -> None:
        """Stop here if the client has cancelled the request.

        :raises CancelledError: it has.
        """
        if self.cancelled():
            raise self.cancelled_error()

    def warn(self, message: str) -> None:
        """Tell the user at once, and again with the result."""
        self.warnings.append(message)
        self.log("warning", message)

    def log(self, level: str, message: str) -> None:
        """Send a sentence; level: "info" or "warning"."""
        self._notify("log", {"id": self.id, "level": level, "message": message})

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification of the request, for instance that a first answer is there."""
        self._notify(method, {"id": self.id, **params})

    def progress(
        self, stage: str, done: float, total: float, unit: str, fraction: float | None = None, **more: Any
    ) -> bool:
        """Send progress, ten times a second at most; the first and the last of a stage always.

        :param fraction: 0..1, where it is not ``done / total``.
        :param more: further fields.
        :return: whether it was sent.
        """
        fraction = min(1.0, done / total if fraction is None else fraction)
        now = time.monotonic()
        if stage != self._stage:
            if {stage, self._stage} != {
                protocol.TRAINING,
                protocol.VALIDATING,
            }:  # these take turns, at one speed on the whole
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
        """Fraction and units a second; None where nothing was done yet."""
        (started, fraction, done), (now, fraction_now, done_now) = self._samples[0], self._samples[-1]
        seconds = now - started
        if seconds <= 0 or fraction_now <= fraction:
            return None, None
        return (fraction_now - fraction) / seconds, (done_now - done) / seconds or None
