"""Seconds and memory of segmenting a long CT, by what they go into."""

import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from sam2adapt.segmenting import predict
from sam2adapt.segmenting.model import Model
from speed import material
from speed.context import Context
from speed.models import bundled_model, random_model
from speed.report import table
from speed.rounds import Candidate

from .typed import in_rounds, peak

TITLE = "`segment` of a long CT"
_SLICES, _QUICK_SLICES = 500, 4
_RANDOM, _SIDE, _ROUNDS = "tiny", 256, 3


def measure(context: Context, left: Callable[[], float], entry: dict[str, Any]) -> None:
    """Let the models take turns with the same volume in memory, after a call of each that is not counted."""
    count = _QUICK_SLICES if context.quick else _SLICES
    volume = material.repeated(material.ct_volume(context.data), count)
    side = 64 if context.quick else _SIDE
    models = {
        "torso-ct": bundled_model(context.device),
        f"{_RANDOM}, random weights": random_model(_RANDOM, "CT", side, context.device, cleaning=True),
    }
    entry |= {"voxels": list(volume.size), "rows": []}
    done: dict[str, list[dict[str, Any]]] = {name: [] for name in models}

    def segment(name: str, model: Model) -> None:
        started = time.perf_counter()
        found = predict.segment(volume, model)
        total = time.perf_counter() - started
        done[name].append({**found.seconds, "total": total, "device": str(found.device)})

    calls = {name: partial(segment, name, model) for name, model in models.items()}
    context.say(f"Segmenting {count} slices")
    peaks = {name: peak(call, context.device) for name, call in calls.items()}
    _write(entry, done, peaks, "not warm")  # if the time is up now
    for own in done.values():
        own.clear()
    candidates = [Candidate(name, name, 1, call) for name, call in calls.items()]
    for _ in in_rounds(candidates, 1 if context.quick else min(_ROUNDS, context.rounds), left, warm=False):
        _write(entry, done, peaks, "warm")


def _write(entry: dict[str, Any], done: dict[str, list[dict[str, Any]]], peaks: dict[str, Any], state: str) -> None:
    entry["rows"] = [
        {"model": name, "state": state, "rounds": len(own), "device": own[-1]["device"], "peak": peaks[name],
         "parts": {part: statistics.median(one[part] for one in own) for part in own[0] if part != "device"}}
        for name, own in done.items()
    ]  # fmt: skip


def lines(entry: dict[str, Any]) -> Iterator[str]:
    """A line for each model."""
    size = " x ".join(map(str, entry["voxels"]))
    yield f"{size} voxels in memory, without reading and writing, in the engine's own arithmetic; seconds."
    yield ""
    parts = [part for part in (entry["rows"][0]["parts"] if entry["rows"] else []) if part != "total"]
    yield from table(
        ["model", *parts, "total", "slices/s", "peak memory, MB", "rounds", "on"],
        (
            [row["model"], *(f"{row['parts'][part]:.2f}" for part in (*parts, "total")),
             f"{entry['voxels'][2] / row['parts']['total']:.1f}",
             "not known" if row["peak"] is None else f"{row['peak'] / 1e6:.0f}",
             f"{row['rounds']}, {row['state']}", row["device"]]
            for row in entry["rows"]
        ),
    )  # fmt: skip
