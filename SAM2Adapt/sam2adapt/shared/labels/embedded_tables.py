"""Tables of labels inside label files: the Caret table in NIfTI, and the colour table of FreeSurfer in .mgz."""

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import BinaryIO
from xml.etree import ElementTree as ET

from .. import paths
from ..errors import InputFileError
from .label_entries import LabelEntry, LabelTable, color_of

_LONGEST = 1 << 24  # bytes of a header or table
_GZIP = b"\x1f\x8b"
_UNREADABLE = (
    OSError,
    EOFError,
    ValueError,
    OverflowError,
    struct.error,
    zlib.error,
)  # the error appears when the voxels are read
# FreeSurfer's utils/tags and utils/colortab: what follows the voxels of a .mgh file.
_MGH_HEADER, _MGH_PARAMETERS = 284, 20  # bytes: before the voxels, and of five floats after them
_MGH_BYTES = {0: 1, 1: 4, 3: 4, 4: 2, 10: 2}  # of a voxel, by type
_COLOR_TABLE, _OLD_TRANSFORM = 1, 30  # tags
_WITHOUT_LENGTH = (2, 20)
_MOST_ENTRIES, _LONGEST_NAME = 1 << 20, 1 << 12


def caret_table(path: Path) -> LabelTable | None:
    """The table of Caret in the extension of a NIfTI-1 header, if there is one."""
    try:
        with _opened(path) as file:
            header = file.read(352)
            if len(header) < 352 or header[344:348] != b"n+1\0" or header[348] == 0:
                return None
            order = "<" if struct.unpack("<i", header[:4])[0] == 348 else ">"
            (start,) = struct.unpack(f"{order}f", header[108:112])
            data = file.read(min(_LONGEST, max(0, int(start) - 352)))
    except _UNREADABLE:
        return None
    begin, end = data.find(b"<CaretExtension"), data.rfind(b"</CaretExtension>")
    if begin < 0 or end < begin or b"<!ENTITY" in data:
        return None
    try:
        root = ET.fromstring(data[begin : end + len(b"</CaretExtension>")].decode("utf-8", "replace"))
    except ET.ParseError as error:
        raise _damaged(path, str(error)) from error
    table = LabelTable(path, complete=False)
    for label in root.iter("Label"):
        value, name = label.get("Key", ""), (label.text or "").strip()
        if value.isdigit() and int(value) and name:
            parts = [label.get(part, "") for part in ("Red", "Green", "Blue")]
            table.entries[int(value)] = LabelEntry(name, color_of(parts, 1.0))
    return table if table.entries else None


def freesurfer_table(path: Path) -> LabelTable | None:
    """The colour table after the voxels of a .mgz or .mgh file, if there is one.

    :raises InputFileError: it is damaged.
    """
    try:
        with _opened(path) as file:
            header = file.read(_MGH_HEADER)
            version, *size, frames, kind = struct.unpack(">6i", header[:24])
            if version != 1 or kind not in _MGH_BYTES:
                return None
            file.seek(math.prod(size) * frames * _MGH_BYTES[kind] + _MGH_PARAMETERS, 1)
            if not _seek_color_table(file):
                return None
            return _color_table(file, path)
    except _UNREADABLE:
        return None


def _seek_color_table(file: BinaryIO) -> bool:
    """Go behind the tag of the colour table; False if there is none."""
    while len(data := file.read(4)) == 4:
        (tag,) = struct.unpack(">i", data)
        if tag == _COLOR_TABLE:
            return True
        if tag == 0:
            return False
        if tag in _WITHOUT_LENGTH:
            continue
        if tag == _OLD_TRANSFORM:
            length = struct.unpack(">i", file.read(4))[0] - 1
        else:
            (length,) = struct.unpack(">q", file.read(8))
        if not 0 <= length < _LONGEST:
            return False
        file.seek(length, 1)
    return False


def _color_table(file: BinaryIO, path: Path) -> LabelTable | None:
    """Version 1 lists the entries 0, 1, 2 …; version 2 gives each its number."""

    def number() -> int:
        return struct.unpack(">i", file.read(4))[0]

    def text() -> str:
        length = number()
        if not 0 <= length <= _LONGEST_NAME:
            raise ValueError(f"a name of {length} bytes")
        return file.read(length).split(b"\0")[0].decode("utf-8", "replace").strip()

    table = LabelTable(path, complete=False)
    try:
        version = number()
        if version < -2 or version in (0, -1):
            raise ValueError(f"version {-version}")
        if version == -2:
            number()  # the largest value and one
        text()  # the file that the table came from
        count = version if version > 0 else number()
        if not 0 <= count <= _MOST_ENTRIES:
            raise ValueError(f"{count} entries")
        for place in range(count):
            value = place if version > 0 else number()
            name, *levels = text(), number(), number(), number(), number()
            if value > 0 and name:
                table.entries[value] = LabelEntry(name, color_of(levels, 255.0))
    except (ValueError, struct.error, EOFError) as error:
        raise _damaged(path, "they end too early" if isinstance(error, struct.error) else str(error)) from error
    return table if table.entries else None


def _opened(path: Path) -> BinaryIO:
    with paths.open_file(path) as file:
        packed = file.read(2) == _GZIP
    return gzip.open(path) if packed else paths.open_file(path)


def _damaged(path: Path, reason: str) -> InputFileError:
    return InputFileError(
        f"The names of labels in '{path}' are damaged: {reason}.", "Name the label values yourself.", setting="classes"
    )
