"""The requests about model files and base weights; ``actions.py`` has all others and explains them."""

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
    """Say what a model or weight file is."""

    name: str = setting(
        "model", "name of a model or base, or a file (.safetensors, .pt)", positional=True, metavar="BUNDLE"
    )


@dataclass(kw_only=True)
class AddModel(Request):
    """Check a model file and copy it to the user's own models."""

    path: Path = setting("path", "model file (.safetensors)", positional=True, metavar="FILE")


@dataclass(kw_only=True)
class RemoveModel(Request):
    """Delete one of the user's own models; the command line takes downloaded base weights, too."""

    name: str = setting(
        "model",
        f"NAME or NAME@VERSION of a model, or a base: {', '.join(known_bases.BASES)}",
        about="NAME or NAME@VERSION, or a file",
        positional=True,
        metavar="NAME",
    )


@dataclass(kw_only=True)
class ExportModel(Request):
    """Copy a model to a file."""

    name: str = setting("model", about="Name or file", only=SERVER)
    path: Path = setting("path", only=SERVER)


@dataclass(kw_only=True)
class DownloadBase(Request):
    """Get official base weights, which some models and trainings need."""

    base: str = setting("text", known_bases.WITH_SIZES, positional=True, metavar="BASE", about="Id of the weights")
    source: str | None = setting(
        "model",
        "take them from a local copy or another address",
        None,
        about="Local copy or other address",
        flags=("--from",),
        metavar="FILE",
    )


@dataclass(kw_only=True)
class RemoveBase(Request):
    """Delete downloaded base weights."""

    base: str = setting("text", only=SERVER)
