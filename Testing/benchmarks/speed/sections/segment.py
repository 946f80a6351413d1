"""Seconds of a whole ``segment``, from file to file, by what it does: read, prepare, network, post-process, write."""

import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sam2adapt.imaging.volume import read_volume, write_labels, write_volume
from sam2adapt.machine.device import autocast
from sam2adapt.segmenting import predict
from sam2adapt.segmenting.model import Model

from .. import material
from ..context import Context
from ..models import bundled_model, for_mr, random_model

_SIDE = 256  # of the slices that the models with random weights see


@dataclass(frozen=True)
class _Case:
    volume: str
    file: Path
    model: Model


def measure(context: Context) -> dict[str, Any]:
    """Segment each volume with each model in turns; the first round is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        cases = _cases(context, Path(folder))
        times: list[list[dict[str, float]]] = [[] for _ in cases]
        rounds = 1 if context.quick else 1 + min(context.rounds, 3)
        for number in range(rounds):
            for index, case in enumerate(cases):
                times[index].append(_seconds(case, Path(folder) / "labels.seg.nrrd"))
                context.progress(number * len(cases) + index + 1, rounds * len(cases))
        counted = slice(0 if context.quick else 1, None)
        return {"rows": [_row(case, own[counted]) for case, own in zip(cases, times, strict=True)]}


def _cases(context: Context, folder: Path) -> list[_Case]:
    device, bundled = context.device, bundled_model(context.device)
    if context.data is None:
        ct = folder / "ct.nii.gz"
        write_volume(ct, material.ct_volume(None))
    else:
        ct = material.data_file(context.data, material.CT)
    cases = [_Case("CT", ct, bundled), _Case("CT", ct, random_model("tiny", "CT", _SIDE, device, cleaning=True))]
    if context.data:
        mr = material.data_file(context.data, material.MR)
        cases += [
            _Case("cardiac MR", mr, for_mr(bundled, _SIDE)),
            _Case("cardiac MR", mr, random_model("tiny", "MR", _SIDE, device, cleaning=True)),
        ]
    return cases


def _seconds(case: _Case, output: Path) -> dict[str, float]:
    """Seconds of every part as ``segment`` tells them, and ``alone``: of the network with nothing else running."""
    with _Batches(case.model) as batches:
        started = time.perf_counter()
        volume = read_volume(case.file)
        read = time.perf_counter()
        result = predict.segment(volume, case.model)
        segmented = time.perf_counter()
        write_labels(output, result.labels, case.model.structures, volume)
        ended = time.perf_counter()
    return {
        "slices": result.slices, "read": read - started, **result.seconds, "write": ended - segmented,
        "total": ended - started, "alone": batches.seconds(),
    }  # fmt: skip


class _Batches:
    """Keeps what a model's network is given, to run it again with nothing beside it.

    What goes on while a network runs takes processor time from it, so its time within ``segment`` is not its own.
    """

    def __init__(self, model: Model):
        self._model, self._given = model, []

    def __enter__(self) -> "_Batches":
        self._hook = self._model.network.register_forward_pre_hook(lambda _, given: self._given.append(given))
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()

    def seconds(self) -> float:
        """Seconds of the network for all that it was given."""
        with torch.inference_mode(), autocast(self._model.device):
            started = time.perf_counter()
            for given in self._given:
                self._model.network(*given)
            return time.perf_counter() - started


def _row(case: _Case, times: list[dict[str, float]]) -> dict[str, Any]:
    """Medians of all parts, and of each round's share that is neither reading nor network."""
    parts = {name: statistics.median(one[name] for one in times) for name in times[0]}
    shares = [1 - one["alone"] / (one["total"] - one["read"]) for one in times]
    size = read_volume(case.file).size
    return {"volume": case.volume, "size": size, "model": case.model.name, "parts": parts, "shares": shares}
