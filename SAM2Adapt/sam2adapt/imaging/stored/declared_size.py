"""What a header declares against what the file holds, compared before memory is asked for.

A header of some bytes can declare terabytes. Nothing is allocated until the file is known to be long enough, and
compressed data are known to be able to hold as much: a deflate stream unpacks to 1032 times its length at most.
"""

import contextlib
import os
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ...shared import paths
from ...shared.errors import DeviceError, InputFileError

GZIP = b"\x1f\x8b"
DEFLATE_RATIO = 1032
_LEAST_HEADER = 1024  # bytes by which a short stream may seem to exceed the ratio
_BLOCK = 1 << 18
_AGAIN = "Copy or download the file again."


def readable(size: int) -> str:
    """A size in bytes as people say it."""
    for unit, length in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= length:
            return f"{size / length:.1f} {unit}"
    return f"{size} bytes"


def too_short(path: Path, declared: int, stored: int, what: str) -> InputFileError:
    """The error of a file that holds less than its header declares.

    :param declared, stored: bytes; :param what: the voxels as the header has them, "512 x 512 x 78 voxels of int16".
    """
    return InputFileError(
        f"{path} is truncated or damaged: its header declares {what}, {readable(declared)} in all, and the file holds"
        f" {readable(max(0, stored))} of them.", _AGAIN,
    )  # fmt: skip


def check_plain(path: Path, start: int, declared: int, what: str) -> None:
    """Check that a file holds so many bytes from ``start`` on.

    :raises InputFileError: it does not.
    """
    stored = os.path.getsize(path) - start
    if stored < declared:
        raise too_short(path, declared, stored, what)


def check_surplus(path: Path, declared: int, stored: int, what: str) -> None:
    """Check that a file whose voxels end it does not hold twice as many bytes: its header describes other voxels.

    :raises InputFileError: it does.
    """
    if stored >= 2 * declared:
        raise InputFileError(
            f"{path} contradicts itself: its header declares {what}, {readable(declared)} in all, and the file holds"
            f" {readable(stored)} of them.", "Correct size and type in its header, or export it again.",
        )  # fmt: skip


def check_packed(path: Path, offset: int, declared: int, what: str, packed: int | None = None) -> None:
    """Check that zlib or gzip data can hold so many bytes at all.

    :param offset: where they begin; :param packed: their length, without it up to the end of the file.
    :raises InputFileError: they cannot.
    """
    packed = os.path.getsize(path) - offset if packed is None else packed
    most = max(0, packed) * DEFLATE_RATIO + _LEAST_HEADER
    if declared > most:
        raise InputFileError(
            f"{path} is truncated or damaged: its header declares {what}, {readable(declared)} in all, and the"
            f" {readable(max(0, packed))} of packed data in the file cannot hold more than {readable(most)}.", _AGAIN,
        )  # fmt: skip


def check_gzip(path: Path, offset: int, declared: int, what: str, start: int = 0) -> None:
    """Check that a gzip stream, of one member or several, unpacks to so many bytes.

    The length at its end tells that at once; where it says something else, the stream is unpacked without being kept.

    :param declared: with the ``start`` bytes before the voxels.
    :raises InputFileError: it does not, unpacks to twice as many, or is damaged.
    """
    check_packed(path, offset, declared, what)
    with paths.open_file(path) as file:
        file.seek(-4, os.SEEK_END)
        if int.from_bytes(file.read(4), "little") == declared % 2**32:
            return
        file.seek(offset)
        stored = Unpacked(file, path).skip(2 * declared)
    if stored < declared:
        raise too_short(path, declared, stored, what)
    check_surplus(path, declared - start, stored - start, what)


class Unpacked:
    """A gzip stream of one member or several, read in order straight into memory that is there already.

    The checksum of each member is compared where it ends.

    :param file: stands at the first byte of the stream.
    """

    def __init__(self, file: BinaryIO, path: Path):
        self._file, self._path = file, path
        self._unpacker = zlib.decompressobj(wbits=31)
        self._waiting = b""

    def readinto(self, buffer: memoryview) -> int:
        """Fill the buffer as far as the stream goes; gives the number of bytes.

        :raises InputFileError: the stream is damaged, or ends within a member.
        """
        filled = 0
        while filled < len(buffer):
            piece = self._next(len(buffer) - filled)
            if not piece:
                break
            buffer[filled : filled + len(piece)] = piece
            filled += len(piece)
        return filled

    def read(self, count: int) -> bytes:
        """Up to ``count`` bytes, fewer at the end of the stream only.

        :raises InputFileError: as ``readinto``.
        """
        pieces, left = [], count
        while left and (piece := self._next(min(left, _BLOCK))):
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def skip(self, count: int | None = None) -> int:
        """Unpack without keeping, up to the end if no count is given; gives the number of bytes."""
        done = 0
        while (count is None or done < count) and (
            piece := self._next(_BLOCK if count is None else min(_BLOCK, count - done))
        ):
            done += len(piece)
        return done

    def _next(self, most: int) -> bytes:
        """The next bytes, ``most`` of them at the most; none at the end."""
        try:
            while True:
                if self._unpacker.eof:
                    rest = (self._unpacker.unused_data or self._file.read(_BLOCK)).lstrip(b"\0")
                    if not rest.startswith(GZIP):  # padding of tapes and archives, or the end
                        return b""
                    self._unpacker, self._waiting = zlib.decompressobj(wbits=31), rest
                packed = self._waiting or self._file.read(_BLOCK)
                piece = self._unpacker.decompress(packed, most)
                self._waiting = self._unpacker.unconsumed_tail
                if piece:
                    return piece
                if not (packed or self._unpacker.eof):
                    raise zlib.error("it ends too early")
        except zlib.error as error:
            raise InputFileError(f"{self._path} is truncated or damaged: {error}.", _AGAIN) from error


@contextlib.contextmanager
def enough_memory(path: Path) -> Iterator[None]:
    """Say in one and the same sentence that an image does not fit into memory.

    :raises DeviceError: memory ran out within the block.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
            raise
        raise DeviceError(
            f"The memory of this computer does not hold {path}.", "Close other programs, or crop the image first."
        ) from error
