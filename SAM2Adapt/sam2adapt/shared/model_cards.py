"""What lists of models take from the cards of model files, in the engine and in Slicer alike."""

from datetime import datetime
from pathlib import Path
from typing import Any

from . import files

OWN, BUNDLED = "own", "bundled"  # added by the user, or shipped with SAM2Adapt


def model_folders() -> tuple[tuple[Path, str], ...]:
    """The folders of model files, each with ``OWN`` or ``BUNDLED``. The first folder has precedence."""
    return (files.models_folder(), OWN), (files.bundled_folder(), BUNDLED)


def full_name(name: str, version: str) -> str:
    """The name that tells versions of a model apart, ``NAME@VERSION``; ``NAME`` if the version is unknown."""
    return f"{name}@{version}" if version else name


def is_called(text: str, name: str, version: str) -> bool:
    """Whether a user means this model by ``NAME`` or ``NAME@VERSION``; upper and lower case are the same."""
    return text.casefold() in (name.casefold(), full_name(name, version).casefold())


def mean_dice(card: dict[str, Any]) -> float | None:
    """Mean Dice, 0 to 1, on the validation cases; None if it was not measured."""
    return card["metrics"]["dice"]["mean"] if card["metrics"] else None


def created(card: dict[str, Any]) -> float:
    """When the model was made, in seconds since 1970; of several models with one name, the newest has precedence."""
    return datetime.fromisoformat(card["created"]).timestamp()


def slice_pixel(card: dict[str, Any]) -> float | None:
    """Mm of a pixel of the model's grid; None if the model scales every slice to one size."""
    spacing = card["slices"]["spacing"]
    return float(max(spacing)) if spacing else None


def typical_size(card: dict[str, Any]) -> int | None:
    """Longest side of a typical slice in the training, pixels of the model's grid; None if the card does not say."""
    size = card["training"]["settings"].get("size")
    return size if isinstance(size, int) and size > 0 else None
