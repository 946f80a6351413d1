"""Seconds of a training step and the memory of a training."""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import builds
import SimpleITK as sitk
from sam2adapt.evaluation.cases import Case
from sam2adapt.imaging.terminology import describe
from sam2adapt.network.weights import random_base, write_base
from sam2adapt.shared.presets import PRESETS
from sam2adapt.shared.protocol import RUN, STOP, TRAINING
from sam2adapt.training.run import set_up
from sam2adapt.training.settings import TrainRequest, TrainSettings
from speed.context import Context
from speed.report import table

from .typed import free, in_words, peak, usable

TITLE = "Training"
WAYS = ("nano", "nano-wide", "balanced")  # presets; the last on random weights of base_plus
_ROUNDS, _WARM = 2, 4  # steps at first are not counted


@dataclass(frozen=True)
class _Size:
    """What a step is about: pixels a side, slices, and steps of a run."""

    crop: int
    batch: int
    slices: int
    steps: int


_FULL, _QUICK = _Size(160, 8, 96, 20), _Size(64, 2, 12, 6)


def measure(context: Context, left: Callable[[], float], entry: dict[str, Any]) -> None:
    """Train a few steps with every preset in turns."""
    size = _QUICK if context.quick else _FULL
    entry |= {"crop": size.crop, "batch": size.batch, "rows": []}
    rows: dict[str, dict[str, Any]] = {way: {"way": way, "rounds": [], "peak": None} for way in WAYS}
    entry["rows"] = list(rows.values())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = _case(folder, size)
        for number in range(1 if context.quick else _ROUNDS):
            for way in WAYS:
                if left() < 0:
                    return
                if "failed" not in rows[way]:
                    context.say(f"Training steps of {way}")
                    _one(rows[way], _request(way, case, folder, size, context, number), size, context)


def _one(row: dict[str, Any], request: TrainRequest, size: _Size, context: Context) -> None:
    """Add a run to its row."""
    times: list[float] = []
    try:
        used = peak(lambda: times.extend(_step_times(request, size.steps)), context.device)
    except Exception as error:
        if not usable(context.device):
            raise
        row["failed"] = in_words(error)
        return
    finally:
        free()
    row["rounds"].append(statistics.median(times))
    row["peak"] = max(row["peak"] or 0, used) if used is not None else None


def _step_times(request: TrainRequest, steps: int) -> list[float]:
    """Seconds of each step after the first ones."""
    ends: list[float] = []

    def watch(state: Any) -> None:
        if state.stage == TRAINING:
            ends.append(time.perf_counter())

    def control() -> str:
        return STOP if len(ends) >= steps else RUN

    set_up(request, watch, lambda text: None, None, control).trainer.run()
    return [after - before for before, after in pairwise(ends[_WARM:])]


def _request(way: str, case: Case, folder: Path, size: _Size, context: Context, number: int) -> TrainRequest:
    preset = PRESETS[way]
    base = preset.base if preset.base == "nano" else str(_random_weights(preset.base, folder))
    settings = TrainSettings(steps=10 * size.steps, batch_size=size.batch, crop=size.crop)
    return TrainRequest(
        cases=[case], output=folder / f"{way}-{number}.safetensors", base=base, method=preset.method,
        structures=[describe(value, f"structure {value}") for value in (1, 2, 3)], method_settings=preset.settings,
        settings=settings, split={"train": [case.id], "val": []}, train_upscaling=preset.train_upscaling,
        keep_slices=False, device=str(context.device),
    )  # fmt: skip


def _random_weights(base: str, folder: Path) -> Path:
    path = folder / f"{base}.safetensors"
    if not path.is_file():
        write_base(path, base, random_base(base)[0], {})
    return path


def _case(folder: Path, size: _Size) -> Case:
    paths = folder / "case.nii.gz", folder / "case.labels.nii.gz"
    for path, image in zip(paths, builds.made_up_case(192, size.slices), strict=True):
        sitk.WriteImage(image, path)
    return Case("case", *paths)


def lines(entry: dict[str, Any]) -> Iterator[str]:
    """A line for each preset."""
    yield (
        f"{entry['batch']} slices of {entry['crop']} x {entry['crop']} a step, four classes, in the engine's own"
        " arithmetic, after the first steps, with all that prepares slices; weights of `base_plus` are random."
    )
    yield ""
    yield from table(
        ["preset", "s a step", "slices/s", "peak memory, MB", "rounds"],
        (_line(row, entry["batch"]) for row in entry["rows"]),
    )


def _line(row: dict[str, Any], batch: int) -> list[str]:
    if not row["rounds"]:
        return [f"`{row['way']}`", row.get("failed", "There was no time to measure it."), "-", "-", "0"]
    seconds = statistics.median(row["rounds"])
    memory = "not known" if row["peak"] is None else f"{row['peak'] / 1e6:.0f}"
    count = str(len(row["rounds"])) + (f"; then {row['failed']}" if "failed" in row else "")
    return [f"`{row['way']}`", f"{seconds:.3f}", f"{batch / seconds:.1f}", memory, count]
