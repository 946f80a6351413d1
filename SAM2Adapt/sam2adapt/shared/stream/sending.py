"""Files that cross the stream: packed in several threads, written in order, and checked where they arrive."""

import hashlib
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

from .. import paths
from ..errors import InputFileError, RemoteError
from ..files import megabytes, output_error
from ..safety.private import open_private
from . import frames, packing
from .frames import StreamError

# Methods of the messages around the pieces of a file.
FILE, FILE_END, FILE_ABORTED = "file", "fileEnd", "fileAborted"
_THREADS, _AHEAD = 3, 6  # pieces that are packed before they can be written
_LOOK_AGAIN = 8  # pieces, until the best way of packing is looked for again


def send_file(
    path: Path,
    number: int,
    facts: dict[str, Any],
    write: Callable[[bytes], None],
    progress: Callable[[int], None] = lambda done: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> bool:
    """Send a file: a message with its facts, its pieces, and a message with its size and SHA-256.

    :param number: tells the files of a stream apart.
    :param write: writes a frame; it may wait until there is room for it.
    :param progress: called with the bytes of the file that are written.
    :return: False if ``cancelled`` became true; the other side drops what it has.
    :raises InputFileError: the file cannot be read.
    """
    with paths.open_file(path) as file, ThreadPoolExecutor(_THREADS, "packer") as pool:
        write(_message(FILE, number, **facts))
        digest, done, waiting = hashlib.sha256(), 0, deque()
        way = count = 0
        try:
            data = _read(file, path)
            while data or waiting:
                if cancelled():
                    write(_message(FILE_ABORTED, number))
                    return False
                if data:
                    if "sha256" not in facts:  # known already; the other side checks it
                        digest.update(data)
                    way = packing.best_way(data) if count % _LOOK_AGAIN == 0 else way
                    count += 1
                    waiting.append((way, len(data), pool.submit(packing.pack, data, way)))
                    data = _read(file, path)
                if len(waiting) >= _AHEAD or not data:
                    used, size, packed = waiting.popleft()
                    write(frames.piece(number, used, size, packed.result()))
                    done += size
                    progress(done)
        except InputFileError:
            write(_message(FILE_ABORTED, number))
            raise
        write(_message(FILE_END, number, bytes=done, sha256=facts.get("sha256") or digest.hexdigest()))
    return True


def _read(file: BinaryIO, path: Path) -> bytes:
    try:
        return file.read(packing.PIECE)
    except OSError as error:
        raise paths.unreadable(path, error) from error


def _message(method: str, number: int, **params: Any) -> bytes:
    return frames.message({"jsonrpc": "2.0", "method": method, "params": {"number": number, **params}})


class Receiver:
    """Writes files that arrive, each under a temporary name until it is whole.

    :param place: gives the path for a file from the facts of its message, and the most bytes that it may have.
    """

    def __init__(self, place: Callable[[dict[str, Any]], tuple[Path, float]]):
        self._place = place
        self._files: dict[int, _Arriving] = {}

    def message(self, method: str, params: dict[str, Any]) -> None:
        """Take a message about a file.

        :raises StreamError: the file is not what was sent.
        :raises OutputError: it cannot be written; what arrives of it later is dropped.
        """
        number = params.get("number")
        if method == FILE:
            if number in self._files:
                raise StreamError("two files have one number")
            self._files[number] = _Arriving(params, *self._place(params))
            return
        arriving = self._files.pop(number, None)
        if arriving is None:
            raise StreamError("the end of a file that did not begin")
        if method == FILE_ABORTED:
            arriving.drop()
        else:
            arriving.finish(params)

    def piece(self, content: bytes) -> None:
        """Take a piece; errors as of ``message``.

        :raises RemoteError: the file has more bytes than it may have.
        """
        number, data = frames.piece_of(content)
        if number not in self._files:
            raise StreamError("a piece of a file that did not begin")
        self._files[number].add(data)

    def close(self) -> None:
        """Drop what is not whole."""
        for arriving in self._files.values():
            arriving.drop()
        self._files = {}


class _Arriving:
    """A file on its way.

    :ivar error: why it cannot be written, None if it can.
    """

    def __init__(self, facts: dict[str, Any], path: Path, most: float):
        self.facts, self.path, self.error, self._most = facts, path, None, most
        self._part = path.with_name(f".{path.name[:100]}.part")
        self._digest, self._size, self._file = hashlib.sha256(), 0, None
        try:
            self._file = open_private(self._part)
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        self.error = output_error(self.path, error)
        self.drop()

    def add(self, data: bytes) -> None:
        if self.error:
            return
        if self._size + len(data) > self._most:
            raise RemoteError(
                f"The engine there sent a file of more than {megabytes(self._most)}, which the request cannot give.",
                "Update both sides, and try again.",
            )
        try:
            self._file.write(data)
        except OSError as error:
            self._fail(error)
            return
        self._digest.update(data)
        self._size += len(data)

    def finish(self, params: dict[str, Any]) -> None:
        """Give the whole file its name."""
        if self.error:
            raise self.error
        expected = self.facts.get("sha256", params.get("sha256"))
        if params.get("bytes") != self._size or expected != self._digest.hexdigest():
            self.drop()
            raise StreamError("a file is not what was sent")
        try:
            self._file.close()
            self._part.replace(self.path)
        except OSError as error:
            self._fail(error)
            raise self.error from error

    def drop(self) -> None:
        """Remove what has arrived."""
        if self._file:
            self._file.close()
            self._part.unlink(missing_ok=True)
