"""The engine server: JSON-RPC 2.0 on standard input and output, one message a line, UTF-8.

A thread reads messages all the time, so that ``cancel`` and the end of standard input are noticed at once, whatever is
being computed; the main thread works on one request after the other, in the order in which they came. The server
answers at once: torch is imported by the first request that needs it.

``messages.py`` says what messages look like, ``methods.py`` what they do.
"""

import logging
import os
import sys
import threading
import time
import traceback
from typing import Any, BinaryIO

from .. import __version__
from ..shared import private
from ..shared.protocol import CANCEL, CONTROL, INVALID_REQUEST, SHUTDOWN
from .messages import Id, Message, ProtocolError, error_of
from .methods import METHODS, call
from .task import Task
from .warm_models import WarmModels
from .writer import Writer

PROTOCOL = 1
_LAST_WORDS = 2.0  # seconds to write what was answered before the end
_PARENT_CHECKS = 1.0  # seconds between looks

logger = logging.getLogger(__name__)


def serve() -> None:
    """Serve until standard input closes or ``shutdown`` is asked for; does not return."""
    _lead_process_group()
    source, target = _private_streams()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    Server(source, target).run()


def _lead_process_group() -> None:
    """Lead a process group of our own, so that a client can end us with all that we start; not on a terminal."""
    if hasattr(os, "setpgid") and not os.isatty(0) and os.getpgrp() != os.getpid():
        os.setpgid(0, 0)


def _private_streams() -> tuple[BinaryIO, BinaryIO]:
    """Keep standard input and output for messages: libraries find an empty input and print to standard error."""
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return source, target


class Server:
    """One client's requests.

    :param source: where messages come from; its end ends the process.
    :param target: where answers and notifications go.
    """

    def __init__(self, source: BinaryIO, target: BinaryIO):
        self._source, self._writer = source, Writer(target)
        self._parent = os.getppid()
        self._engine = WarmModels()
        # Guards the two below, which both threads use.
        self._changed = threading.Condition()
        self._waiting: dict[Id | None, Task] = {}
        self._running: Task | None = None

    def run(self) -> None:
        """Greet and work; leaves by ``os._exit``."""
        logging.getLogger("sam2adapt").addHandler(_WarningsToClient(self))  # of all rooms
        self._notify("ready", {"pid": os.getpid(), "version": __version__, "protocol": PROTOCOL})
        for work in (self._read, self._watch_parent, private.sweep):
            threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True).start()
        while True:
            self._work(self._next())

    def warn(self, message: str) -> None:
        """Tell the client of the running request what its user must know."""
        if task := self._running:
            task.warn(message)

    def _read(self) -> None:
        try:
            for line in self._source:
                if line.strip():
                    self._receive(line)
        except Exception:
            traceback.print_exc()
        # The client is gone: nobody needs what is being computed, but it may still read what was answered.
        self._end()

    def _watch_parent(self) -> None:
        """End with the process that started this one, even if another holds the other end of standard input."""
        while os.name != "nt" and os.getppid() == self._parent:
            time.sleep(_PARENT_CHECKS)
        if os.name != "nt":  # where the number of a parent stays what it was
            self._end()

    def _end(self) -> None:
        self._writer.drain(_LAST_WORDS)
        # An ordinary exit would wait for what libraries do at their end.
        os._exit(0)

    def _receive(self, line: bytes) -> None:
        message = Message(line)
        try:
            message.check(METHODS)
            if message.method in (CANCEL, CONTROL):
                found = self._cancel(**message.params) if message.method == CANCEL else self._control(**message.params)
                if message.id is not None:
                    self._send({"id": message.id, "result": found})
            else:
                self._enqueue(Task(message.id, message.method, message.params, self._notify))
        except ProtocolError as error:
            logger.error("%s", error)
            self._send({"id": message.id, "error": {"code": error.code, "message": str(error)}})

    def _enqueue(self, task: Task) -> None:
        with self._changed:
            before = [*self._waiting, *([self._running.id] if self._running else [])]
            if task.id in before:
                raise ProtocolError(INVALID_REQUEST, f"The id {task.id!r} is that of a request on its way.")
            self._waiting[task.id] = task
            self._changed.notify()
        if task.method == SHUTDOWN:
            for other in before:
                self._cancel(other)

    def _control(self, id: Id, action: str) -> bool:  # noqa: A002  # the parameter's name in the protocol
        """Tell the running request to hold, go on or end; False where it is not running."""
        with self._changed:
            running = self._running if self._running and self._running.id == id else None
        if running:
            running.action = action
        return bool(running)

    def _cancel(self, id: Id | None) -> bool:  # noqa: A002
        """Drop a waiting request, or ask the running one to stop; False where there is none of that id."""
        with self._changed:
            dropped = self._waiting.pop(id, None)
            running = self._running if self._running and self._running.id == id else None
        if dropped:
            self._send({"id": id, "error": error_of(dropped.cancelled_error())})
        if running:
            running.cancel()
        return bool(dropped or running)

    def _next(self) -> Task:
        with self._changed:
            self._changed.wait_for(lambda: self._waiting)
            self._running = self._waiting.pop(next(iter(self._waiting)))
            return self._running

    def _work(self, task: Task) -> None:
        if task.method == SHUTDOWN:
            self._send({"id": task.id, "result": None})
            self._end()
        try:
            answer = {"result": call(self._engine, task)}
        except Exception as error:
            answer = {"error": error_of(error)}
        with self._changed:
            self._running = None
        self._send({"id": task.id, **answer})
        self._engine.rest()

    def _notify(self, method: str, params: dict[str, Any]) -> None:
        self._send({"method": method, "params": params})

    def _send(self, message: dict[str, Any]) -> None:
        self._writer.send(message)


class _WarningsToClient(logging.Handler):
    """Warnings of the engine become the notification ``log`` of the running request."""

    def __init__(self, server: Server):
        super().__init__(logging.WARNING)
        self._server = server

    def emit(self, record: logging.LogRecord) -> None:
        # The server's own are about messages, which are answered.
        if record.name != __name__:
            self._server.warn(record.getMessage())
