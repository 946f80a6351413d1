"""The method ``train`` of the engine server: the options of the command line's ``train``, as JSON."""

import argparse
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..cli.train import add_class, add_train_parser, cases_and_classes, train_request
from ..imaging.terminology import Structure, describe
from .task import Task
from .warm_models import WarmModels

if TYPE_CHECKING:
    from ..training.loop import Progress
    from ..training.settings import TrainRequest


def train(engine: WarmModels, params: dict[str, Any], task: Task) -> dict[str, Any]:
    """Train and write a model file; ``control`` holds it, goes on, or ends it and keeps the best.

    :return: ``bundle``, its path; ``dice`` per class and ``cases`` with theirs, measured on the validation cases (None
        without them), ``before``, the same Dice before the first step; ``former``, Dice ``before`` and ``after`` on
        the validation slices of the model that was continued, None where they are not known; ``minutes``, ``epochs``,
        ``bestEpoch``; ``card``.
    :raises UserError: as ``training.run.train``.
    """
    request = _request(params, task)
    from ..modelfiles.bundle import read_card
    from ..training import run

    path = run.train(request, lambda state: _report(task, state), _sayer(task), task.cancelled, lambda: task.action)
    card = read_card(path)
    training, metrics = card["training"], card["metrics"] or {}
    return {
        "bundle": path,
        "dice": metrics.get("dice"),
        "cases": metrics.get("cases"),
        "before": training["before"],
        "former": training.get("replay", {}).get("former"),
        "minutes": training["minutes"],
        "epochs": training["epochs"],
        "bestEpoch": training["best_epoch"],
        "card": card,
    }


def estimate(engine: WarmModels, params: dict[str, Any], task: Task) -> dict[str, Any]:
    """Measure what ``train`` with these parameters would cost, by a few real steps; nothing is kept.

    :return: ``secondsPerStep``, ``steps``, ``minutes``, ``memoryBytes`` (None where that is not told).
    :raises UserError: as ``training.run.train``.
    """
    with tempfile.TemporaryDirectory(prefix="sam2adapt-estimate-") as folder:
        request = _request({**params, "output": f"{folder}/estimate.safetensors", "preview": None}, task)
        from ..training.estimate import estimate as measure

        found = measure(request, lambda state: _report(task, state, "estimating"), _sayer(task), task.cancelled)
    return {
        "secondsPerStep": found.seconds_per_step,
        "steps": found.steps,
        "minutes": found.minutes,
        "memoryBytes": found.memory_bytes,
    }


def _request(params: dict[str, Any], task: Task) -> "TrainRequest":
    task.progress("reading", 0, 1, "case")
    options = _options(params)
    cases, structures = cases_and_classes(options.images, options.labels, None)
    request = train_request(options, cases, _structures(params.get("classes")) or structures)
    request.preview = Path(params["preview"]) if params.get("preview") else None
    request.groups = params.get("groups")
    return request


def _sayer(task: Task) -> Callable[[str], None]:
    def say(text: str) -> None:
        task.check()
        task.log("info", text)

    return say


def _options(params: dict[str, Any]) -> argparse.Namespace:
    """The command line's options and their defaults, with what the request says on top."""
    parser = argparse.ArgumentParser()
    add_train_parser(parser.add_subparsers())
    options = parser.parse_args(["train", "--images=.", "--output=."])
    options.set, options.preview = {}, None
    for key, value in params.items():
        name = "set" if key == "settings" else re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", key)
        is_path = key in ("images", "labels", "output", "preview") and value is not None
        setattr(options, name, Path(value) if is_path else value)
    return options


def _structures(classes: list[dict[str, Any]] | None) -> list[Structure]:
    """Structures as the request describes them; codes and colours that it leaves out are those of the table."""
    names: dict[int, str] = {}
    structures = []
    for entry in classes or []:
        add_class(names, entry["id"], entry["name"].strip())
        given = {key: value for key, value in entry.items() if key in ("terminology", "color")}
        known = describe(entry["id"], names[entry["id"]])
        structures.append(Structure.from_json({**known.to_json(), **given}))
    return structures


def _report(task: Task, state: "Progress", stage: str | None = None) -> None:
    numbers = {"loss": state.loss, "dice": state.scores or None, "bestDice": state.dice}
    if state.preview:
        numbers["preview"], numbers["previewCase"] = state.preview
    if state.epoch or state.stage == "validating":
        task.progress(stage or state.stage, state.epoch, state.epochs, "epoch", state.fraction, **numbers)
    else:
        task.progress(stage or state.stage, round(100 * state.prepared), 100, "%", state.fraction, **numbers)
