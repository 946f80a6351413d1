"""Write messages of the server in a separate thread, so that a client that does not read never delays the work."""

import os
import threading
from collections import deque
from collections.abc import Callable
from typing import Any, BinaryIO

from .messages import encode, error_of

# A client that reads is behind by a few messages. Far behind, it has no use for another progress; and one that lets
# this much pile up does not read at all.
_BEHIND, _MOST = 1 << 20, 1 << 28  # bytes
_FILLED = 1 << 22  # bytes of files that wait to be read; more would delay what must pass them


class Writer:
    """Writes messages in the order in which they were sent.

    :param target: where they go.
    :param gone: called when the client does not read any more.
    :param encoded: turns a message into bytes.
    """

    def __init__(
        self,
        target: BinaryIO,
        gone: Callable[[], None] = lambda: os._exit(0),
        encoded: Callable[[dict[str, Any]], bytes] = encode,
    ):
        self._target, self._encode, self._gone = target, encoded, gone
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        threading.Thread(target=self._write, name="writer", daemon=True).start()

    def send(self, message: dict[str, Any]) -> None:
        """Send a message soon; a result that JSON cannot hold is answered with an error."""
        data = self._encoded(message)
        with self._changed:
            if message.get("method") == "progress" and self._bytes > _BEHIND:
                return
        self.send_bytes(data)

    def send_bytes(self, data: bytes) -> None:
        """Send bytes soon."""
        with self._changed:
            self._waiting.append(data)
            self._bytes += len(data)
            self._changed.notify_all()
            overflows = self._bytes > _MOST
        if overflows:
            self._gone()

    def send_when_read(self, data: bytes) -> None:
        """Wait until the client has read most of what was sent before, then send bytes of a file."""
        with self._changed:
            self._changed.wait_for(lambda: self._bytes <= _FILLED)
        self.send_bytes(data)

    def drain(self, seconds: float) -> bool:
        """Wait until all is written; False if that takes too long."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._bytes, seconds)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting)
                data = self._waiting.popleft()
            try:
                self._target.write(data)
                self._target.flush()
            except OSError:
                # As at the end of standard input: the client is gone.
                self._gone()
            with self._changed:
                self._bytes -= len(data)
                self._changed.notify_all()

    def _encoded(self, message: dict[str, Any]) -> bytes:
        try:
            return self._encode(message)
        except (ValueError, TypeError, RecursionError, UnicodeError) as error:
            if "result" not in message:
                raise
            return self._encode({"id": message.get("id"), "error": error_of(error)})
