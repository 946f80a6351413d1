"""The methods of the engine server that concern model and weight files."""

from pathlib import Path
from typing import Any

from ..cli.models import base_row, describe_file
from ..modelfiles import catalog
from ..modelfiles.bases import BASES, NANO
from .task import Task
from .warm_models import WarmModels


def models(engine: WarmModels, params: dict[str, Any], task: Task) -> list[dict[str, Any]]:
    """Every model on this machine, in the order in which names are looked up; broken ones with their ``problem``."""
    return [_row(entry) for entry in catalog.list_models()]


def model_details(engine: WarmModels, params: dict[str, Any], task: Task) -> dict[str, Any]:
    """What ``sam2adapt info`` says of a model or base: its ``card`` (None for an official base) and ``text``."""
    found, lines = describe_file(params["name"])
    return {"card": None, **found, "text": "\n".join(lines)}


def add_model(engine: WarmModels, params: dict[str, Any], task: Task) -> dict[str, Any]:
    """Check a model file, copy it to the user's own and give its row of the list."""
    path = catalog.add_model(Path(params["path"]))
    return next(_row(entry) for entry in catalog.list_models() if entry.path == path)


def remove_model(engine: WarmModels, params: dict[str, Any], task: Task) -> dict[str, Any]:
    """Delete one of the user's own models."""
    return {"removed": [catalog.remove_model(params["name"])]}


def export_model(engine: WarmModels, params: dict[str, Any], task: Task) -> dict[str, Any]:
    """Copy a model to a file."""
    return {"path": catalog.export_model(params["name"], Path(params["path"]))}


def bases(engine: WarmModels, params: dict[str, Any], task: Task) -> list[dict[str, Any]]:
    """The base weights that SAM2Adapt knows: ``id``, ``present``, ``path``, ``bytes``, ``url``, ``license``."""
    return [base_row(base) for base in (NANO, *BASES)]


def download_base(engine: WarmModels, params: dict[str, Any], task: Task) -> dict[str, Any]:
    """Bring official base weights here, from their publisher, another address or a local copy."""

    def progress(done: int, total: int) -> None:
        task.progress("downloading", done, total, "byte")

    base = params["base"]
    return {"base": base, "path": catalog.download_base(base, params.get("source"), progress, task.cancelled)}


def remove_base(engine: WarmModels, params: dict[str, Any], task: Task) -> dict[str, Any]:
    """Delete downloaded base weights."""
    return {"removed": catalog.remove_base(params["base"])}


def _row(entry: catalog.ModelEntry) -> dict[str, Any]:
    row = {"name": entry.name, "version": entry.version, "path": entry.path, "where": entry.where}
    if entry.card is None:
        return {
            **row, "description": "", "modality": "", "structures": [], "license": "", "dice": None,
            "basePresent": False, "base": "", "method": "", "digest": "", "problem": str(entry.error),
        }  # fmt: skip
    card = entry.card
    return {
        **row,
        "description": card["description"],
        "modality": card["modality"],
        "structures": [structure["name"] for structure in card["classes"]],
        "license": card["license"],
        "dice": card["metrics"]["dice"] if card["metrics"] else None,
        "basePresent": entry.base_present,
        "base": card["base"]["id"],
        "method": card["method"]["name"],
        "digest": card["digest"],
        "problem": None,
    }
