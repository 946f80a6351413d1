"""The training loop: AdamW, warm-up and cosine, autocast, EMA, a checkpoint every epoch, best epoch by validation."""

import csv
import io
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from monai.data import ThreadDataLoader
from torch import Tensor

from ..adapters import Method
from ..device import autocast, autocast_dtype
from ..errors import CancelledError, SettingsError
from ..files import atomic_write
from ..network.network import SegmentationNetwork
from ..slices import normalise
from .checkpoint import load_checkpoint, save_checkpoint
from .losses import SegmentationLoss
from .prepare import PreparedCase
from .samples import EpochSamples, epoch_slices
from .settings import TrainSettings
from .transforms import augmentation

_PREPARATION_SHARE = 0.2  # of a run whose time is limited


@dataclass
class Progress:
    """State of a run, as told to whoever watches.

    While the method prepares its modules, the epoch is 0, there is no loss, and ``prepared`` is the share that is done.
    ``dice`` is the best mean so far, ``scores`` are the latest validation's: ``{"mean": Dice, "<class>": Dice}``.
    """

    fraction: float
    epoch: int
    epochs: int
    loss: float | None
    dice: float | None
    seconds: float
    prepared: float = 1.0
    scores: dict[str, float] = field(default_factory=dict)


@dataclass
class History:
    """What a run has reached; part of its checkpoint."""

    epoch: int = 0
    seconds: float = 0.0
    step: int = 0
    best_dice: float = -1.0
    best_epoch: int = 0
    rows: list[dict] = field(default_factory=list)


