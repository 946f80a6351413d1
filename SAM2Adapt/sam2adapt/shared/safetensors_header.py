"""Header of a safetensors file, read without its tensors: 8 bytes with the length of the JSON that follows.

The engine uses this for damaged files. Slicer uses it to list models, because it has no safetensors package.
"""

import json
from pathlib import Path
from typing import Any, BinaryIO

from . import paths
from .errors import UserError

SUFFIX = ".safetensors"
# Metadata entries of SAM2Adapt. Each holds a card as JSON text: of a model, or of base weights.
MODEL_KEY, BASE_KEY = "sam2adapt", "sam2adapt_base"
SCHEMA_VERSION = 1  # of a model's card; newer ones are refused
LONGEST = 100_000_000  # bytes, the limit of the format
_METADATA = "__metadata__"


def _open(path: Path) -> BinaryIO:
    """Open a regular file; opening a pipe may never end."""
    try:
        return paths.open_file(path)
    except UserError as error:
        raise OSError(error.message) from error


def header_length(start: bytes) -> int:
    """Length of the JSON in bytes, from the file's first eight bytes (little-endian)."""
    return int.from_bytes(start[:8], "little")


def read_header(path: Path) -> dict[str, Any]:
    """The header: ``dtype``, ``shape`` and ``data_offsets`` of each tensor, and perhaps ``__metadata__``.

    :raises OSError: the file cannot be read.
    :raises ValueError: the file has no such header.
    """
    with _open(path) as file:
        length = header_length(file.read(8))
        if length > LONGEST:
            raise ValueError(f"a header of {length} bytes")
        try:
            header = json.loads(file.read(length))
        except RecursionError as error:
            raise ValueError("the header is nested too deeply") from error
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    return header


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata in the header; {} if it has none.

    :raises OSError, ValueError: as ``read_header``.
    """
    metadata = read_header(path).get(_METADATA, {})
    if not isinstance(metadata, dict):
        raise ValueError("the metadata are not a JSON object")
    return metadata


def expected_size(path: Path) -> int:
    """Size in bytes of a complete file with this header.

    :raises OSError, ValueError: as ``read_header``, or the header does not say where its tensors end.
    """
    with _open(path) as file:
        length = header_length(file.read(8))
    tensors = [entry for name, entry in read_header(path).items() if name != _METADATA]
    try:
        return 8 + length + max(entry["data_offsets"][1] for entry in tensors)
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError("the header does not say where its tensors end") from error
