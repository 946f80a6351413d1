"""The methods of the engine server about batches, as `sam2adapt segment FOLDER` does them."""

import json
from collections import deque
from typing import Any

from ..shared import paths, protocol
from ..shared.errors import CancelledError
from ..shared.requests.actions import SegmentBatch
from ..shared.requests.server_actions import SeriesFiles
from .task import Task
from .warm_models import WarmModels


def segment_batch(engine: WarmModels, request: SegmentBatch, task: Task) -> dict[str, Any]:
    """Segment all volumes of files, folders and lists into a folder; see ``requests.segment.segment_batch``.

    Progress counts studies. Its ``name`` is the study in progress, its ``studies`` are the records of those finished
    since the last progress. ``control`` with "stop" ends the batch at once and keeps all finished studies; the next
    batch begins the study in progress again.

    :return: the content of ``manifest.json`` in the output folder, and ``stopped``.
    """
    task.progress(protocol.SEARCHING, 0, 1, "study")
    from ..requests.segment import segment_batch as carry_out

    finished, stopped = deque(), False

    def progress(done: float, total: int, name: str) -> None:
        records = list(finished)
        fraction = done / total
        if task.progress(protocol.BATCH, int(done), total, "study", fraction, name=name, studies=records):
            for _ in records:
                finished.popleft()

    try:
        carry_out(request, progress, finished.append, lambda: task.cancelled() or task.action == protocol.STOP)
    except CancelledError:
        if task.cancelled():
            raise
        stopped = True
    return {**json.loads(paths.read_text(request.output / "manifest.json")), "stopped": stopped}


def series_files(engine: WarmModels, request: SeriesFiles, task: Task) -> list[str]:
    """The files of a DICOM study of a batch, in the order of their positions.

    :raises SeriesError: the series no longer exists.
    """
    from ..requests.segment import series_files as carry_out

    return carry_out(request)
