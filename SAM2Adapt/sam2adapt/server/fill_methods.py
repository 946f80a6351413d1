"""The method ``fill`` of the engine server: a volume from a few drawn slices."""

import hashlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..shared.errors import DrawingError
from ..shared.files import check_output
from .task import Task
from .warm_models import WarmModels

if TYPE_CHECKING:
    from ..filling.drawings import Drawings
    from ..filling.filler import Filler
    from ..imaging.volume import Volume

_AXES = {"K": 0, "J": 1, "I": 2}


def fill(engine: WarmModels, params: dict[str, Any], task: Task) -> dict[str, Any]:
    """Fill the slices between drawn ones and write masks as ``.npy``; a first answer is told by ``preview``.

    The volume's features stay, so that filling it again after one more slice is quicker.

    :return: what ``sam2adapt fill --json`` writes.
    :raises UserError: as ``filler.Filler``; ``OutputError``: the arrays cannot be written.
    """
    started = time.perf_counter()
    outputs = {key: Path(params[key]) for key in ("masks", "preview") if params.get(key)}
    for path in outputs.values():
        check_output(path)
    task.progress("loading", 0, 1, "volume")
    from .arrays import read_input, write_array

    volume = read_input(params["input"])
    drawings = _drawings(params)
    filler = _filler(engine, volume, params.get("seed", 0))
    task.check()

    def preview(masks: np.ndarray) -> None:
        write_array(outputs["preview"], masks.view(np.uint8))
        task.notify("preview", {"masks": str(outputs["preview"])})

    filling = filler.fill(
        drawings,
        lambda share: task.progress("filling", round(100 * share), 100, "%"),
        preview if "preview" in outputs else None,
        task.cancelled,
    )
    write_array(outputs["masks"], filling.masks.view(np.uint8))
    for warning in filling.warnings:
        task.warn(warning)
    report = filling.to_json()
    report["seconds"]["total"] = round(time.perf_counter() - started, 3)
    return report


def _drawings(params: dict[str, Any]) -> "Drawings":
    from ..filling.drawings import drawings_from_labels, drawings_from_masks
    from .arrays import read_array

    array = read_array(Path(params["drawings"]))
    structures = params["structures"]
    axis = None if params.get("axis") is None else _AXES[params["axis"]]
    empty = {one["name"]: one["empty"] for one in structures if one.get("empty")}
    if array.ndim == 3:
        names = {one.get("id", number): one["name"] for number, one in enumerate(structures, start=1)}
        return drawings_from_labels(np.asarray(array), names, axis, empty)
    if array.ndim != 4 or len(array) != len(structures):
        raise DrawingError(
            f"The drawings are an array {array.shape}, and there are {len(structures)} structures.",
            "Give labels (K, J, I), or one mask a structure (S, K, J, I).",
        )
    return drawings_from_masks(np.asarray(array) != 0, [one["name"] for one in structures], axis, empty)


def _filler(engine: WarmModels, volume: "Volume", seed: int) -> "Filler":
    """That of the last request if it was for the same voxels, else a new one."""
    from ..filling.filler import Filler

    digest = hashlib.blake2b(np.ascontiguousarray(volume.array))
    digest.update(repr((volume.array.shape, volume.spacing.tolist(), seed)).encode())
    key = digest.hexdigest()
    if engine.filler is None or engine.filler[0] != key:
        engine.filler = None  # before the new one: both may be more than memory holds
        engine.filler = (key, Filler(volume, seed))
    return engine.filler[1]
