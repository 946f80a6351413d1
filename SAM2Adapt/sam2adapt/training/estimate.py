"""Estimate the cost of a training from a few real steps on the real data and one validation."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import pairwise

import torch

from ..machine.device import memory_used
from ..shared.protocol import RUN, STOP, TRAINING
from .loop import Progress
from .run import TrainRequest, set_up

_STEPS = 4  # the first one includes work that is done only once


@dataclass(frozen=True)
class Estimate:
    """The cost of a whole run, including validations.

    :param minutes: time of the run, if nothing ends it early.
    :param memory_bytes: peak memory of the process (CPU) or the GPU; None if it is unknown.
    """

    seconds_per_step: float
    steps: int
    minutes: float
    memory_bytes: int | None


def estimate(
    request: TrainRequest,
    progress: Callable[[Progress], None] | None = None,
    say: Callable[[str], None] = lambda text: None,
    cancelled: Callable[[], bool] | None = None,
) -> Estimate:
    """Measure a few steps of a run. They write into the folder of the run, so give the request another output.

    :raises UserError: as ``run.train``.
    """
    times, limit = [], request.settings.max_minutes

    def watch(state: Progress) -> None:
        if state.stage == TRAINING:
            times.append(time.perf_counter())
        if progress:
            progress(state)

    def control() -> str:
        return STOP if len(times) > _STEPS else RUN

    request = replace(request, settings=replace(request.settings, max_minutes=None, patience=None), resume=False)
    trainer = set_up(request, watch, say, cancelled, control).trainer
    trainer.run()
    seconds = statistics.median(after - before for before, after in pairwise(times[:_STEPS]))
    validations = 1 + trainer.monitor.epochs // (request.settings.validate_every or 1)  # once before the first step
    minutes = (trainer.clock.steps * seconds + validations * trainer.clock.validation_seconds) / 60
    return Estimate(
        seconds, trainer.clock.steps, min(minutes, limit or minutes), memory_used(torch.device(trainer.step.device))
    )
