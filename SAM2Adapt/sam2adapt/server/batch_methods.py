"""The method ``segmentBatch`` of the engine server: `sam2adapt segment FOLDER`, with progress and an end that keeps."""

import json
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..shared import paths
from ..shared.errors import CancelledError
from .task import Task
from .warm_models import WarmModels

if TYPE_CHECKING:
    from ..segmenting.predict import Options


def options(params: dict[str, Any]) -> "Options":
    """The options of segmenting that a request names, for one volume or many."""
    from ..segmenting.predict import Options

    roi = params.get("roi")
    return Options(
        structures=params.get("structures"),
        roi=tuple(roi) if roi else None,
        tta=params.get("tta", False),
        uncertainty=bool(params.get("uncertainty")),
        any_modality=params.get("anyModality", False),
        post_process=params.get("postProcess", True),
    )


def segment_batch(engine: WarmModels, params: dict[str, Any], task: Task) -> dict[str, Any]:
    """Segment all volumes of files, folders and lists into a folder; see ``batch.segment_folder``.

    Progress counts studies; its ``name`` is that of the one in work, and its ``studies`` are the records of those that
    were finished since the progress before. ``control`` with "stop" ends the batch after the slices in work: that study
    is begun anew next time, all others stay.

    :return: what ``manifest.json`` of the output folder holds, and ``stopped``.
    :raises UserError: as ``batch.segment_folder``.
    """
    task.progress("searching", 0, 1, "study")
    from ..batch.segment_folder import segment_folder

    output, finished, stopped = Path(params["output"]), deque(), False

    def progress(done: float, total: int, name: str) -> None:
        records = list(finished)
        fraction = done / total
        if task.progress("batch", int(done), total, "study", fraction, name=name, studies=records):
            for _ in records:
                finished.popleft()

    try:
        segment_folder(
            params["inputs"], output, params["model"], options(params),
            device=params.get("device", "auto"), suffix=params.get("format", ".seg.nrrd"), progress=progress,
            finished=finished.append, cancelled=lambda: task.cancelled() or task.action == "stop",
        )  # fmt: skip
    except CancelledError:
        if task.cancelled():
            raise
        stopped = True
    return {**json.loads(paths.read_text(output / "manifest.json")), "stopped": stopped}


def series_files(engine: WarmModels, params: dict[str, Any], task: Task) -> list[str]:
    """The files of a batch's DICOM study in the order of their positions; ``input`` and ``series`` are the manifest's.

    :raises SeriesError: there is no such series any more.
    """
    from ..batch.studies import series_files

    return list(series_files(Path(params["input"]), params["series"]))
