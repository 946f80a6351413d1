"""The methods of the engine server; parameters are those of ``schemas/serve.schema.json``.

Each is called with the engine's state, checked parameters and the task, and gives what JSON can hold. Torch is imported
late, so that the models are listed at once.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..shared.files import check_output
from . import batch_methods, fill_methods, model_methods, rank_methods, train_methods
from .task import Task
from .warm_models import WarmModels

if TYPE_CHECKING:
    pass


def segment(engine: WarmModels, params: dict[str, Any], task: Task) -> dict[str, Any]:
    """Segment one volume and write its labels (and uncertainty) as ``.npy``.

    :raises UserError: as ``predict.segment``; ``OutputError``: the arrays cannot be written.
    """
    started = time.perf_counter()
    outputs = {key: Path(params[key]) for key in ("labels", "uncertainty") if params.get(key)}
    for path in outputs.values():
        check_output(path)
    task.progress("loading", 0, 1, "model")
    from ..machine.device import choose_device
    from ..segmenting import predict
    from .arrays import read_input, write_array

    volume = read_input(params["input"])
    device, reason = choose_device(params.get("device", "auto"))
    model = engine.model(params["model"], device)
    loaded = time.perf_counter()
    task.check()
    result = predict.segment(volume, model, batch_methods.options(params), _progress(task), task.cancelled)
    task.check()
    segmented = time.perf_counter()
    write_array(outputs["labels"], result.labels.array[0])
    if result.uncertainty is not None:
        write_array(outputs["uncertainty"], result.uncertainty.array[0])
    if result.device != device:
        reason = "CPU: the GPU's memory is too small for this volume"
    done = time.perf_counter()
    seconds = {"load": loaded - started, **result.seconds, "write": done - segmented, "total": done - started}
    return {
        "model": {"name": model.name, "version": model.card["version"], "digest": model.card["digest"]},
        "device": str(result.device),
        "deviceReason": reason,
        "slices": result.slices,
        "seconds": seconds,
        "structures": [
            {**structure.to_json(), **size} for structure, size in zip(result.structures, result.sizes, strict=True)
        ],
        "warnings": task.warnings,
    }


def _progress(task: Task) -> Callable[[int, int], None]:
    def progress(done: int, total: int) -> None:
        task.progress("segmenting", done, total, "slice")
        if done == total:
            task.progress("finishing", done, total, "slice")

    return progress


def devices(engine: WarmModels, params: dict[str, Any], task: Task) -> list[dict[str, Any]]:
    """What can compute here; the first is what ``auto`` takes, and why."""
    from ..machine.device import list_devices

    return list_devices()


METHODS: dict[str, Callable[[WarmModels, dict[str, Any], Task], Any]] = {
    "segment": segment,
    "segmentBatch": batch_methods.segment_batch,
    "seriesFiles": batch_methods.series_files,
    "fill": fill_methods.fill,
    "rank": rank_methods.rank,
    "train": train_methods.train,
    "estimate": train_methods.estimate,
    "devices": devices,
    "models": model_methods.models,
    "modelDetails": model_methods.model_details,
    "addModel": model_methods.add_model,
    "removeModel": model_methods.remove_model,
    "exportModel": model_methods.export_model,
    "bases": model_methods.bases,
    "downloadBase": model_methods.download_base,
    "removeBase": model_methods.remove_base,
}
