"""Time and memory of segmenting against size in plane, classes, batch and threads; slices are in the memory section."""

import os
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from sam2adapt.segmenting import predict

from .. import material, memory
from ..context import Context
from ..models import random_model
from ..rounds import Candidate, interleaved

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
    """Measure every point of every curve: what memory it needs, then its time in turns with all others."""
    points = list(_points(context.quick))
    model = cache(lambda base, side, classes: random_model(base, "CT", side, context.device, classes))
    volume = cache(lambda side: material.made_up((side, side, _SLICES), (0.7, 0.7, 2.0)))
    usual = context.threads

    def segment(point: _Point) -> None:
        side = point.of("side", _SIDE)
        options = predict.Options(batch_size=point.of("batch", None))
        torch.set_num_threads(point.of("threads", usual))
        predict.segment(volume(side), model(point.base, side, point.of("classes", 4)), options)
        torch.set_num_threads(usual)

    candidates = [Candidate(repr(point), point.curve, _SLICES, partial(segment, point)) for point in points]
    for candidate in candidates:
        candidate.call()  # what is made once is neither memory of the point nor time
    above = {candidate.row: memory.peak_of(candidate.call) for candidate in candidates}
    times = interleaved(candidates, 1 if context.quick else min(context.rounds, 3), context.progress, warm=False)
    rows = [
        vars(point) | {"seconds": statistics.median(times[name]), "rounds": times[name], "above": above[name]}
        for point, name in zip(points, times, strict=True)
    ]
    return {"slices": _SLICES, "side": _SIDE, "rows": rows}


def _points(quick: bool) -> Iterator[_Point]:
    threads = [n for n in (1, 2, 4, 8, 16, 32, 64) if n <= (os.cpu_count() or 1)]
    curves = {"side": SIDES, "classes": CLASSES, "batch": BATCHES, "threads": threads}
    for curve, values in curves.items():
        for base in ("nano", "tiny") if curve in ("side", "threads") else ("nano",):
            yield from (_Point(curve, base, value) for value in (values[:1] if quick else values))
