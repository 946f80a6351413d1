"""The training loop: AdamW, warm-up and cosine, autocast, EMA, a checkpoint every epoch, best epoch by validation."""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from ..adapters import Method
from ..machine import exchange
from ..machine.device import autocast, autocast_dtype, is_out_of_memory, release_memory
from ..machine.exchange import MemoryRanOutElsewhere, lead
from ..network import dropout
from ..network.network import Prompts, SegmentationNetwork
from ..segmenting.slices import normalise
from ..shared.errors import CancelledError, DeviceError, OutputError, SettingsError
from .checkpoint import CHECKPOINT, load_checkpoint, save_checkpoint
from .features import CachedFeatures, is_encoder_side
from .history import History, Progress, dice_columns, write_log
from .losses import SegmentationLoss
from .prepare import PreparedCase
from .samples import AugmentedSlices, batches_of, image_seed
from .settings import TrainSettings
from .step import attention_of, backward, parameter_groups, piece_sizes, schedule

__all__ = ["History", "Progress", "Trainer", "schedule"]

_PREPARATION_SHARE = 0.2  # of a run whose time is limited
_MOST_SETBACKS = 3
_SECONDS_BETWEEN_LOOKS = 0.1  # at whether a pause has ended

Watch = Callable[[], None]


class Trainer:
    """Train the trainable parameters of a network.

    In several processes (``distributed.joined``), each has a trainer of its own and computes its part of every batch;
    the first one's clock, watchers and files count for all.

    :param method: the one that has been applied to the network.
    :param validate: gives ``{"mean": Dice, "<class>": Dice}`` of the network as it is, and calls what it is given now
        and then; None: the last epoch is kept.
    :param folder: the run's folder, where checkpoint and ``log.csv`` go.
    :param cancelled: true ends the run at once with ``CancelledError``.
    :param control: ``run``; ``pause``: wait after this step; ``stop``: end after this step, validate, keep the best.
    :param say: is told in plain words what went wrong and is mended.
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
        validate: Callable[[Watch], dict[str, float]] | None = None,
        progress: Callable[[Progress], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
        control: Callable[[], str] | None = None,
        say: Callable[[str], None] = lambda text: None,
    ):
        self.network, self.settings, self.device = network.to(device), settings, device
        exchange.share_batch_norms(network)
        self.folder, self.validate, self.method = folder, validate, method
        self.progress, self.cancelled, self.control, self.say = progress, cancelled, control, say
        self.source = AugmentedSlices(cases, crop, context, settings)
        self._attention = partial(attention_of, device, crop)
        self.loss = SegmentationLoss(settings.loss or method.loss_weights())
        groups = parameter_groups(network, settings, lambda name: not (settings.quick and is_encoder_side(name)))
        self.optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay)
        # Small gradients vanish in float16; bfloat16 holds them.
        self.scaler = torch.amp.GradScaler(device.type, enabled=autocast_dtype(device) == torch.float16)
        self._start_averages()
        self.history, self.preview = History(), None
        self._parts, self._stopped, self._started = 1, False, 0.0
        self.validation_seconds, self.bytes_per_step = 0.0, 0
        self._scores: dict[str, float] = {}
        batches = batches_of(len(self.source), settings.batch_size)
        self.batch = len(batches[0])
        if self.batch < exchange.count():
            larger = " or train with a larger batch size." if len(self.source) >= exchange.count() else ""
            raise SettingsError(
                f"A batch of {self.batch} slices cannot be shared by {exchange.count()} processes.",
                f"Start at most {self.batch} processes{',' + larger if larger else '.'}",
                setting="batch_size" if larger else (),
            )
        self.steps = settings.steps or max(1, settings.epochs * len(batches))
        self.epochs = math.ceil(self.steps / len(batches))

    @property
    def checkpoint(self) -> Path:
        """The run's checkpoint file."""
        return self.folder / CHECKPOINT

    @property
    def trained(self) -> int:
        """Number of parameters that are trained."""
        return sum(p.numel() for group in self.optimizer.param_groups for p in group["params"])

    def prepare(self) -> None:
        """Let the method prepare its modules on the training images; before ``run``, and not when going on.

        It takes at most a fifth of the run's time, where that is limited.
        """
        self._start_clock()
        lead(self._prepare)
        self._tick()
        exchange.copy_from_first(self.network.trained_state().values())
        self._start_averages()

    def _prepare(self) -> None:
        def keep_on(share: float) -> bool:
            self._watch("preparing", 0, None, share)
            return not self._stopped and self._fraction(0) < _PREPARATION_SHARE

        batches = (normalise(images.to(self.device)) for (images,), _ in self.source.batches(0, whole=True))
        self.method.prepare(self.network, batches, keep_on)

    def measure(self) -> None:
        """Validate the network before the first step, to compare with; after ``prepare``, and not when going on."""
        if self.validate is None:
            return
        self._start_clock()
        self.history.before = self._timed(lambda: self.validate(lambda: self._watch("validating", 0, None)))
        self._tick()

    def _timed(self, validate: Callable[[], dict[str, float]]) -> dict[str, float]:
        started = time.perf_counter()
        self._scores = validate()
        self.validation_seconds = lead(lambda: time.perf_counter() - started)
        return self._scores

    def _start_averages(self) -> None:
        self.average = {name: tensor.clone() for name, tensor in self.network.trained_state().items()}
        self.best = {name: tensor.clone() for name, tensor in self.average.items()}

    def run(self, resume: bool = False) -> dict[str, Tensor]:
        """Train to the end and give the tensors of the best epoch (the last one without validation)."""
        if resume:
            exchange.agreed(lambda: self._restore(load_checkpoint(self.checkpoint)))
        self._start_clock()
        if not self._over():
            # Whoever has asked for the end by now gets no step; and the validation before the first one is told.
            loss = self.history.rows[-1]["loss"] if self.history.rows else None
            self._report("training" if self.history.rows else "preparing", self.history.epoch, loss)
        if self.settings.quick and not self._over():
            folder, report = self.folder / "features", lambda share: self._watch("preparing", 0, None, share)
            self.source = CachedFeatures(self.source, self.network, folder, self.device, report)
        if not resume:
            self._save()
        while not self._over():
            try:
                self._epoch(self.history.epoch + 1)
            except _Diverged:
                self._go_back()
                continue
            self._save()
            # Once more, now with the validation; whoever stops the run here loses nothing of the epoch.
            self._report("training", self.history.epoch, self.history.rows[-1]["loss"])
        if self._stopped and not self.history.step:
            raise CancelledError("The training was ended before its first step: there is no model yet.", "Start again.")
        return self.best

    def _over(self) -> bool:
        stale = self.settings.patience is not None and self.history.stale >= self.settings.patience
        return self._stopped or stale or self._fraction(self.history.step) >= 1

    def _epoch(self, epoch: int) -> None:
        self.network.train()
        total, count = 0.0, 0
        places = batches_of(len(self.source), self.settings.batch_size)
        for (inputs, targets), batch in zip(self.source.batches(epoch), places, strict=True):
            seeds = [image_seed(self.settings.seed, epoch, place) for place in exchange.own(batch)]
            total, count = total + self._step(inputs, targets, seeds), count + 1
            self._report("training", epoch, total / count)
            if self._over():
                break
        row = {"epoch": epoch, "loss": total / count, "learning_rate": self.optimizer.param_groups[0]["lr"]}
        row |= dice_columns(self._validated(epoch, row["loss"]))
        self._tick()
        self.history.epoch = epoch
        self.history.rows.append({**row, "seconds": round(self.history.seconds, 1)})

    def _step(self, inputs: Sequence[Tensor], targets: Tensor, seeds: list[int]) -> float:
        factor = schedule(self._fraction(self.history.step), self.settings.warmup) * self.history.rate
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial"] * factor
        loss, sent = None, exchange.bytes_sent()
        while loss is None:
            loss = self._gradients(inputs, targets, seeds)
        self.bytes_per_step = exchange.bytes_sent() - sent
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self._parameters(), self.settings.clip)
        # The scaler leaves steps out whose gradients have overflowed, as they do until it has found its scale.
        if not (self.scaler.is_enabled() or torch.isfinite(norm)):
            raise _Diverged
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.history.step += 1
        self._update_average()
        return loss.item()

    def _parameters(self) -> list[torch.nn.Parameter]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def _prompts(self, targets: Tensor, seeds: list[int]) -> list[Prompts] | None:
        """Prompts of the images, each drawn from its own seed."""
        drawn = []
        with torch.random.fork_rng(devices=[]):
            for target, seed in zip(targets, seeds, strict=True):
                torch.manual_seed(seed)
                drawn.append(self.method.draw_prompts(target[None]))
        return None if None in drawn else [prompts for (prompts,) in drawn]

    def _gradients(self, inputs: Sequence[Tensor], targets: Tensor, seeds: list[int]) -> Tensor | None:
        """Compute the gradients of a batch; gives its loss, or None when memory ran out and smaller parts are next.

        :param inputs: of this process's images, as ``targets`` and ``seeds``; loss and gradients are those of all.
        """
        prompts, fraction = self._prompts(targets, seeds), self._fraction(self.history.step)
        own, wanted = [tensor.to(self.device) for tensor in inputs], targets.to(self.device)
        self.optimizer.zero_grad(set_to_none=True)

        def forward(inputs, prompts) -> dict[str, Tensor]:
            *images, seeds = inputs
            with autocast(self.device), self._attention(), dropout.seeded(seeds.tolist(), self.device):
                logits, extras = self.source.forward(self.network, images, prompts)
            return extras | {"logits": logits}

        def loss_of(outputs: dict[str, Tensor]) -> Tensor:
            loss = self.loss(outputs["logits"], wanted) + self.method.auxiliary_loss(outputs, wanted, fraction)
            if not torch.isfinite(loss):
                raise _Diverged
            return loss

        try:
            sizes = piece_sizes(self.batch, self._parts)
            loss = backward(forward, loss_of, [*own, torch.tensor(seeds)], prompts, sizes, self.scaler.scale)
            exchange.add_gradients(self._parameters())
            return loss
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if not isinstance(error, MemoryRanOutElsewhere):
                exchange.tell_memory_ran_out()
            self._take_smaller_parts(error)
        release_memory()
        return None

    def _take_smaller_parts(self, error: Exception) -> None:
        now, most = self._slices_at_once(), self.batch // exchange.count()
        if self._parts == most:
            raise DeviceError(
                f"Memory ran out in the training with {'a single slice' if now == 1 else f'{now} slices'} at once.",
                "Close other programs, or train with a smaller image size or base network.",
                setting=("size", "base"),
            ) from error
        self._parts = min(2 * self._parts, most)
        self.say(
            f"Memory ran out with {now} slices at once; going on with {self._slices_at_once()}, and steps of"
            f" {self.batch} as before."
        )

    def _slices_at_once(self) -> int:
        """The most images that a process computes at once."""
        return math.ceil(math.ceil(self.batch / self._parts) / exchange.count())

    @torch.no_grad()
    def _update_average(self) -> None:
        decay = min(self.settings.ema, (1 + self.history.step) / (10 + self.history.step))
        for name, tensor in self.network.trained_state().items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)

    def _validated(self, epoch: int, loss: float) -> dict[str, float]:
        """Validate the averaged weights where it is due; keep them if they are the best."""
        if self.validate is None or (epoch % (self.settings.validate_every or 1) and not self._over()):
            if self.validate is None:
                self.best = {name: tensor.clone() for name, tensor in self.average.items()}
                self.history.best_epoch = epoch
            return {}
        own = {name: tensor.clone() for name, tensor in self.network.trained_state().items()}
        self.network.load_trained_state(self.average)
        dice = self._timed(lambda: self.validate(lambda: self._watch("validating", epoch, loss)))
        self.network.load_trained_state(own)
        self.history.stale += 1
        if dice["mean"] > self.history.best_dice:
            self.history.best_dice, self.history.best_epoch, self.history.stale = dice["mean"], epoch, 0
            self.best = {name: tensor.clone() for name, tensor in self.average.items()}
        return dice

    def _go_back(self) -> None:
        """Return to the last checkpoint with half the learning rate, since the loss is no longer a number."""
        broken, step = self.history.epoch + 1, self.history.seconds
        self._restore(load_checkpoint(self.checkpoint))
        if self.history.setbacks >= _MOST_SETBACKS:
            raise SettingsError(
                f"The loss is no longer a number in epoch {broken}, with an eighth of the learning rate too.",
                "Train again with a smaller learning rate, or resume with it from the last good epoch.",
                setting=("learning_rate", "resume"),
            )
        self.history.setbacks, self.history.rate = self.history.setbacks + 1, self.history.rate / 2
        self.history.seconds = step
        where = f"the end of epoch {self.history.epoch}" if self.history.epoch else "the start"
        self.say(f"The loss was no longer a number in epoch {broken}: back to {where}, with half the learning rate.")
        self._save()

    def _fraction(self, step: int) -> float:
        """Share of the run that is done, by steps or by time, whichever is further."""
        done = step / self.steps
        if self.settings.max_minutes:
            limit = self.settings.max_minutes * 60 - self.validation_seconds
            done = max(done, self.history.seconds / max(1.0, limit))
        return min(1.0, done)

    def _start_clock(self) -> None:
        self._started = time.perf_counter() - self.history.seconds

    def _tick(self) -> None:
        self.history.seconds, self._stopped = lead(self._now)

    def _now(self) -> tuple[float, bool]:
        """Seconds that the run has taken, and whether it was asked to end."""
        return time.perf_counter() - self._started, self._stopped

    def _report(self, stage: str, epoch: int, loss: float | None) -> None:
        """Let the first process say what is done, and do in all what was asked for meanwhile: cancel, wait, or end."""

        def look() -> tuple[float, bool]:
            self._watch(stage, epoch, loss)
            return self._now()

        self.history.seconds, self._stopped = lead(look)

    def _watch(self, stage: str, epoch: int, loss: float | None, prepared: float = 1.0) -> None:
        """As ``_report``, in this process alone."""
        self.history.seconds, _ = self._now()
        self._tell(stage, epoch, loss, prepared)
        if not self.control:
            return
        paused = time.perf_counter()
        while (wish := self.control()) == "pause":
            self._tell("paused", epoch, loss, prepared)
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        self._started += time.perf_counter() - paused
        self._stopped = self._stopped or wish == "stop"

    def _tell(self, stage: str, epoch: int, loss: float | None, prepared: float) -> None:
        if self.progress:
            dice = self.history.best_dice if self.history.best_dice >= 0 else None
            fraction, seconds = self._fraction(self.history.step), self.history.seconds
            state = Progress(
                fraction, epoch, self.epochs, loss, dice, seconds, prepared, self._scores, stage, self.preview
            )
            self.preview = None
            self.progress(state)
        if self.cancelled and self.cancelled():
            if self.history.epoch:
                raise CancelledError(
                    "The training was cancelled.", "Resume it from its last whole epoch.", setting="resume"
                )
            raise CancelledError("The training was cancelled.", "Start it again.")

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
        lead(lambda: self._write(state))

    def _write(self, state: dict) -> None:
        save_checkpoint(self.checkpoint, state)
        try:
            write_log(self.folder / "log.csv", self.history)
        except OutputError as error:  # for instance, a spreadsheet program has it open
            self.say(f"{error} The training goes on, and the log is written again after the next epoch.")

    def _restore(self, state: dict) -> None:
        free = ("epochs", "steps", "max_minutes", "learning_rate", "base_learning_rate", "patience")
        own = self.settings.to_json()
        changed = [k for k, v in state["settings"].items() if k not in free and own.get(k) != v]
        if changed:
            raise SettingsError(
                f"The run to resume was started with another setting '{changed[0]}'"
                f" ({state['settings'][changed[0]]}, not {own.get(changed[0])}).",
                "Resume with the same settings, or start a new run.",
                setting=(changed[0], "resume"),
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


class _Diverged(Exception):
    """The loss or a gradient is no longer a number."""
