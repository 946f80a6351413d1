"""Seconds of a training epoch with each method, and of quick adapt, on the same slices."""

import statistics
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from sam2adapt import adapters
from sam2adapt.evaluation.cases import Case
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import Volume, write_labels, write_volume
from sam2adapt.training.estimate import estimate
from sam2adapt.training.run import train
from sam2adapt.training.settings import TrainRequest, TrainSettings

from .. import material, memory
from ..context import Context
from ..models import METHOD

BASE = "nano"
QUICK = "quick adapt"
WAYS = (*adapters.METHODS, QUICK)
_ROUNDS = 2
_STRUCTURES = [
    describe(value, name) for value, name in enumerate(("right ventricle", "myocardium", "left ventricle"), 1)
]


def measure(context: Context) -> dict[str, Any]:
    """Measure a few steps of every method in turns."""
    rounds = 1 if context.quick else _ROUNDS
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        case = _case(context, folder)
        context.say("Training the model that quick adapt continues")
        parent = folder / "parent.safetensors"
        train(_request(case, parent, context, METHOD, TrainSettings(steps=1)))
        found: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
        for number in range(rounds):
            for index, way in enumerate(WAYS):
                found[way].append(_estimate(case, folder / f"{index}.safetensors", parent, context, way))
                context.progress(number * len(WAYS) + index + 1, rounds * len(WAYS))
    return {
        "base": BASE,
        "slices": "a cardiac MR" if context.data else "a made-up volume",
        "rows": [{"way": way, **_row(own)} for way, own in found.items()],
    }


def _estimate(case: Case, output: Path, parent: Path, context: Context, way: str) -> dict[str, Any]:
    settings, results = TrainSettings(quick=way == QUICK), []
    request = _request(case, output, context, METHOD if way == QUICK else way, settings)
    request.init = str(parent) if way == QUICK else None
    above = memory.peak_of(lambda: results.append(estimate(request)))
    (result,) = results
    steps = result.steps // settings.epochs
    return {"seconds": result.seconds_per_step * steps, "steps": steps, "batch": settings.batch_size, "above": above}


def _row(own: list[dict[str, Any]]) -> dict[str, Any]:
    seconds = [one["seconds"] for one in own]
    above = None if own[0]["above"] is None else max(one["above"] for one in own)
    return {**own[0], "seconds": statistics.median(seconds), "rounds": seconds, "above": above}


def _request(case: Case, output: Path, context: Context, method: str, settings: TrainSettings) -> TrainRequest:
    return TrainRequest(
        cases=[case], output=output, structures=_STRUCTURES, base=BASE, method=method, settings=settings,
        split={"train": [case.id], "val": []}, keep_slices=False, device=str(context.device),
    )  # fmt: skip


def _case(context: Context, folder: Path) -> Case:
    if context.data:
        image, label = (material.data_file(context.data, name) for name in (material.MR, material.MR_LABELS))
        return Case("case", image, label)
    volume = material.made_up((192, 192, 12), (1.5, 1.5, 10.0))
    values = np.digitize(volume.array[0], (80, 130, 250)).astype(np.uint8)
    image, label = folder / "case.nii.gz", folder / "case.labels.nii.gz"
    write_volume(image, volume)
    write_labels(label, Volume(values[np.newaxis], volume.origin, volume.spacing, volume.direction), _STRUCTURES)
    return Case("case", image, label)
