"""The method ``correct`` of the engine server."""

from typing import Any

from ..shared import protocol
from ..shared.requests.fields import camel_case
from ..shared.requests.server_actions import Correct
from .task import Task
from .warm_models import WarmModels


def correct(engine: WarmModels, request: Correct, task: Task) -> dict[str, Any]:
    """Correct a segment by gestures and write it as ``.npy``; see ``requests.correct``.

    The server keeps the features and logits of the slices between clicks. A click that is no longer wanted can be
    cancelled while it waits, and while the model looks at its slice.

    :return: the report in camel case.
    """
    task.progress(protocol.LOADING, 0, 1, "volume")
    from ..requests.correct import correct as carry_out

    report = carry_out(request, engine.model, engine.corrector, task.cancelled)
    return {camel_case(name): value for name, value in report.items()}
