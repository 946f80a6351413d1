"""The methods of the engine server about model and weight files."""

from typing import Any

from ..requests import models as carry_out
from ..shared import protocol
from ..shared.requests.fields import camel_case
from ..shared.requests.model_actions import (
    AddModel,
    DescribeModel,
    DownloadBase,
    ExportModel,
    ListBases,
    ListModels,
    RemoveBase,
    RemoveModel,
)
from .task import Task
from .warm_models import WarmModels


def models(engine: WarmModels, request: ListModels, task: Task) -> list[dict[str, Any]]:
    """All models on this machine, in the order in which names are looked up; broken ones with their ``problem``."""
    return [_row(row) for row in carry_out.list_models(request)]


def model_details(engine: WarmModels, request: DescribeModel, task: Task) -> dict[str, Any]:
    """What ``sam2adapt info`` says of a model or base: its ``card`` (None for an official base) and ``text``."""
    facts, lines = carry_out.describe_model(request)
    return {"card": None, **facts, "text": "\n".join(lines)}


def add_model(engine: WarmModels, request: AddModel, task: Task) -> dict[str, Any]:
    """Check a model file, copy it to the user's models and return its row of the list."""
    return _row(carry_out.add_model(request))


def remove_model(engine: WarmModels, request: RemoveModel, task: Task) -> dict[str, Any]:
    """Delete a model that the user has added."""
    return {"removed": carry_out.remove_model(request)}


def export_model(engine: WarmModels, request: ExportModel, task: Task) -> dict[str, Any]:
    """Copy a model to a file."""
    return {"path": carry_out.export_model(request)}


def bases(engine: WarmModels, request: ListBases, task: Task) -> list[dict[str, Any]]:
    """The base weights that SAM2Adapt knows: ``id``, ``present``, ``path``, ``bytes``, ``url``, ``license``."""
    return carry_out.list_bases(request)


def download_base(engine: WarmModels, request: DownloadBase, task: Task) -> dict[str, Any]:
    """Download official base weights from their publisher or another address, or copy a local file."""

    def progress(done: int, total: int) -> None:
        task.progress(protocol.DOWNLOADING, done, total, "byte")

    return {"base": request.base, "path": carry_out.download_base(request, progress, task.cancelled)}


def remove_base(engine: WarmModels, request: RemoveBase, task: Task) -> dict[str, Any]:
    """Delete downloaded base weights."""
    return {"removed": carry_out.remove_base(request)}


def _row(row: dict[str, Any]) -> dict[str, Any]:
    """A row of the list in the form of the protocol: ``dice`` of each class, no text is null, ``problem``."""
    texts = ("description", "modality", "license", "base", "method", "digest")
    known = {camel_case(name): value for name, value in row.items() if name not in ("error", "scores")}
    return {**known, **{name: row[name] or "" for name in texts}, "dice": row["scores"], "problem": row["error"]}
