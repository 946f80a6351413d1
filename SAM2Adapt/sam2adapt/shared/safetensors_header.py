"""Header of a safetensors file, read without its tensors: 8 bytes with the length of the JSON that follows.

Slicer uses this to list models, because it has no safetensors package. The engine uses it because the package maps
files into memory, and one that its owner cuts short meanwhile would end the process. What a header must say:
https://github.com/huggingface/safetensors#format
"""

import math
import os
from pathlib import Path
from typing import Any, BinaryIO

from . import paths, strict_json
from .errors import UserError

SUFFIX = ".safetensors"
# Metadata entries of SAM2Adapt. Each holds a card as JSON text: of a model, or of base weights.
MODEL_KEY, BASE_KEY = "sam2adapt", "sam2adapt_base"
SCHEMA_VERSION = 1  # of a model's card; newer ones are refused
LONGEST = 100_000_000  # bytes, the limit of the format
_METADATA = "__metadata__"
_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64), **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16), "F6_E2M3": 6, "F6_E3M2": 6, "F4": 4,
    **dict.fromkeys(("BOOL", "I8", "U8", "F8_E5M2", "F8_E4M3", "F8_E8M0"), 8),
}  # fmt: skip


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
    return _read(path)[0]


def _read(path: Path) -> tuple[dict[str, Any], int, int]:
    """The header, the byte at which the tensors begin, and the bytes from there to the end of the file."""
    with _open(path) as file:
        length = header_length(file.read(8))
        if length > LONGEST:
            raise ValueError(f"a header of {length} bytes")
        header = strict_json.loads(file.read(length).decode())
        left = file.seek(0, os.SEEK_END) - 8 - length
    if not isinstance(header, dict):
        raise ValueError("the header is not a JSON object")
    return header, 8 + length, left


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata in the header; {} if it has none.

    :raises OSError, ValueError: as ``read_header``.
    """
    return _metadata(read_header(path))


def read_tensors(path: Path) -> tuple[dict[str, str], dict[str, tuple[str, tuple[int, ...]]]]:
    """The metadata, and type and shape of each tensor, in the order of their bytes, which fill the file.

    :raises OSError, ValueError: as ``read_header``, or the header does not describe the file.
    """
    header, _, size = _read(path)
    metadata, found, end = _metadata(header), {}, 0
    header.pop(_METADATA, None)
    for name, entry in sorted(header.items(), key=lambda row: _offsets(*row)):
        begin, last = _offsets(name, entry)
        kind, shape = entry.get("dtype"), entry.get("shape")
        if not isinstance(kind, str) or kind not in _BITS or not _are_lengths(shape):
            raise ValueError(f"type or shape of the tensor '{name}' is not valid")
        if begin != end or 8 * (last - begin) != math.prod(shape) * _BITS[kind]:
            raise ValueError(f"the bytes of the tensor '{name}' do not fit its shape or its neighbour")
        name.encode()  # a ValueError if it is no text
        found[name], end = (kind, tuple(shape)), last
    if end != size:
        raise ValueError(f"its tensors take {end} bytes, and {size} are there")
    return metadata, found


def _metadata(header: dict[str, Any]) -> dict[str, str]:
    metadata = header.get(_METADATA)
    if metadata is None:
        return {}
    if not isinstance(metadata, dict) or not all(isinstance(text, str) for text in metadata.values()):
        raise ValueError("the metadata are not texts by name")
    "".join((*metadata, *metadata.values())).encode()  # a ValueError if they are no text
    return metadata


def _offsets(name: str, entry: Any) -> tuple[int, int]:
    offsets = entry.get("data_offsets") if isinstance(entry, dict) else None
    if not _are_lengths(offsets) or len(offsets) != 2:
        raise ValueError(f"the header does not say where the tensor '{name}' is")
    return offsets[0], offsets[1]


def _are_lengths(value: Any) -> bool:
    return isinstance(value, list) and all(type(number) is int and number >= 0 for number in value)


def expected_size(path: Path) -> int:
    """Size in bytes of a complete file with this header.

    :raises OSError, ValueError: as ``read_header``, or the header does not say where its tensors end.
    """
    header, start, _ = _read(path)
    tensors = [entry for name, entry in header.items() if name != _METADATA]
    try:
        return start + max(entry["data_offsets"][1] for entry in tensors)
    except (TypeError, KeyError, IndexError, AttributeError) as error:
        raise ValueError("the header does not say where its tensors end") from error
