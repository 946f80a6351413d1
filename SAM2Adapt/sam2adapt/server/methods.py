"""The methods of the engine server: their progress, and their answers in the words of the protocol.

Each gets the warm models, the request (``shared/requests/schema.py`` names its class) and the task, and returns plain
data. ``requests/`` does the work. Torch is imported as late as possible, so that models are listed at once.
"""

from collections.abc import Callable
from typing import Any

from ..shared import paths, protocol
from ..shared.requests.actions import RankVolume, Segment
from ..shared.requests.schema import METHODS as REQUESTS
from ..shared.requests.server_actions import ListDevices, MeasureCase, TryModel
from . import (
    batch_methods,
    correct_methods,
    fill_methods,
    held_methods,
    model_methods,
    report_methods,
    train_methods,
)
from .task import Task
from .warm_models import WarmModels


def segment(engine: WarmModels, request: Segment, task: Task) -> dict[str, Any]:
    """Segment one volume and write its labels (and uncertainty) as ``.npy``; see ``requests.segment``.

    :return: the report, with ``model`` as a dict of name, version and digest; ``deviceReason``; the seconds of
        ``load``, which are those of ``read`` and ``model``; terminology and colour of the structures; ``warnings``.
    """
    task.progress(protocol.LOADING, 0, 1, "model")
    from ..requests.segment import segment as carry_out

    def progress(done: int, total: int) -> None:
        task.progress(protocol.SEGMENTING, done, total, "slice")
        if done == total:
            task.progress(protocol.FINISHING, done, total, "slice")

    done = carry_out(request, engine.model, progress=progress, cancelled=task.cancelled)
    report, card = done.report, done.model.card
    seconds = report["seconds"]
    return {
        **report,
        "model": {key: card[key] for key in ("name", "version", "digest")},
        "deviceReason": report["device_reason"],
        "seconds": {**seconds, "load": seconds["read"] + seconds["model"]},
        "structures": [
            {**structure.to_json(), **size}
            for structure, size in zip(done.result.structures, report["structures"], strict=True)
        ],
        "warnings": task.warnings,
    }


def rank(engine: WarmModels, request: RankVolume, task: Task) -> dict[str, Any]:
    """Measure how sure a model is of one volume; the client sorts several. See ``requests.rank``."""
    task.progress(protocol.LOADING, 0, 1, "model")
    from ..requests.rank import rank_volume

    def progress(done: int, total: int) -> None:
        task.progress(protocol.RANKING, done, total, "slice")

    return rank_volume(request, engine.model, task.check, progress, task.cancelled)


def try_model(engine: WarmModels, request: TryModel, task: Task) -> dict[str, Any]:
    """Try a model on three slices of a volume; see ``requests.try_model``."""
    task.progress(protocol.LOADING, 0, 1, "model")
    from ..requests.try_model import try_model as carry_out

    return carry_out(request, engine.model, task.check, task.cancelled)


def measure_case(engine: WarmModels, request: MeasureCase, task: Task) -> dict[str, Any]:
    """Measure a model on one image and its corrected labels; see ``requests.measure_case``."""
    task.progress(protocol.LOADING, 0, 1, "model")
    from ..requests.measure_case import measure_case as carry_out

    return carry_out(request, engine.model, task.cancelled)


def devices(engine: WarmModels, request: ListDevices, task: Task) -> list[dict[str, Any]]:
    """The devices of this machine; the first is the choice of ``auto``, with its reason."""
    from ..machine.device import list_devices

    return list_devices()


METHODS: dict[str, Callable[[WarmModels, Any, Task], Any]] = {
    "segment": segment,
    "segmentBatch": batch_methods.segment_batch,
    "seriesFiles": batch_methods.series_files,
    "fill": fill_methods.fill,
    "correct": correct_methods.correct,
    "warmUp": fill_methods.warm_up,
    "report": report_methods.report,
    "reportBatch": report_methods.report_batch,
    "writeDicomSeg": report_methods.write_dicom_seg,
    "rank": rank,
    "tryModel": try_model,
    "measureCase": measure_case,
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
    "trainings": held_methods.trainings,
    "stopTraining": held_methods.stop_training,
    "kept": held_methods.kept,
    "deleteKept": held_methods.delete_kept,
}


def call(engine: WarmModels, task: Task) -> Any:
    """Carry out a task whose parameters fit the schema.

    :raises UserError: an error that the user can fix, for example a value outside its limits.
    """
    request = REQUESTS[task.method].from_params(task.params)
    with paths.interruptible(task.check):
        return METHODS[task.method](engine, request, task)
