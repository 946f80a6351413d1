"""The time of a training run, its progress reports, and requests to pause, stop or cancel it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from ..machine.exchange import on_rank_zero
from ..shared.errors import CancelledError
from ..shared.protocol import PAUSE, PAUSED, STOP, TRAINING
from .record import History

_SECONDS_BETWEEN_LOOKS = 0.1  # to see whether a pause has ended

Watch = Callable[[], None]


@dataclass
class Progress:
    """The state of a run, for progress reports.

    While the method prepares its modules, the epoch is 0, there is no loss, and ``prepared`` is the share that is done.
    ``dice`` is the best mean so far; ``scores`` is from the last validation: ``{"mean": Dice, "<class>": Dice}``.

    :param stage: ``preparing``, ``training``, ``validating`` or ``paused``.
    :param preview: file with the labels of a validation case, and the id of the case, in the first report after it was
        written.
    """

    fraction: float
    epoch: int
    epochs: int
    loss: float | None
    dice: float | None
    seconds: float
    prepared: float = 1.0
    scores: dict[str, float] = field(default_factory=dict)
    stage: str = TRAINING
    preview: tuple[Path, str] | None = None


class Clock:
    """The time that a run has taken, without pauses, and the share of the run that is done.

    :param history: keeps the seconds, so that a resumed run continues to count.
    :param steps: number of steps of the whole run; ``max_minutes``: its time limit, or None.
    :ivar validation_seconds: time of the last validation; a run with a time limit leaves time for one at its end.
    """

    def __init__(self, history: History, steps: int, max_minutes: float | None):
        self.history, self.steps, self.max_minutes = history, steps, max_minutes
        self.validation_seconds = 0.0
        self._started = 0.0

    def start(self) -> None:
        """Continue to count from the seconds in the history."""
        self._started = time.perf_counter() - self.history.seconds

    def seconds(self) -> float:
        """Seconds that the run has taken."""
        return time.perf_counter() - self._started

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Do not count the time that the block takes."""
        began = time.perf_counter()
        yield
        self._started += time.perf_counter() - began

    def fraction(self, step: int) -> float:
        """Share of the run, 0 to 1, that is done after ``step`` steps: by steps or by time, whichever is more."""
        done = step / self.steps
        if self.max_minutes:
            limit = self.max_minutes * 60 - self.validation_seconds
            done = max(done, self.history.seconds / max(1.0, limit))
        return min(1.0, done)


class Monitor:
    """Reports the progress of a run, and obeys requests to pause, stop or cancel it.

    Only rank 0 does this; the other ranks learn from it whether to stop, and share its clock.

    :param progress: called with the state of the run.
    :param cancelled: if it returns true, the run ends at once with ``CancelledError``.
    :param control: returns ``run``, ``pause`` (wait after this step) or ``stop`` (end after this step).
    :ivar stopped: whether a stop was requested.
    :ivar scores: results of the last validation; ``preview``: its preview, for the next report only.
    """

    def __init__(
        self,
        clock: Clock,
        epochs: int,
        progress: Callable[[Progress], None] | None,
        cancelled: Callable[[], bool] | None,
        control: Callable[[], str] | None,
    ):
        self.clock, self.history, self.epochs = clock, clock.history, epochs
        self.progress, self.cancelled, self.control = progress, cancelled, control
        self.stopped = False
        self.scores: dict[str, float] = {}
        self.preview: tuple[Path, str] | None = None

    def report(self, stage: str, epoch: int, loss: float | None) -> None:
        """Report on rank 0, and obey requests on every rank."""
        self._synchronise(lambda: self.watch(stage, epoch, loss))

    def synchronise(self) -> None:
        """Take over clock and stop from rank 0, without a report."""
        self._synchronise(lambda: None)

    def _synchronise(self, work: Watch) -> None:
        def state() -> tuple[float, bool]:
            work()
            return self.clock.seconds(), self.stopped

        self.history.seconds, self.stopped = on_rank_zero(state)

    def watch(self, stage: str, epoch: int, loss: float | None, prepared: float = 1.0) -> None:
        """Report and obey in this process only, within work that not all ranks do."""
        self.history.seconds = self.clock.seconds()
        self._tell(stage, epoch, loss, prepared)
        if not self.control:
            return
        with self.clock.paused():
            while (request := self.control()) == PAUSE:
                self._tell(PAUSED, epoch, loss, prepared)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
        self.stopped = self.stopped or request == STOP

    def _tell(self, stage: str, epoch: int, loss: float | None, prepared: float) -> None:
        if self.progress:
            dice = self.history.best_dice if self.history.best_dice >= 0 else None
            fraction, seconds = self.clock.fraction(self.history.step), self.history.seconds
            state = Progress(
                fraction, epoch, self.epochs, loss, dice, seconds, prepared, self.scores, stage, self.preview
            )
            self.preview = None
            self.progress(state)
        if self.cancelled and self.cancelled():
            if self.history.epoch:
                raise CancelledError(
                    "The training was cancelled.", "Resume it from its last whole epoch.", setting="resume"
                )
            raise CancelledError("The training was cancelled.", "Start it again.")
