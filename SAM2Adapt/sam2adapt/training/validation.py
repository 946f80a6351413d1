"""Average the weights of a run, validate the average, and keep the best."""

import time
from collections.abc import Callable

import torch
from torch import Tensor

from ..machine.exchange import on_rank_zero
from ..network.network import SegmentationNetwork
from ..shared.protocol import VALIDATING
from .clock import Monitor, Watch
from .settings import TrainSettings

Validate = Callable[[Watch], dict[str, float]]


class Validation:
    """Averages the weights over the steps, validates the average, and keeps the best one.

    :param validate: returns ``{"mean": Dice, "<class>": Dice}`` of the network, and calls its argument from time to
        time; None: keep the last epoch.
    :ivar average: exponential moving average of the trained tensors; ``best``: that of the best epoch.
    """

    def __init__(
        self, network: SegmentationNetwork, settings: TrainSettings, monitor: Monitor, validate: Validate | None
    ):
        self.network, self.settings, self.monitor, self.validate = network, settings, monitor, validate
        self.history = monitor.history
        self.restart()

    def restart(self) -> None:
        """Start the average again from the weights of the network."""
        self._trained = self.network.trained_state()  # with the network's memory; to list it takes 5 ms
        self.average = _copies(self._trained)
        self.best = _copies(self.average)

    def restore(self, average: dict[str, Tensor], best: dict[str, Tensor], device: torch.device) -> None:
        """Continue with the tensors of a checkpoint."""
        self.average = {name: tensor.to(device) for name, tensor in average.items()}
        self.best = {name: tensor.to(device) for name, tensor in best.items()}

    @torch.no_grad()
    def update_average(self) -> None:
        """Update the average after a step; the first steps count more, because the weights still change much."""
        decay = min(self.settings.ema, (1 + self.history.step) / (10 + self.history.step))
        for name, tensor in self._trained.items():
            if tensor.is_floating_point():
                self.average[name].lerp_(tensor, 1 - decay)
            else:
                self.average[name].copy_(tensor)

    def measure(self) -> None:
        """Validate the network before its first step, for comparison."""
        if self.validate is not None:
            self.history.before = self._scores(0, None)

    def end_epoch(self, epoch: int, loss: float, last: bool) -> dict[str, float]:
        """Validate the average if it is due, and keep it if it is the best; return its Dice, or {}.

        :param last: whether the run ends here; the last epoch is always validated.
        """
        if self.validate is None:
            self._keep(epoch)
            return {}
        if epoch % (self.settings.validate_every or 1) and not last:
            return {}
        trained = _copies(self.network.trained_state())
        self.network.load_trained_state(self.average)
        scores = self._scores(epoch, loss)
        self.network.load_trained_state(trained)
        self.history.stale += 1
        if scores["mean"] > self.history.best_dice:
            self.history.best_dice, self.history.stale = scores["mean"], 0
            self._keep(epoch)
        return scores

    def _keep(self, epoch: int) -> None:
        self.best = _copies(self.average)
        self.history.best_epoch = epoch

    def _scores(self, epoch: int, loss: float | None) -> dict[str, float]:
        began = time.perf_counter()
        scores = self.validate(lambda: self.monitor.watch(VALIDATING, epoch, loss))
        self.monitor.scores = scores
        self.monitor.clock.validation_seconds = on_rank_zero(lambda: time.perf_counter() - began)
        return scores


def _copies(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in tensors.items()}
