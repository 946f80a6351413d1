"""Runs the sections one after the other, each with its share of the time; whatever happens in one, the others go on."""

import importlib
import platform
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import torch
from sam2adapt.shared.errors import DeviceError
from speed import machine
from speed.context import Context

from .budget import Budget, TimeIsUp
from .typed import compute, free, in_words, usable

# Of the whole time, how much a section may take (the last one: all that is left); and the seconds that it needs at
# least to tell anything.
SHARES = {"networks": 0.4, "labels": 0.15, "segment": 0.25, "ladder": 0.25, "training": 0.3, "filling": 0.5}
LEAST = {"networks": 40, "labels": 20, "segment": 30, "ladder": 20, "training": 30, "filling": 30}
_QUICK_LEAST = 1


def section(name: str) -> ModuleType:
    """The file of a section."""
    return importlib.import_module(f".{name}", __package__)


def check_gpu(device: torch.device) -> None:
    """Refuse a GPU on which this PyTorch cannot compute.

    :raises DeviceError: it cannot.
    """
    try:
        compute(device)
    except RuntimeError as error:
        raise DeviceError(
            f"PyTorch {torch.__version__} cannot compute on '{device}': {in_words(error)}",
            "Install a build of PyTorch for this GPU and its driver (https://pytorch.org), and run the script again.",
        ) from error


def describe(device: torch.device) -> dict[str, Any]:
    """The machine, with GPU, driver and versions."""
    found = machine.describe(device) | {"kind": device.type, "python": platform.python_version()}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found["gpu"] = {
            "memory": properties.total_memory, "capability": f"{properties.major}.{properties.minor}",
            "driver": _driver(), "cuda": torch.version.cuda, "cudnn": torch.backends.cudnn.version(),
            "products": torch.get_float32_matmul_precision(), "tf32_convolutions": torch.backends.cudnn.allow_tf32,
        }  # fmt: skip
    return found


def _driver() -> str | None:
    """Version of NVIDIA's driver; None where its tool is not there."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        output = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return output.splitlines()[0].strip() if output.strip() else None


def run(
    context: Context, names: Sequence[str], budget: Budget, result: dict[str, Any], publish: Callable[[], None]
) -> list[str]:
    """Measure sections into ``result["sections"]``.

    :param publish: writes the result down; called before and after each section.
    :return: sections that are left, because one broke the GPU for this process.
    """
    for number, name in enumerate(names):
        context.say(f"== {name}, {budget.left():.0f} s left")
        result["sections"][name] = {"unfinished": "The run ended while this was measured."}
        publish()
        part = 1.0 if name == names[-1] else SHARES[name]
        entry, broken = _measured(name, context, budget, part)
        result["sections"][name] = entry
        publish()
        if broken:
            return list(names[number + 1 :])
    return []


def _measured(name: str, context: Context, budget: Budget, part: float) -> tuple[dict[str, Any], bool]:
    """What a section has measured, with what stopped it; and whether it broke the GPU for this process.

    :param part: of the whole time, 0 to 1, that it should take at most.
    """
    needed, left, started = _QUICK_LEAST if context.quick else LEAST[name], budget.left(), time.perf_counter()
    if left < needed:
        told = f"Skipped: {max(0, left):.0f} s were left, and at least {needed} s are needed."
        return {"skipped": f"{told} Run it alone: --sections {name} --add."}, False
    entry: dict[str, Any] = {}
    broken = False
    try:
        with budget.alarm():
            section(name).measure(context, budget.share(part), entry)
    except TimeIsUp:
        entry["cut"] = "The time was up; what stands here was measured before."
    except Exception as error:
        entry |= {"error": in_words(error), "traceback": traceback.format_exc()}
        broken = not usable(context.device)
        print(entry["traceback"], file=sys.stderr, flush=True)
    if not broken:
        free()
    entry["took"] = round(time.perf_counter() - started, 1)
    return entry, broken
