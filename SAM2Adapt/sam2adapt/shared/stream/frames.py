"""Frames of the stream: how messages and pieces of files follow each other, and how damage is noticed.

Each side's stream begins with a greeting, one line of text: the mark, a space, and JSON. What stands before it, for
example a login's message of the day, is skipped. Frames follow::

    kind (1 byte) | length of the content (4 bytes, big-endian) | CRC-32 of kind and content (4 bytes) | content

Kinds: a message (JSON, as the lines of a local engine), a piece of a file, a sign of life (empty). The content of a
piece: number of the file (4 bytes), way of packing (1 byte), size unpacked (4 bytes), data; see ``packing.py``.
"""

import json
import struct
import time
import zlib
from collections.abc import Callable
from typing import Any

from . import packing

MARK = b"SAM2ADAPT-STREAM "
MESSAGE, PIECE, LIFE = b"M", b"D", b"P"
_HEAD, _PIECE = struct.Struct(">cII"), struct.Struct(">IBI")
_LONGEST = 1 << 27  # bytes of a message: a batch of many thousand studies
_LONGEST_PIECE = packing.PIECE + (1 << 16)
_MOST_NOISE = 1 << 20  # bytes before the greeting


class StreamError(Exception):
    """What arrived is not a stream of frames; the text completes "The connection was damaged: …"."""


def greeting(facts: dict[str, Any]) -> bytes:
    """The line with which a stream begins."""
    return MARK + json.dumps(facts).encode() + b"\n"


def frame(kind: bytes, content: bytes = b"") -> bytes:
    """A frame with a content."""
    return _HEAD.pack(kind, len(content), zlib.crc32(content, zlib.crc32(kind))) + content


def message(content: dict[str, Any]) -> bytes:
    """A frame with a message."""
    return frame(MESSAGE, json.dumps(content, allow_nan=False).encode())


def piece(number: int, way: int, size: int, data: bytes) -> bytes:
    """A frame with a piece of the file with this number, packed in this way."""
    return frame(PIECE, _PIECE.pack(number, way, size) + data)


def piece_of(content: bytes) -> tuple[int, bytes]:
    """Number of the file and unpacked data of a piece.

    :raises StreamError: it cannot be unpacked.
    """
    try:
        number, way, size = _PIECE.unpack_from(content)
        return number, packing.unpack(content[_PIECE.size :], way, size)
    except (struct.error, ValueError) as error:
        raise StreamError(f"a piece of a file is broken ({error})") from error


class FrameReader:
    """Reads a greeting and frames.

    :param read: gives some bytes, at most as many as asked for, and b"" at the end.
    """

    def __init__(self, read: Callable[[int], bytes]):
        self._read, self._kept, self._waits_since = read, bytearray(), None
        self.noise = b""  # what came before the greeting, or instead of it

    def greeting(self) -> dict[str, Any] | None:
        """What the greeting says; None if the stream ends before it."""
        while True:
            place = self._kept.find(MARK)
            end = self._kept.find(b"\n", place) if place >= 0 else -1
            if end >= 0:
                break
            if len(self._kept) > _MOST_NOISE or not self._more():
                self.noise = bytes(self._kept)
                return None
        self.noise, line = bytes(self._kept[:place]), bytes(self._kept[place + len(MARK) : end])
        del self._kept[: end + 1]
        try:
            facts = json.loads(line)
        except ValueError as error:
            raise StreamError("its greeting is not JSON") from error
        if not isinstance(facts, dict):
            raise StreamError("its greeting is not an object")
        return facts

    def frame(self) -> tuple[bytes, bytes] | None:
        """Kind and content of the next frame; None at the end of the stream.

        :raises StreamError: it is damaged, or the stream ends inside of it.
        """
        if not self._kept and not self._more():
            return None
        kind, length, checksum = _HEAD.unpack(self._take(_HEAD.size))
        longest = {MESSAGE: _LONGEST, PIECE: _LONGEST_PIECE, LIFE: 0}.get(kind, -1)
        if length > longest:
            raise StreamError(f"a frame of kind {kind!r} with {length} bytes")
        content = self._take(length)
        if zlib.crc32(content, zlib.crc32(kind)) != checksum:
            raise StreamError("a checksum is wrong")
        return kind, content

    def silence(self) -> float:
        """Seconds for which it has waited for bytes by now; 0 while what came is worked on, however long that takes."""
        since = self._waits_since
        return 0.0 if since is None else time.monotonic() - since

    def _take(self, count: int) -> bytes:
        while len(self._kept) < count:
            if not self._more():
                raise StreamError("it ends in the middle of a frame")
        taken = bytes(self._kept[:count])
        del self._kept[:count]
        return taken

    def _more(self) -> bool:
        self._waits_since = time.monotonic()
        data = self._read(1 << 18)
        self._waits_since = None
        self._kept += data
        return bool(data)


def parsed(content: bytes) -> dict[str, Any]:
    """The message in a frame.

    :raises StreamError: it is no JSON object.
    """
    try:
        found = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise StreamError("a message is not JSON") from error
    if not isinstance(found, dict):
        raise StreamError("a message is not an object")
    return found
