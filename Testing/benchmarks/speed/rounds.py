"""Times of candidates that take turns: in every round each one runs once, in an order drawn anew."""

import math
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

_SHORTEST = (
    0.1  # seconds: what is faster runs several times in a row, so that the clock's and the system's jitter is small
)


@dataclass(frozen=True)
class Candidate:
    """One thing to measure.

    :param row: its name in the results; any two differ.
    :param group: those that are compared most closely run next to each other.
    :param units: slices (or other units) of one call, which the time is divided by.
    """

    row: str
    group: str
    units: int
    call: Callable[[], object]


@dataclass(frozen=True)
class Ratio:
    """How many times longer one candidate takes than another.

    :param of_medians: quotient of both medians; ``of_rounds``: median of the quotients of each round.
    """

    of_medians: float
    of_rounds: float

    @property
    def smaller(self) -> float:
        """The one that counts where a large ratio is wanted."""
        return min(self.of_medians, self.of_rounds)

    @property
    def larger(self) -> float:
        """The one that counts where a small ratio is wanted."""
        return max(self.of_medians, self.of_rounds)


def ratio(times: Sequence[float], others: Sequence[float]) -> Ratio:
    """Compare times with those of another candidate in the same rounds."""
    quotients = [one / other for one, other in zip(times, others, strict=True)]
    return Ratio(statistics.median(times) / statistics.median(others), statistics.median(quotients))


def interleaved(
    candidates: Sequence[Candidate],
    rounds: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
    warm: bool = True,
    clock: Callable[[], float] = time.perf_counter,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Measure all candidates in turns.

    :param progress: is told how many calls of how many have been measured.
    :param warm: before each measured call comes one that is not counted, since in use the same network runs again and
        again; caches (of the processor, and of prepared operations) would otherwise hold what ran before.
    :param seed: of the order.
    :return: seconds a unit, of every round, by row.
    """
    generator = np.random.default_rng(seed)
    times: dict[str, list[float]] = {candidate.row: [] for candidate in candidates}
    if len(times) < len(candidates):
        raise ValueError("Two candidates have the same name.")
    for number in range(rounds):
        for done, candidate in enumerate(_order(candidates, generator)):
            times[candidate.row].append(_seconds(candidate, warm, clock))
            progress(number * len(candidates) + done + 1, rounds * len(candidates))
    return times


def _order(candidates: Sequence[Candidate], generator: np.random.Generator) -> list[Candidate]:
    """The groups in an order drawn anew, and so within each group."""
    groups = list(dict.fromkeys(candidate.group for candidate in candidates))
    ordered = []
    for index in generator.permutation(len(groups)):
        members = [candidate for candidate in candidates if candidate.group == groups[index]]
        ordered += [members[i] for i in generator.permutation(len(members))]
    return ordered


def _seconds(candidate: Candidate, warm: bool, clock: Callable[[], float]) -> float:
    repeats = 1
    if warm:
        started = clock()
        candidate.call()
        repeats = max(1, math.ceil(_SHORTEST / max(clock() - started, 1e-6)))
    started = clock()
    for _ in range(min(repeats, 100)):
        candidate.call()
    return (clock() - started) / min(repeats, 100) / candidate.units
