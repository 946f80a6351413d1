"""Seconds of filling from drawn slices on this machine; it does not use the GPU."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from sam2adapt.filling.drawings import Drawings, drawings_from_labels
from sam2adapt.filling.filler import Filler
from sam2adapt.imaging.volume import Volume
from sam2adapt.shared.labels.annotation import IGNORE
from speed import material
from speed.context import Context
from speed.report import table

TITLE = "`fill`"
_DRAWN, _ROUNDS = 10, 3
_SKIN, _BONE = -300, 200  # HU
_NAMES = {1: "body", 2: "bone"}
_QUICK_SIZE = (64, 48, 24)


def measure(context: Context, left: Callable[[], float], entry: dict[str, Any]) -> None:
    """Fill a CT between ten drawn slices, and again with one more; each round begins anew."""
    spacing = (0.73, 0.73, 2.0)
    volume = material.made_up(_QUICK_SIZE, spacing) if context.quick else material.ct_volume(context.data)
    truth = np.digitize(volume.array[0], (_SKIN, _BONE)).astype(np.uint8)
    drawn = np.linspace(0, len(truth) - 1, _DRAWN).round().astype(int).tolist()
    data = "A CT" if context.data and not context.quick else "A made-up CT"
    entry |= {"voxels": list(volume.size), "drawn": len(drawn), "data": data,
              "threads": context.threads, "first": [], "again": []}  # fmt: skip
    for _ in range(1 if context.quick else min(_ROUNDS, context.rounds)):
        context.say("Filling")
        first, again = _round(volume, truth, drawn)
        entry["first"].append(first)
        entry["again"].append(again)
        if left() < first + again:
            return


def _round(volume: Volume, truth: np.ndarray, drawn: list[int]) -> tuple[float, float]:
    """Seconds of the first filling, and of one after a further slice was drawn."""
    filler, seconds = Filler(volume), []
    for slices in (drawn, sorted({*drawn, drawn[0] + 1})):
        drawings = _drawings(truth, slices)
        started = time.perf_counter()
        filler.fill(drawings)
        seconds.append(time.perf_counter() - started)
    return seconds[0], seconds[1]


def _drawings(truth: np.ndarray, slices: list[int]) -> Drawings:
    labels = np.full_like(truth, IGNORE)
    labels[slices] = truth[slices]
    return drawings_from_labels(labels, _NAMES)


def lines(entry: dict[str, Any]) -> Iterator[str]:
    """One line."""
    size = " x ".join(map(str, entry["voxels"]))
    yield (
        f"Filling does not use the GPU; these are seconds of this machine's processor, {entry['threads']} threads."
        f" {entry['data']}, {size} voxels; structures are ranges of grey levels."
    )
    yield ""
    first, again = (f"{statistics.median(entry[name]):.1f}" if entry[name] else "-" for name in ("first", "again"))
    yield from table(
        ["drawn slices", "result, s", "after one slice more, s", "rounds"],
        [[str(entry["drawn"]), first, again, str(len(entry["again"]))]],
    )
