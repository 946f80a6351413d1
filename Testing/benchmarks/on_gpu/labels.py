"""How far labels that the device computes are those that the processor computes."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from sam2adapt.evaluation.metrics import dice_counts
from sam2adapt.imaging.volume import Volume, read_volume
from sam2adapt.machine.device import autocast_dtype
from sam2adapt.segmenting import predict
from sam2adapt.segmenting.model import Model
from speed import material
from speed.context import Context
from speed.models import bundled_model
from speed.report import table

from .typed import arithmetics, autocast_to

TITLE = "Labels of the GPU against those of the processor"
USUAL = "as users get it"
SAMPLE = Path(__file__).resolve().parents[3] / "SAM2Adapt/Resources/Samples/chest.nrrd"
_SLICES, _QUICK_SLICES = 24, 4


def measure(context: Context, left: Callable[[], float], entry: dict[str, Any]) -> None:
    """Segment the last slices of a real CT on both, in every arithmetic."""
    path = material.data_file(context.data, material.CT) if context.data else SAMPLE
    volume = read_volume(path)
    count = min(_QUICK_SLICES if context.quick else _SLICES, volume.size[2])
    here, there = bundled_model(torch.device("cpu")), bundled_model(context.device)
    entry |= {"volume": path.name if context.data is None else str(material.CT), "slices": count,
              "model": here.name, "rows": [],
              "usual": {"device": _usual(context.device), "processor": _usual(here.device)}}  # fmt: skip
    references = {kind: _labels(volume, here, kind, count) for kind in (USUAL, "fp32")}
    for kind in (USUAL, *arithmetics(context.device)):
        context.say(f"Labels, {kind}")
        reference = USUAL if kind == USUAL else "fp32"
        labels, seconds, device = _labels(volume, there, kind, count)
        truth, processor, _ = references[reference]
        entry["rows"].append({
            "arithmetic": kind, "reference": reference, "seconds": seconds, "processor": processor, "device": device,
            "dice": {one.name: _dice(labels == one.id, truth == one.id) for one in here.structures},
            "different": int(np.count_nonzero(labels != truth)), "voxels": int(truth.size),
        })  # fmt: skip
        if left() < 0:
            return


def _labels(volume: Volume, model: Model, kind: str, count: int) -> tuple[np.ndarray, float, str]:
    """Labels (count, J, I) of the last slices, seconds without what is done once, and where they were computed."""
    i, j, k = volume.size
    options = predict.Options(roi=(0, i, 0, j, k - count, k))
    with _arithmetic(kind):
        predict.segment(volume, model, options)
        started = time.perf_counter()
        found = predict.segment(volume, model, options)
    return found.labels.array[0][-count:], time.perf_counter() - started, str(found.device)


def _arithmetic(kind: str) -> AbstractContextManager:
    """Let segmenting use an arithmetic of our choice in the place of its own."""
    return nullcontext() if kind == USUAL else mock.patch.object(predict, "autocast", partial(autocast_to, kind))


def _usual(device: torch.device) -> str:
    """The arithmetic that the engine chooses."""
    return str(autocast_dtype(device) or torch.float32).removeprefix("torch.")


def _dice(one: np.ndarray, other: np.ndarray) -> float | None:
    """Dice; None if neither has a voxel."""
    common, all_ = dice_counts(one, other)
    return float(common / all_) if all_ else None


def lines(entry: dict[str, Any]) -> Iterator[str]:
    """A line for each arithmetic."""
    yield (
        f"{entry['volume']}, the last {entry['slices']} slices, model {entry['model']}; seconds of a second call."
        f" Users get {entry['usual']['device']} on this device and {entry['usual']['processor']} on the processor."
    )
    yield ""
    names = list(entry["rows"][0]["dice"]) if entry["rows"] else []
    yield from table(
        ["arithmetic", "processor's", *(f"Dice, {n}" for n in names), "other voxels", "s", "s on the processor", "on"],
        (
            [
                row["arithmetic"], row["reference"], *map(_number, row["dice"].values()),
                f"{row['different']} of {row['voxels']}", f"{row['seconds']:.2f}", f"{row['processor']:.2f}",
                row["device"],
            ]
            for row in entry["rows"]
        ),
    )  # fmt: skip


def _number(dice: float | None) -> str:
    return "found by neither" if dice is None else f"{dice:.5f}"
