"""The engine server: JSON-RPC 2.0 on standard input and output, one message a line, UTF-8.

A thread reads messages all the time, so that ``cancel`` and the end of standard input take effect at once. The main
thread works on one request after the other, in the order of their arrival. The server starts at once: only the first
request that needs torch imports it.

``messages.py`` defines the messages, ``methods.py`` the methods.
"""

import logging
import os
import sys
import threading
import time
import traceback
from typing import Any, BinaryIO

from .. import __version__
from ..shared.protocol import CANCEL, CONTROL, INVALID_REQUEST, LINES, SHUTDOWN
from ..shared.safety import private
from .messages import Id, Message, ProtocolError, encode, error_of
from .methods import METHODS, call
from .task import Task
from .warm_models import WarmModels
from .writer import Writer

_LAST_WORDS = 2.0  # seconds to write what was answered before the end
_PARENT_CHECKS = 1.0  # seconds between looks

logger = logging.getLogger(__name__)


def serve() -> None:
    """Serve until standard input closes or ``shutdown`` arrives; never returns."""
    Server(*own_streams()).run()


def own_streams() -> tuple[BinaryIO, BinaryIO]:
    """Prepare the process to serve; return the streams of the client."""
    _lead_process_group()
    streams = _private_streams()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    return streams


def _lead_process_group() -> None:
    """Start a new process group, so that a client can end it with all child processes; not on a terminal."""
    if hasattr(os, "setpgid") and not os.isatty(0) and os.getpgrp() != os.getpid():
        os.setpgid(0, 0)


def _private_streams() -> tuple[BinaryIO, BinaryIO]:
    """Reserve standard input and output for messages: libraries get an empty input and print to standard error."""
    source, target = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return source, target


class Server:
    """Serves one client.

    :param source: stream of its messages; when it ends, the process ends.
    :param target: stream for answers and notifications.
    """

    def __init__(self, source: BinaryIO, target: BinaryIO):
        self._source, self._writer = source, Writer(target, self._leave, self._encoded)
        self._parent = os.getppid()
        self._engine = WarmModels()
        # Guards _waiting and _running, which both threads use.
        self._changed = threading.Condition()
        self._waiting: dict[Id | None, Task] = {}
        self._running: Task | None = None

    def run(self) -> None:
        """Greet the client and work; ends by ``os._exit``."""
        logging.getLogger("sam2adapt").addHandler(_WarningsToClient(self))  # the root of all loggers of the engine
        self._greet()
        for work in (self._read, self._watch_parent, private.sweep):
            threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True).start()
        while True:
            self._work(self._next())

    def _encoded(self, message: dict[str, Any]) -> bytes:
        return encode(message)

    def _greet(self) -> None:
        self._notify("ready", {"pid": os.getpid(), "version": __version__, "protocol": LINES})

    def _carry_out(self, task: Task) -> Any:
        return call(self._engine, task)

    def warn(self, message: str) -> None:
        """Send a warning to the client, as part of the running request."""
        if task := self._running:
            task.warn(message)

    def _read(self) -> None:
        try:
            for line in self._source:
                if line.strip():
                    self._receive(line)
        except Exception:
            traceback.print_exc()
        # The client is gone, so no result is needed; but it may still read earlier answers.
        self._end()

    def _watch_parent(self) -> None:
        """End with the parent process, even if another process holds the other end of standard input."""
        while os.name != "nt" and os.getppid() == self._parent:
            time.sleep(_PARENT_CHECKS)
        if os.name != "nt":  # on Windows, a child keeps the number of its parent
            self._end()

    def _end(self) -> None:
        self._writer.drain(_LAST_WORDS)
        # A normal exit would wait for the exit handlers of libraries.
        os._exit(0)

    def _leave(self) -> None:
        """End at once: nobody reads last words."""
        os._exit(0)

    def _receive(self, line: bytes) -> None:
        message = Message(line)
        try:
            message.check(METHODS)
            if message.method in (CANCEL, CONTROL):
                obey = self._cancel if message.method == CANCEL else self._control
                done = obey(**message.params)
                if message.id is not None:
                    self._send({"id": message.id, "result": done})
            else:
                self._enqueue(Task(message.id, message.method, message.params, self._notify))
        except ProtocolError as error:
            logger.error("%s", error)
            self._send({"id": message.id, "error": {"code": error.code, "message": str(error)}})

    def _enqueue(self, task: Task) -> None:
        with self._changed:
            before = [*self._waiting, *([self._running.id] if self._running else [])]
            if task.id in before:
                raise ProtocolError(
                    INVALID_REQUEST, f"The id {task.id!r} is that of another waiting or running request."
                )
            self._waiting[task.id] = task
            self._changed.notify()
        if task.method == SHUTDOWN:
            for other in before:
                self._cancel(other)

    def _control(self, id: Id, action: str) -> bool:  # noqa: A002  # the parameter's name in the protocol
        """Tell the running request to pause, go on or stop; False if another one or none is running."""
        with self._changed:
            running = self._running if self._running and self._running.id == id else None
        if running:
            running.action = action
        return bool(running)

    def _cancel(self, id: Id | None) -> bool:  # noqa: A002
        """Drop a waiting request, or ask the running one to stop; False if no request has this id."""
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
            answer = {"result": self._carry_out(task)}
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
    """Turns warnings of the engine into the notification ``log`` of the running request."""

    def __init__(self, server: Server):
        super().__init__(logging.WARNING)
        self._server = server

    def emit(self, record: logging.LogRecord) -> None:
        # Warnings of this module are about invalid messages, which get an answer.
        if record.name != __name__:
            self._server.warn(record.getMessage())
