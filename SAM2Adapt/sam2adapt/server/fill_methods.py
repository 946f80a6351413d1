"""The method ``fill`` of the engine server."""

from typing import Any

from ..shared import protocol
from ..shared.requests.actions import Fill
from ..shared.requests.fields import camel_case
from ..shared.requests.server_actions import WarmUp
from .task import Task
from .warm_models import WarmModels


def fill(engine: WarmModels, request: Fill, task: Task) -> dict[str, Any]:
    """Fill the slices between drawn ones and write masks as ``.npy``; see ``requests.fill``.

    The notification ``preview`` says that the preview is written. The server keeps what it computed from the volume,
    so that filling it again after one more drawn slice is quicker.

    :return: the report in camel case.
    """
    task.progress(protocol.LOADING, 0, 1, "volume")
    from ..requests.fill import fill as carry_out

    def progress(share: float) -> None:
        task.progress(protocol.FILLING, round(100 * share), 100, "%")

    def previewed() -> None:
        task.notify(protocol.PREVIEW, {"masks": str(request.preview)})

    report = carry_out(request, engine.filler, progress, previewed, task.cancelled).report
    for warning in report["warnings"]:
        task.warn(warning)
    rows = [{camel_case(name): value for name, value in row.items()} for row in report["structures"]]
    return {**{camel_case(name): value for name, value in report.items()}, "structures": rows}


def warm_up(engine: WarmModels, request: WarmUp, task: Task) -> dict[str, Any]:
    """Load what filling needs; a client asks for it when a user opens what fills, and need not wait for the answer."""
    from ..filling.warm_up import warm_up as load

    load()
    return {}
