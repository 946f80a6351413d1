"""Time and memory of segmenting against size in plane, classes, batch and threads; slices are in the memory section."""

import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from .. import predict
from . import material, memory
from .context import Context
from .models import random_model
from .rounds import Candidate, interleaved

SIDES = (128, 192, 256, 384, 512, 768)
CLASSES = (2, 4, 8, 16, 32, 64)
BATCHES = (1, 2, 4, 8, 16)
_SIDE, _SLICES = 256, 8


@dataclass(frozen=True)
class _Point:
    """One point of a curve: the value of ``curve``, the others as they usually are."""

    curve: str
    base: str
    value: int

    def of(self, curve: str, usual: Any) -> Any:
        return self.value if self.curve == curve else usual


def measure(context: Context) -> dict[str, Any]:
    """Measure every point of every curve in turns."""
    points = list(_points(context.quick))
    rounds = 1 if context.quick else min(context.rounds, 3)
    model = cache(lambda base, side, classes: random_model(base, "CT", side, context.device, classes))
    volumes = {side: material.made_up((side, side, _SLICES), (0.7, 0.7, 2.0)) for side in SIDES}
    needed: dict[_Point, list[int | None]] = {point: [] for point in points}
    usual = context.threads

    def candidate(point: _Point) -> Candidate:
        side, threads = point.of("side", _SIDE), point.of("threads", usual)
        own = model(point.base, side, point.of("classes", 4))
        options = predict.Options(batch_size=point.of("batch", None))

        def call() -> None:
            torch.set_num_threads(threads)
            needed[point].append(memory.peak_of(lambda: predict.segment(volumes[side], own, options)))
            torch.set_num_threads(usual)

        return Candidate(repr(point), point.curve, _SLICES, call)

    times = interleaved([candidate(point) for point in points], rounds, context.progress, warm=False)
    return {
        "slices": _SLICES,
        "side": _SIDE,
        "rows": [
            {**vars(point), "seconds": statistics.median(times[repr(point)]), "rounds": times[repr(point)],
             "above": None if needed[point][0] is None else max(needed[point])}
            for point in points
        ],
    }  # fmt: skip


def _points(quick: bool) -> Iterator[_Point]:
    threads = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= (os.cpu_count() or 1)]
    curves = {"side": SIDES, "classes": CLASSES, "batch": BATCHES, "threads": threads}
    for curve, values in curves.items():
        for base in ("nano", "tiny") if curve in ("side", "threads") else ("nano",):
            yield from (_Point(curve, base, value) for value in (values[:1] if quick else values))
