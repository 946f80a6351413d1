"""Model files ("bundles"): a ``.safetensors`` file with the trained tensors and, as its only metadata, the card.

A bundle cannot hold code. ``card.py`` reads cards without torch; this module reads and writes tensors.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from ..shared.errors import ModelFileError
from ..shared.files import atomic_write
from ..shared.safetensors_header import MODEL_KEY
from .card import (
    FORMAT,
    check_model_name,
    compute_digest,
    read_bytes,
    read_card,
    validate_card,
    verify_digest,
)

__all__ = [
    "FORMAT",
    "Bundle",
    "read_bundle",
    "read_card",
    "validate_card",
    "write_bundle",
]


@dataclass(frozen=True)
class Bundle:
    """A model file in memory: its card, its tensors by name (on the CPU), and its path."""

    card: dict[str, Any]
    tensors: dict[str, Tensor]
    path: Path


def read_bundle(path: Path) -> Bundle:
    """Read a model file and check everything: form, schema, digest, finite numbers.

    :raises InputFileError: the file is missing or unreadable.
    :raises ModelFileError: it is not a bundle, is damaged, was changed later, or is of a newer version.
    """
    path = Path(path)
    card = read_card(path)
    # Not memory-mapped, because a training run may replace the file while this model is in use.
    data = read_bytes(path)
    verify_digest(path, card, data)
    try:
        tensors = load(data)
    except (SafetensorError, KeyError, ValueError, TypeError) as error:
        raise ModelFileError(
            f"'{path}' holds a type of numbers that this version cannot read ({error}).", "Update SAM2Adapt."
        ) from error
    if name := _not_finite(tensors):
        raise ModelFileError(
            f"'{path}' holds NaN or infinite numbers in tensor '{name}'.", "Train the model again, or use another one."
        )
    return Bundle(card, tensors, path)


def write_bundle(path: Path, card: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """Write a model file; it appears complete or not at all.

    :param card: see ``schemas/bundle.schema.json``; its ``digest`` is replaced.
    :param tensors: the trained tensors by name; they are copied to the CPU.
    :return: the written card, with its digest.
    :raises ModelFileError: the card is not valid, or a tensor holds NaN or infinity.
    :raises OutputError: the file cannot be written.
    """
    path = Path(path)
    check_model_name(path)
    validate_card({key: value for key, value in card.items() if key != "digest"})
    if not tensors:
        raise ModelFileError("There is no trained tensor to write.", "Train something first.")
    if name := _not_finite(tensors):
        raise ModelFileError(
            f"The trained tensor '{name}' holds NaN or infinite numbers, so no model was written.",
            "Train again with a lower learning rate.",
        )
    # Copy each tensor, because safetensors refuses tensors that share memory (tied or sliced ones).
    copies = {
        key: tensor.detach().cpu().clone(memory_format=torch.contiguous_format) for key, tensor in tensors.items()
    }
    card = json.loads(json.dumps(dict(card)))
    card["digest"] = compute_digest(card, save(copies))
    data = save(copies, {MODEL_KEY: json.dumps(card, ensure_ascii=False, allow_nan=False)})
    with atomic_write(path) as file:
        file.write(data)
    return card


def _not_finite(tensors: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor with a NaN or infinite number."""
    for name, tensor in tensors.items():
        # torch has no isfinite for 8-bit floats.
        values = tensor.float() if tensor.is_floating_point() and tensor.itemsize == 1 else tensor
        if not torch.isfinite(values).all():
            return name
    return None
