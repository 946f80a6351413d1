"""The method ``train`` of the engine server: the options of the command line's ``train``, as JSON."""

import argparse
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .cli_train import add_class, add_train_parser, cases_and_classes, train_request
from .serve_task import Task
from .terminology import Structure, describe

if TYPE_CHECKING:
    from .serve_methods import Engine
    from .training.loop import Progress


def train(engine: "Engine", params: dict[str, Any], task: Task) -> dict[str, Any]:
    """Train and write a model file.

    :return: ``bundle``, its path; ``dice``, measured on the validation cases (None without them); ``card``.
    :raises UserError: as ``training.run.train``.
    """
    task.progress("reading", 0, 1, "case")
    from .bundle import read_card
    from .training import run

    options = _options(params)
    cases, structures = cases_and_classes(options.images, options.labels, None)
    request = train_request(options, cases, _structures(params.get("classes")) or structures)

    def say(text: str) -> None:
        task.check()
        task.log("info", text)

    path = run.train(request, lambda state: _report(task, state), say, task.cancelled)
    card = read_card(path)
    return {"bundle": path, "dice": card["metrics"]["dice"] if card["metrics"] else None, "card": card}


def _options(params: dict[str, Any]) -> argparse.Namespace:
    """The command line's options and their defaults, with what the request says on top."""
    parser = argparse.ArgumentParser()
    add_train_parser(parser.add_subparsers())
    options = parser.parse_args(["train", "--images=.", "--output=."])
    options.set = {}
    for key, value in params.items():
        name = "set" if key == "settings" else re.sub("[A-Z]", lambda letter: f"_{letter[0].lower()}", key)
        is_path = key in ("images", "labels", "output") and value is not None
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


def _report(task: Task, state: "Progress") -> None:
    numbers = {"loss": state.loss, "dice": state.scores or None, "bestDice": state.dice}
    if state.epoch:
        task.progress("training", state.epoch, state.epochs, "epoch", state.fraction, **numbers)
    else:
        task.progress("preparing", round(100 * state.prepared), 100, "%", state.fraction, **numbers)
