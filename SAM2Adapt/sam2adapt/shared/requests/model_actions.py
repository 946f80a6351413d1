"""The requests about model files and base weights; see ``actions.py``, which has all others."""

# ruff: noqa: RUF009  # ``setting`` makes a field

from dataclasses import dataclass
from pathlib import Path

from .. import known_bases
from .fields import SERVER, Request, setting


@dataclass(kw_only=True)
class ListModels(Request):
    """List all models; the command line lists the base weights with them."""


@dataclass(kw_only=True)
class ListBases(Request):
    """List the base weights that SAM2Adapt knows."""


@dataclass(kw_only=True)
class DescribeModel(Request):
    """Describe a model or weight file."""

    name: str = setting(
        "model", "name of a model or base, or a file (.safetensors, .pt)", positional=True, metavar="MODEL"
    )


@dataclass(kw_only=True)
class AddModel(Request):
    """Check a model file and copy it to the user's models."""

    path: Path = setting("path", "model file (.safetensors)", positional=True, metavar="FILE", reads=True)


@dataclass(kw_only=True)
class RemoveModel(Request):
    """Delete a model that the user has added; the command line also deletes downloaded base weights."""

    name: str = setting(
        "model",
        f"model, as NAME or NAME@VERSION, or downloaded base weights: {', '.join(known_bases.BASES)}",
        about="NAME, NAME@VERSION or file",
        positional=True,
        metavar="NAME",
    )


@dataclass(kw_only=True)
class ExportModel(Request):
    """Copy a model to a file."""

    name: str = setting("model", about="Name or file", only=SERVER)
    path: Path = setting("path", only=SERVER)
    case_names: bool = setting(
        "switch", None, False, about="Write beside it, as NAME.cases.json, what the cases are called", only=SERVER
    )


@dataclass(kw_only=True)
class DownloadBase(Request):
    """Download official base weights, which some models and trainings need."""

    base: str = setting(
        "text",
        f"base weights to download: {known_bases.WITH_SIZES}",
        positional=True,
        metavar="BASE",
        about="Id of the weights",
    )
    source: str | None = setting(
        "model",
        "copy the weights from this file, or download them from this address",
        None,
        about="Path of a local copy, or another address",
        flags=("--from",),
        metavar="SOURCE",
    )


@dataclass(kw_only=True)
class RemoveBase(Request):
    """Delete downloaded base weights."""

    base: str = setting("text", only=SERVER)
