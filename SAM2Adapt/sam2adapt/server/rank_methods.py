"""The method ``rank`` of the engine server: how sure a model is of one volume, and where it is not."""

from typing import Any

from .task import Task
from .warm_models import WarmModels


def rank(engine: WarmModels, params: dict[str, Any], task: Task) -> dict[str, Any]:
    """Measure how sure a model is of one volume; the client puts several into order.

    :return: fields of ``rank.Ranked`` with ``score``; positions of slices in mm, LPS.
    :raises UserError: as ``predict.segment``.
    """
    task.progress("loading", 0, 1, "model")
    from ..machine.device import choose_device
    from ..segmenting.rank import rank_volume, to_json
    from .arrays import read_input

    volume = read_input(params["input"])
    model = engine.model(params["model"], choose_device(params.get("device", "auto"))[0])
    task.check()
    ranked = rank_volume(
        volume,
        model,
        params.get("slices", 5),
        params.get("anyModality", False),
        lambda done, total: task.progress("ranking", done, total, "slice"),
        task.cancelled,
    )
    return to_json(ranked)
