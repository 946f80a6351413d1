"""The methods of the engine server about what this computer holds for others."""

import dataclasses
from typing import Any

from ..shared.errors import InputFileError, UserError
from ..shared.protocol import CASES, MODELS, STOP
from ..shared.requests.server_actions import DeleteKept, ListKept, ListTrainings, StopTraining
from .held import stores
from .held.runs import WORKING, HeldRun, held_runs
from .task import Task
from .warm_models import WarmModels


def trainings(engine: WarmModels, request: ListTrainings, task: Task) -> list[dict[str, Any]]:
    """The trainings that other computers started here, the newest first; see ``HeldRun.facts``."""
    found = []
    for run in held_runs():
        try:
            found.append(run.facts())
        except UserError as error:
            task.warn(error.message)
    return found


def stop_training(engine: WarmModels, request: StopTraining, task: Task) -> dict[str, Any]:
    """Ask a training that goes on by itself to stop; its best epoch becomes a model that can be fetched.

    :raises InputFileError: it is not there, or does not work any more.
    """
    run = HeldRun(request.run)
    if not run.is_present() or run.state() != WORKING:
        raise InputFileError("That training does not work any more.", "Look at the list again.")
    facts = run.facts()
    if facts["hours"] is None:
        raise InputFileError("That training ends with the connection that started it.", "Stop it where it was started.")
    run.control(STOP)
    return facts


def kept(engine: WarmModels, request: ListKept, task: Task) -> list[dict[str, Any]]:
    """What this computer holds for others: ``kind``, ``count``, ``bytes``, ``days`` after the last use (or None)."""
    return [_row(one) for one in stores.held()]


def delete_kept(engine: WarmModels, request: DeleteKept, task: Task) -> list[dict[str, Any]]:
    """Delete it, except what a training at work needs; returns what is left."""
    return [_row(one) for one in stores.delete_held()]


def _row(one: stores.Held) -> dict[str, Any]:
    kind = CASES if one.kind in ("runs", "batches") else one.kind
    days = stores.kept_days(kind) if kind in (CASES, MODELS) else None
    return {**dataclasses.asdict(one), "days": days}
