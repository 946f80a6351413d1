"""The methods of the engine server that show or export results; ``requests.report`` does the work."""

from typing import Any

from ..shared import protocol
from ..shared.requests.report_actions import Report, ReportBatch, WriteDicomSeg
from .task import Task
from .warm_models import WarmModels


def report(engine: WarmModels, request: Report, task: Task) -> dict[str, Any]:
    """Make the page of one volume."""
    from ..requests.report import report as carry_out

    carry_out(request)
    return {"output": str(request.output)}


def report_batch(engine: WarmModels, request: ReportBatch, task: Task) -> dict[str, Any]:
    """Make the page of a batch; progress counts studies."""
    from ..requests.report import report_batch as carry_out

    def progress(done: int, total: int) -> None:
        task.progress(protocol.DRAWING, done, max(1, total), "study", None if total else 1.0)

    carry_out(request, progress, task.cancelled)
    return {"output": str(request.output)}


def write_dicom_seg(engine: WarmModels, request: WriteDicomSeg, task: Task) -> dict[str, Any]:
    """Write labels as a DICOM segmentation."""
    from ..requests.report import write_dicom_seg as carry_out

    carry_out(request)
    return {"output": str(request.output)}
