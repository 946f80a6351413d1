"""The training loop: epochs of steps, a checkpoint after each epoch, and a return to it if the loss diverges."""

import math
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from ..adapters import Method
from ..machine import exchange
from ..machine.exchange import on_rank_zero
from ..network.network import SegmentationNetwork
from ..segmenting.slices import normalise
from ..shared.errors import CancelledError, SettingsError
from ..shared.protocol import PREPARING, TRAINING
from .clock import Clock, Monitor, Progress
from .features import CachedFeatures
from .prepare import PreparedCase
from .record import FEATURES, History, Record, dice_columns
from .samples import AugmentedSlices, batches_of, image_seed
from .settings import TrainSettings
from .step import Diverged, TrainingStep, schedule
from .validation import Validate, Validation

__all__ = ["Progress", "Trainer"]

_PREPARATION_SHARE = 0.2  # of a run with a time limit
_MOST_SETBACKS = 3


class Trainer:
    """Trains the trainable parameters of a network.

    With several processes (``exchange.process_group``), each has a trainer and computes its shard of every batch;
    clock, callbacks and files are those of rank 0.

    :param method: the method that was applied to the network.
    :param folder: folder of the run, for checkpoint and ``log.csv``.
    :param validate: see ``Validation``; None: keep the last epoch.
    :param progress, cancelled, control: see ``Monitor``. A run that is stopped validates and keeps its best epoch.
    :param say: called with a sentence if something went wrong but the training goes on.
    :raises SettingsError: a batch is smaller than the number of processes.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        cases: list[PreparedCase],
        method: Method,
        settings: TrainSettings,
        crop: tuple[int, int],
        context: int,
        folder: Path,
        device: torch.device,
        validate: Validate | None = None,
        progress: Callable[[Progress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        control: Callable[[], str] | None = None,
        say: Callable[[str], None] = lambda text: None,
    ):
        self.network, self.method, self.settings = network.to(device), method, settings
        exchange.share_batch_norms(network)
        self.source = AugmentedSlices(cases, crop, context, settings)
        batches = batches_of(len(self.source), settings.batch_size)
        _check_batch(len(batches[0]), len(self.source))
        steps = settings.steps or max(1, settings.epochs * len(batches))
        self.history = History()
        self.record = Record(folder, settings, self.history, say)
        self.clock = Clock(self.history, steps, settings.max_minutes)
        self.monitor = Monitor(self.clock, math.ceil(steps / len(batches)), progress, cancelled, control)
        self.step = TrainingStep(network, method, settings, len(batches[0]), crop, device, say)
        self.validation = Validation(network, settings, self.monitor, validate)

    def initialise(self) -> None:
        """Let the method initialise its modules from the training images; before ``run``, but not for a resumed run.

        With a time limit, this takes at most a fifth of it.
        """
        self.clock.start()
        on_rank_zero(self._initialise)
        self.monitor.synchronise()
        exchange.broadcast_from_rank_zero(self.network.trained_state().values())
        self.validation.restart()

    def _initialise(self) -> None:
        def keep_on(share: float) -> bool:
            self.monitor.watch(PREPARING, 0, None, share)
            return not self.monitor.stopped and self.clock.fraction(0) < _PREPARATION_SHARE

        batches = self.source.batches(0, whole=True)
        images = (normalise(images.to(self.step.device)) for (images,), _ in batches)
        self.method.initialise(self.network, images, keep_on)

    def measure(self) -> None:
        """Validate before the first step, for comparison; after ``initialise``, but not for a resumed run."""
        self.clock.start()
        self.validation.measure()
        self.monitor.synchronise()

    def run(self, resume: bool = False) -> dict[str, Tensor]:
        """Train to the end and return the tensors of the best epoch (without validation: the last one).

        :param resume: continue from the checkpoint in the folder of the run.
        :raises CancelledError: the run was cancelled, or stopped before its first step.
        :raises ModelFileError, SettingsError: the checkpoint cannot be resumed.
        :raises SettingsError: the loss diverges, even with lower learning rates.
        """
        if resume:
            exchange.on_every_rank(self._restore)
        self.clock.start()
        if not self._is_over():
            # If stop was requested, take no step; still report the validation before the first step.
            loss = self.history.rows[-1]["loss"] if self.history.rows else None
            self.monitor.report(TRAINING if self.history.rows else PREPARING, self.history.epoch, loss)
        if self.settings.quick and not self._is_over():
            self._compute_features()
        if not resume:
            self._save()
        while not self._is_over():
            try:
                self._epoch(self.history.epoch + 1)
            except Diverged:
                self._go_back()
                continue
            self._save()
            # Report again, now with the validation; after the checkpoint, so that a cancel here loses nothing.
            self.monitor.report(TRAINING, self.history.epoch, self.history.rows[-1]["loss"])
        if self.monitor.stopped and not self.history.step:
            raise CancelledError(
                "The training was stopped before its first step: there is no model yet.", "Start again."
            )
        return self.validation.best

    def _is_over(self) -> bool:
        stale = self.settings.patience is not None and self.history.stale >= self.settings.patience
        return self.monitor.stopped or stale or self.clock.fraction(self.history.step) >= 1

    def _compute_features(self) -> None:
        def report(share: float) -> None:
            self.monitor.watch(PREPARING, 0, None, share)

        folder = self.record.folder / FEATURES
        self.source = CachedFeatures(self.source, self.network, folder, self.step.device, report)

    def _epoch(self, epoch: int) -> None:
        self.network.train()
        total, count = 0.0, 0
        places = batches_of(len(self.source), self.settings.batch_size)
        for (inputs, targets), batch in zip(self.source.batches(epoch), places, strict=True):
            seeds = [image_seed(self.settings.seed, epoch, place) for place in exchange.shard(batch)]
            fraction = self.clock.fraction(self.history.step)
            rate = schedule(fraction, self.settings.warmup) * self.history.rate
            total, count = total + self.step.take(self.source, inputs, targets, seeds, rate, fraction), count + 1
            self.history.step += 1
            self.validation.update_average()
            self.monitor.report(TRAINING, epoch, total / count)
            if self._is_over():
                break
        row = {"epoch": epoch, "loss": total / count, "learning_rate": self.step.optimizer.param_groups[0]["lr"]}
        row |= dice_columns(self.validation.end_epoch(epoch, row["loss"], self._is_over()))
        self.monitor.synchronise()
        self.history.epoch = epoch
        self.history.rows.append({**row, "seconds": round(self.history.seconds, 1)})

    def _go_back(self) -> None:
        """Return to the last checkpoint with half the learning rate, because the loss is no longer a number."""
        broken, seconds = self.history.epoch + 1, self.history.seconds
        self._restore()
        if self.history.setbacks >= _MOST_SETBACKS:
            raise SettingsError(
                f"The loss is no longer a number in epoch {broken}, even with an eighth of the learning rate.",
                "Train again with a smaller learning rate, or resume with it from the last good epoch.",
                setting=("learning_rate", "resume"),
            )
        self.history.setbacks, self.history.rate = self.history.setbacks + 1, self.history.rate / 2
        self.history.seconds = seconds
        where = f"the end of epoch {self.history.epoch}" if self.history.epoch else "the start"
        self.record.say(
            f"The loss was no longer a number in epoch {broken}: back to {where}, with half the learning rate."
        )
        self._save()

    def _save(self) -> None:
        state = {
            "network": self.network.trained_state(),
            "average": self.validation.average,
            "best": self.validation.best,
            "optimizer": self.step.optimizer.state_dict(),
            "scaler": self.step.scaler.state_dict(),
        }
        on_rank_zero(lambda: self.record.save(state))

    def _restore(self) -> None:
        state = self.record.load(self.network.trained_state(), self.step.optimizer)
        self.network.load_trained_state(state["network"])
        self.validation.restore(state["average"], state["best"], self.step.device)
        self.step.restore(state["optimizer"], state["scaler"])
        self.history.restore(state["history"])


def _check_batch(batch: int, samples: int) -> None:
    processes = exchange.world_size()
    if batch < processes:
        larger = " or train with a larger batch size." if samples >= processes else ""
        raise SettingsError(
            f"A batch of {batch} slices cannot be shared by {processes} processes.",
            f"Start at most {batch} processes{',' + larger if larger else '.'}",
            setting="batch_size" if larger else (),
        )
