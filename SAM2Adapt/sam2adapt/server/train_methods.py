"""The methods ``train`` and ``estimate`` of the engine server."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from ..shared import protocol
from ..shared.requests.actions import Train
from ..shared.requests.fields import camel_case
from .task import Task
from .warm_models import WarmModels

if TYPE_CHECKING:
    from ..training.loop import Progress


def train(engine: WarmModels, request: Train, task: Task) -> dict[str, Any]:
    """Train and write a model file; ``control`` can pause and resume it, or stop it and keep the best epoch.

    :return: as ``requests.train.train``, in camel case.
    """
    task.progress(protocol.READING, 0, 1, "case")
    from ..requests.train import train as carry_out

    return _answer(
        carry_out(request, lambda state: _report(task, state), _sayer(task), task.cancelled, lambda: task.action)
    )


def estimate(engine: WarmModels, request: Train, task: Task) -> dict[str, Any]:
    """Estimate the cost of ``train`` with these parameters from a few real steps; nothing is kept.

    :return: as ``requests.train.estimate``, in camel case.
    """
    task.progress(protocol.READING, 0, 1, "case")
    from ..requests.train import estimate as carry_out

    def progress(state: "Progress") -> None:
        _report(task, state, protocol.ESTIMATING)

    return _answer(carry_out(request, progress, _sayer(task), task.cancelled))


def _answer(result: dict[str, Any]) -> dict[str, Any]:
    return {camel_case(name): value for name, value in result.items()}


def _sayer(task: Task) -> Callable[[str], None]:
    def say(text: str) -> None:
        task.check()
        task.log("info", text)

    return say


def _report(task: Task, state: "Progress", stage: str | None = None) -> None:
    numbers = {"loss": state.loss, "dice": state.scores or None, "bestDice": state.dice}
    if state.preview:
        numbers["preview"], numbers["previewCase"] = state.preview
    if state.epoch or state.stage == protocol.VALIDATING:
        task.progress(stage or state.stage, state.epoch, state.epochs, "epoch", state.fraction, **numbers)
    else:
        task.progress(stage or state.stage, round(100 * state.prepared), 100, "%", state.fraction, **numbers)