class Trainer:
    """Train the trainable parameters of a network.

    :param method: the one that has been applied to the network.
    :param validate: gives ``{"mean": Dice, "<class>": Dice}`` of the network as it is; None: the last epoch is kept.
    :param folder: the run's folder, where checkpoint and ``log.csv`` go.
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
        validate: Callable[[], dict[str, float]] | None = None,
        progress: Callable[[Progress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ):
        self.network, self.cases, self.settings, self.device = network.to(device), cases, settings, device
        self.context, self.folder, self.validate, self.method = context, folder, validate, method
        self.progress, self.cancelled = progress, cancelled
        self.transform = augmentation(crop, settings.rotation, settings.scale, settings.flips)
        self.loss = SegmentationLoss(settings.loss or method.loss_weights())
        self.optimizer = torch.optim.AdamW(_groups(network, settings), weight_decay=settings.weight_decay)
        # Small gradients vanish in float16; bfloat16 holds them.
        self.scaler = torch.amp.GradScaler(device.type, enabled=autocast_dtype(device) == torch.float16)
        self._start_averages()
        self.history = History()
        self._validation_seconds = 0.0
        self._scores: dict[str, float] = {}
        count = len(epoch_slices(cases, settings.seed, 1))
        per_epoch = max(1, count // min(settings.batch_size, count))
        self._steps = settings.steps or max(1, settings.epochs * per_epoch)
        self._epochs = math.ceil(self._steps / per_epoch)

    @property
    def checkpoint(self) -> Path:
        """The run's checkpoint file."""
        return self.folder / "checkpoint.pt"

    def prepare(self) -> None:
        """Let the method prepare its modules on the training images; before ``run``, and not when going on.

        It takes at most a fifth of the run's time, where that is limited.
        """
        started = time.perf_counter()

        def keep_on(share: float) -> bool:
            self.history.seconds = time.perf_counter() - started
            self._report(0, None, share)
            return self._fraction(0) < _PREPARATION_SHARE

        batches = (normalise(images.to(self.device)) for images, _ in self._batches(0))
        self.method.prepare(self.network, batches, keep_on)
        self.history.seconds = time.perf_counter() - started
        self._start_averages()

    def _start_averages(self) -> None:
        self.average = {name: tensor.clone() for name, tensor in self.network.trained_state().items()}
        self.best = {name: tensor.clone() for name, tensor in self.average.items()}

    def _batches(self, epoch: int) -> ThreadDataLoader:
        samples = EpochSamples(self.cases, self.transform, self.context, self.settings.seed, epoch)
        size = min(self.settings.batch_size, len(samples))
        # A generator of its own: the loader draws a seed in its thread, and dropout must not see whether it has.
        return ThreadDataLoader(
            samples, batch_size=size, drop_last=True, buffer_size=2, num_workers=0, generator=torch.Generator()
        )

    def run(self, resume: bool = False) -> dict[str, Tensor]:
        """Train to the end and give the tensors of the best epoch (the last one without validation)."""
        if resume:
            self._restore(load_checkpoint(self.checkpoint))
        while self._fraction(self.history.step) < 1:
            self._epoch(self.history.epoch + 1)
            self._save()
            # Once more, now with the validation; whoever stops the run here loses nothing of the epoch.
            self._report(self.history.epoch, self.history.rows[-1]["loss"])
        return self.best

    def _epoch(self, epoch: int) -> None:
        torch.manual_seed(self.settings.seed * 100_003 + epoch)  # dropout must not depend on where a run was resumed
        started, before = time.perf_counter(), self.history.seconds
        self.network.train()
        total, count = 0.0, 0
        for images, targets in self._batches(epoch):
            total, count = total + self._step(images, targets), count + 1
            self.history.seconds = before + time.perf_counter() - started
            self._report(epoch, total / count)
            if self._fraction(self.history.step) >= 1:
                break
        row = {"epoch": epoch, "loss": total / count, "learning_rate": self.optimizer.param_groups[0]["lr"]}
        row.update({f"dice {name}": value for name, value in self._validated(epoch).items()})
        self.history.seconds = before + time.perf_counter() - started
        self.history.epoch = epoch
        self.history.rows.append({**row, "seconds": round(self.history.seconds, 1)})
        self._write_log()

    def _step(self, images: Tensor, targets: Tensor) -> float:
        factor = schedule(self._fraction(self.history.step), self.settings.warmup)
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial"] * factor
        images, prompts = normalise(images.to(self.device)), self.method.draw_prompts(targets)
        with autocast(self.device):
            logits, extras = self.network.forward_with_extras(images, prompts)
        targets = targets.to(self.device)
        loss = self.loss(logits, targets)
        loss = loss + self.method.auxiliary_loss(extras, targets, self._fraction(self.history.step))
        if not torch.isfinite(loss):
            raise SettingsError(
                f"The loss is no longer a number in epoch {self.history.epoch + 1}.",
                "Go on from the last good epoch with --resume and a smaller --learning-rate.",
            )
        self.optimizer.zero_grad(set_to_none=True)
        self.scaler.scale(loss).backward()
        self.scaler.unscale_(self.optimizer)
        torch.nn.utils.clip_grad_norm_(
            [p for g in self.optimizer.param_groups for p in g["params"]], self.settings.clip
        )
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.history.step += 1
        self._update_average()
        return loss.item()

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.settings.ema, (1 + self.history.step) / (10 + self.history.step))
        for name, tensor in self.network.trained_state().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)

    def _validated(self, epoch: int) -> dict[str, float]:
        """Validate the averaged weights where it is due; keep them if they are the best."""
        last = self._fraction(self.history.step) >= 1
        if self.validate is None or (epoch % (self.settings.validate_every or 1) and not last):
            if self.validate is None:
                self.best = {name: tensor.clone() for name, tensor in self.average.items()}
                self.history.best_epoch = epoch
            return {}
        started = time.perf_counter()
        own = {name: tensor.clone() for name, tensor in self.network.trained_state().items()}
        self.network.load_trained_state(self.average)
        dice = self.validate()
        self.network.load_trained_state(own)
        self._validation_seconds, self._scores = time.perf_counter() - started, dice
        if dice["mean"] > self.history.best_dice:
            self.history.best_dice, self.history.best_epoch = dice["mean"], epoch
            self.best = {name: tensor.clone() for name, tensor in self.average.items()}
        return dice

    def _fraction(self, step: int) -> float:
        """Share of the run that is done, by steps or by time, whichever is further."""
        done = step / self._steps
        if self.settings.max_minutes:
            limit = self.settings.max_minutes * 60 - self._validation_seconds
            done = max(done, self.history.seconds / max(1.0, limit))
        return min(1.0, done)

    def _report(self, epoch: int, loss: float | None, prepared: float = 1.0) -> None:
        if self.progress:
            dice = self.history.best_dice if self.history.best_dice >= 0 else None
            fraction = self._fraction(self.history.step)
            seconds, scores = self.history.seconds, self._scores
            self.progress(Progress(fraction, epoch, self._epochs, loss, dice, seconds, prepared, scores))
        if self.cancelled and self.cancelled():
            remedy = "Go on from the last whole epoch with --resume." if self.history.epoch else "Start it again."
            raise CancelledError("The training was cancelled.", remedy)

    def _write_log(self) -> None:
        names = list(dict.fromkeys(key for row in self.history.rows for key in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, names)
        writer.writeheader()
        writer.writerows(self.history.rows)
        with atomic_write(self.folder / "log.csv") as file:
            file.write(text.getvalue().encode())

    def _save(self) -> None:
        state = {
            "settings": self.settings.to_json(),
            "history": vars(self.history).copy(),
            "network": self.network.trained_state(),
            "average": self.average,
            "best": self.best,
            "optimizer": self.optimizer.state_dict(),
            "scaler": self.scaler.state_dict(),
        }
        save_checkpoint(self.checkpoint, state)

    def _restore(self, state: dict) -> None:
        free = ("epochs", "steps", "max_minutes", "learning_rate", "base_learning_rate")
        own = self.settings.to_json()
        changed = [k for k, v in state["settings"].items() if k not in free and own.get(k) != v]
        if changed:
            raise SettingsError(
                f"The run to resume was started with another setting '{changed[0]}'"
                f" ({state['settings'][changed[0]]}, not {own.get(changed[0])}).",
                "Resume with the same settings, or start a new run.",
            )
        self.network.load_trained_state(state["network"])
        self.average = {name: tensor.to(self.device) for name, tensor in state["average"].items()}
        self.best = {name: tensor.to(self.device) for name, tensor in state["best"].items()}
        initial = [group["initial"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(state["optimizer"])
        for group, value in zip(self.optimizer.param_groups, initial, strict=True):
            group["initial"] = value
        self.scaler.load_state_dict(state["scaler"])
        self.history = History(**state["history"])


def schedule(fraction: float, warmup: float) -> float:
    """Factor of the learning rate at a share of the run: a linear rise, then half a cosine down to 0."""
    if fraction < warmup:
        return max(fraction / warmup, 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (fraction - warmup) / (1 - warmup)))


def _groups(network: SegmentationNetwork, settings: TrainSettings) -> list[dict]:
    """Parameter groups: those SAM2 had, with the smaller rate, and those added, matrices with weight decay only."""
    groups = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name in network.base_names, parameter.ndim > 1), []).append(parameter)
    rates = {True: settings.base_learning_rate, False: settings.learning_rate}
    decays = {True: settings.weight_decay, False: 0.0}
    return [
        {"params": parameters, "lr": rates[base], "initial": rates[base], "weight_decay": decays[matrix]}
        for (base, matrix), parameters in groups.items()
    ]
