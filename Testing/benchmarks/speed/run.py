"""Runs the sections of the benchmark that are asked for, and gives all numbers as JSON can hold them."""

import importlib
import time
from collections.abc import Callable, Sequence
from typing import Any

from . import SECTIONS, machine
from .context import Context
from .targets import targets


def measure(context: Context, sections: Sequence[str] = SECTIONS) -> dict[str, Any]:
    """Measure.

    :param sections: of ``SECTIONS``.
    :raises UserError: what a section lacks.
    """
    started = time.perf_counter()
    result: dict[str, Any] = {"machine": machine.describe(context.device), "rounds": context.rounds}
    for name in sections:
        context.say(f"== {name}")
        result[name] = _section(name)(context)
    result["machine"]["load_after"] = machine.describe(context.device)["load"]
    result["minutes"] = round((time.perf_counter() - started) / 60, 1)
    result["targets"] = [target.to_json() for target in targets(result)]
    return result


def _section(name: str) -> Callable[[Context], dict[str, Any]]:
    return importlib.import_module(f".sections.{name}", __package__).measure
