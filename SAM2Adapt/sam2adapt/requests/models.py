"""Carries out the requests about model and weight files, without torch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..modelfiles import catalog
from ..modelfiles.bases import base_file, base_present, check_base, file_sha256, official_info
from ..modelfiles.card import read_base_card, read_header, read_verified_card
from ..modelfiles.summary import describe_base, describe_card, describe_official, parameter_count
from ..shared import known_bases, paths
from ..shared.known_bases import BASES
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
from ..shared.safetensors_header import BASE_KEY, MODEL_KEY, SUFFIX


def list_models(request: ListModels) -> list[dict[str, Any]]:
    """All models on this machine, in the order in which names are looked up; broken ones with their ``error``."""
    return [_row(entry) for entry in catalog.list_models()]


def list_bases(request: ListBases) -> list[dict[str, Any]]:
    """The base weights that SAM2Adapt knows: ``id``, ``present``, ``path``, ``bytes``, ``url``, ``license``."""
    return [_base_row(base) for base in known_bases.NAMES]


def add_model(request: AddModel) -> dict[str, Any]:
    """Check a model file, copy it to the user's models and return its row of the list.

    :raises UserError: as ``catalog.add_model``.
    """
    path = catalog.add_model(request.path)
    return next(_row(entry) for entry in catalog.list_models() if entry.path == path)


def remove_model(request: RemoveModel) -> list[Path]:
    """Delete a model that the user has added; return the deleted files.

    :raises UserError: as ``catalog.remove_model``.
    """
    return [catalog.remove_model(request.name)]


def export_model(request: ExportModel) -> Path:
    """Copy a model to a file; return its path.

    :raises UserError: as ``catalog.export_model``.
    """
    return catalog.export_model(request.name, request.path, request.case_names)


def download_base(
    request: DownloadBase,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Path:
    """Download official base weights from their publisher or another address, or copy a local file; return the file.

    :param progress: called with (bytes done, all bytes).
    :raises UserError: as ``catalog.download_base``.
    """
    return catalog.download_base(request.base, request.source, progress, cancelled)


def remove_base(request: RemoveBase) -> list[Path]:
    """Delete downloaded base weights; return the deleted files.

    :raises UserError: as ``catalog.remove_base``.
    """
    return catalog.remove_base(request.base)


def _row(entry: catalog.ModelEntry) -> dict[str, Any]:
    """The row of a model in the list; for a broken one, the ``error`` and its place.

    ``dice`` is the mean; ``scores`` has the mean and each class. Both are None if nothing was measured.
    """
    card = entry.card
    known = {
        "structures": [structure["name"] for structure in card["classes"]],
        "scores": card["metrics"]["dice"] if card["metrics"] else None,
        "base": card["base"]["id"],
        "base_present": entry.base_present,
        "method": card["method"]["name"],
        **{key: card[key] for key in ("description", "modality", "license", "digest")},
    } if card else {
        "structures": [], "scores": None, "base_present": False,
        **dict.fromkeys(("base", "method", "description", "modality", "license", "digest")),
    }  # fmt: skip
    return {
        "name": entry.name, "version": entry.version, **known, "dice": entry.dice, "where": entry.where,
        "path": str(entry.path), "error": str(entry.error) if entry.error else None,
    }  # fmt: skip


def _base_row(base_id: str) -> dict[str, Any]:
    present, info = base_present(base_id), BASES.get(base_id)
    published = {key: getattr(info, key, None) for key in ("bytes", "url", "license")}
    return {"id": base_id, "present": present, "path": str(base_file(base_id)) if present else None, **published}


def describe_model(request: DescribeModel) -> tuple[dict[str, Any], list[str]]:
    """Describe a model, base or file as plain data and in lines of text.

    :raises UserError: the name is unknown, or the file cannot be read.
    """
    name = request.name
    if name in BASES and not base_present(name):
        return _official(name, None)
    path = base_file(name) if name in known_bases.NAMES else catalog.find_model(name)
    if official := official_info(path):
        return _official(official.id, path)
    if path.suffix.lower() != SUFFIX:
        check_base(path)
    metadata, tensors = read_header(path)
    about = {"path": str(path), "bytes": paths.check_file(path).st_size, "parameters": parameter_count(tensors)}
    if BASE_KEY in metadata and MODEL_KEY not in metadata:
        card, digest = read_base_card(path), file_sha256(path)
        facts = {"kind": "base", **about, "sha256": digest, "card": card}
        return facts, describe_base(card, tensors, about["bytes"], digest)
    card = read_verified_card(path)
    present = base_present(card["base"]["id"], card["base"]["sha256"])
    lines = describe_card(card, tensors, about["bytes"])
    where = "present" if present else "missing"
    lines += ["", f"Base '{card['base']['id']}' is {where} on this machine. File: {path}"]
    return {"kind": "model", **about, "base_present": present, "card": card}, lines


def _official(base_id: str, path: Path | None) -> tuple[dict[str, Any], list[str]]:
    info = BASES[base_id]
    facts = {"kind": "official-base", "path": str(path) if path else None, **vars(info)}
    return facts, describe_official(info, path)
