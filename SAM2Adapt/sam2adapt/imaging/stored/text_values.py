"""Voxels that are written as text (NRRD's encoding ascii, MetaImage's BinaryData = False), counted to the last one.

ITK refuses a file whose last number ends the file, and takes no notice of numbers that are too many.
"""

import contextlib
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...shared import paths
from ...shared.errors import InputFileError
from ...shared.safety.private import temporary_folder

_DIGITS = frozenset(b"0123456789+-.eE \t\r\n,")
_EXPORT = "Save it again from the program that wrote it, or as binary (raw) values."


@dataclass(frozen=True)
class TextValues:
    """Where the numbers are, and what the header declares.

    :ivar file, offset: where they begin. :ivar type: NumPy type of a value. :ivar count: how many there must be.
    :ivar header: the header of a file with the same image in little-endian binary values, up to the first of them.
    """

    file: Path
    offset: int
    type: np.dtype
    count: int
    header: bytes

    @contextlib.contextmanager
    def as_binary(self, path: Path) -> Iterator[Path]:
        """A file for ITK that holds the same image in binary values; it vanishes with the block.

        :param path: the header's file. :raises InputFileError: as ``read``.
        """
        values = self.read(path)
        with temporary_folder() as folder:
            copy = folder / f"binary{'.nrrd' if self.header.startswith(b'NRRD') else '.mha'}"
            copy.write_bytes(self.header + values.astype(values.dtype.newbyteorder("<")).tobytes())
            yield copy

    def read(self, path: Path) -> np.ndarray:
        """(count,) values in the order of the file.

        :param path: the header's file, for messages.
        :raises InputFileError: more or fewer numbers than declared, some that are none, or that the type cannot hold.
        """
        with paths.open_file(self.file) as file:
            file.seek(self.offset)
            text = file.read().replace(b",", b" ")
        wide = np.dtype(np.float64 if self.type.kind == "f" else f"{self.type.kind}8")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # what is no number
                values = np.fromstring(text, wide, sep=" ")
        except (DeprecationWarning, ValueError, OverflowError) as error:
            word = next((word for word in text.split() if not _is_number(word, wide)), b"?")
            raise InputFileError(
                f"{path} has '{word[:40].decode('utf-8', 'replace')}' among its values, which is no value of the type"
                f" {self.type.name}.", _EXPORT,
            ) from error  # fmt: skip
        if len(values) != self.count:
            what = "is truncated or damaged" if len(values) < self.count else "contradicts itself"
            raise InputFileError(
                f"{path} {what}: its header declares {self.count} values, and its text holds {len(values)}.", _EXPORT
            )
        narrow = values.astype(self.type)
        if self.type.kind != "f" and not np.array_equal(narrow, values):
            raise InputFileError(
                f"{path} has the value {values[narrow != values][0]}, which is none of the type {self.type.name}.",
                _EXPORT,
            )
        return narrow


def _is_number(word: bytes, kind: np.dtype) -> bool:
    try:
        np.array(word.decode("ascii")).astype(kind)
    except (ValueError, OverflowError, UnicodeDecodeError):
        return False
    return True


def is_text(data: bytes) -> bool:
    """Whether bytes are nothing but numbers as text."""
    return bool(data) and _DIGITS.issuperset(data)
