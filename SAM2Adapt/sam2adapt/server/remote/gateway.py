"""The engine server behind a stream: the same methods, for a client that has its files on another computer.

The greeting says which versions of the protocol are spoken; the client's ``hello`` takes one. Then files and requests
arrive in frames (``shared/stream``). Files go to the session's folders, requests to the server with paths of this
computer; before an answer the files that it names go back. Both sides send signs of life; if nothing arrives for the
time that ``hello`` names, the process ends, as it does when the stream ends.
"""

import json
import math
import os
import socket
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

from ... import __version__
from ...shared import files, paths, protocol
from ...shared.errors import RemoteError, UserError
from ...shared.stream import frames, sending
from ..held.runs import DONE, WORKING, HeldRun
from ..held.slots import take_slot
from ..held.stores import remove_expired, remove_if_idle
from ..messages import encode, error_of, loaded_device_module
from ..server import Server, own_streams
from ..task import Task
from . import detached
from .session import Places, Session

_SILENCE = 30.0  # seconds without a sign of life, unless the client names another time
_SHORTEST, _LONGEST = 1.0, 600.0
# What needs none of the places for engines; a training that goes on by itself takes its own.
_LIGHT = frozenset(
    ["devices", "models", "modelDetails", "addModel", "removeModel", "exportModel", "bases", "downloadBase",
     "removeBase", "seriesFiles", "trainings", "stopTraining", "kept", "deleteKept"]
)  # fmt: skip


def serve_stream() -> None:
    """Serve a client on another computer until the stream ends; never returns."""
    os.umask(0o077)
    source, target = own_streams()
    target.write(
        frames.greeting({"protocols": protocol.VERSIONS, "version": __version__, "host": socket.gethostname()})
    )
    target.flush()
    RemoteServer(source, target).run()


class RemoteServer(Server):
    """Serves one client behind a stream; parameters as of ``Server``."""

    def __init__(self, source: BinaryIO, target: BinaryIO):
        super().__init__(source, target)
        self._reader = frames.FrameReader(lambda count: os.read(source.fileno(), count))
        self._session = Session()
        self._receiver = sending.Receiver(self._place)
        self._places: dict[Any, Places] = {}
        self._silence, self._numbers = _SILENCE, 0

    def _encoded(self, message: dict[str, Any]) -> bytes:
        return frames.frame(frames.MESSAGE, encode(message))

    def _greet(self) -> None:
        """Agree on a version, and only then say that the engine is ready."""
        try:
            hello = self._first_message()
            self._silence = min(_LONGEST, max(_SHORTEST, float(hello.get("silence", _SILENCE))))
            remove_expired()
        except UserError as error:
            self._refuse(error)
        except (frames.StreamError, ValueError, TypeError) as error:
            self._refuse(RemoteError(f"The connection was damaged: {error}.", "Try again."))
        for work in (self._send_life, self._watch_life):
            threading.Thread(target=work, name=work.__name__.strip("_"), daemon=True).start()
        facts = {"pid": os.getpid(), "version": __version__, "protocol": protocol.STREAM}
        self._notify("ready", {**facts, "host": socket.gethostname()})

    def _first_message(self) -> dict[str, Any]:
        """The parameters of ``hello``.

        :raises RemoteError: the client speaks another version.
        """
        frame = self._reader.frame()
        if frame is None:
            self._end()
        message = frames.parsed(frame[1])
        hello = message.get("params")
        if message.get("method") != protocol.HELLO or not isinstance(hello, dict):
            raise frames.StreamError("it does not begin with a greeting")
        if hello.get("protocol") not in protocol.VERSIONS:
            raise RemoteError(
                f"The engine there (version {__version__}) speaks protocol {protocol.VERSIONS[-1]}, and this computer"
                f" (version {hello.get('version')}) speaks {hello.get('protocol')}.",
                "Update the older one.",
            )
        return hello

    def _refuse(self, error: UserError) -> None:
        self._notify(protocol.FAILED, error_of(error))
        self._end()

    def _end(self) -> None:
        self._session.close()
        super()._end()

    def _send_life(self) -> None:
        while True:
            time.sleep(self._silence / 4)
            self._writer.send_bytes(frames.frame(frames.LIFE))

    def _watch_life(self) -> None:
        while self._reader.silence() < self._silence:
            time.sleep(self._silence / 10)
        self._leave()

    def _leave(self) -> None:
        self._session.close()
        super()._leave()

    def _read(self) -> None:
        try:
            while frame := self._reader.frame():
                kind, content = frame
                if kind == frames.PIECE:
                    self._receiver.piece(content)
                elif kind == frames.MESSAGE:
                    self._take(content)
        except frames.StreamError as error:
            self._notify(protocol.FAILED, error_of(RemoteError(f"The connection was damaged: {error}.", "Try again.")))
        except OSError:
            pass
        self._end()

    def _take(self, content: bytes) -> None:
        """Carry out a message about files, or hand a request to the server."""
        message = frames.parsed(content)
        method, params = message.get("method"), message.get("params")
        try:
            if method in (sending.FILE, sending.FILE_END, sending.FILE_ABORTED):
                self._receiver.message(method, params)
            elif method == protocol.OFFER:
                self._send({"id": message["id"], "result": self._session.missing(params["files"])})
            elif method == protocol.FETCHED:
                _remove(HeldRun(params["run"]))
            else:
                self._hand_on(message)
        except (UserError, OSError) as error:
            if isinstance(error, OSError):  # a folder of the request cannot be made, on a full disk for instance
                error = files.output_error(Path(error.filename or self._session.folder), error)
            answer = _with_place({"error": error_of(error)})
            if message.get("id") is None:
                answer = {"method": protocol.FAILED, "params": answer["error"]}
            else:
                answer["id"] = message["id"]
            self._send(answer)
        except (LookupError, TypeError, AttributeError) as error:
            raise frames.StreamError(f"a message '{method}' lacks {error}") from error

    def _hand_on(self, message: dict[str, Any]) -> None:
        number = message.get("id")
        if number is not None:
            self._places[number] = self._session.resolve(message)
        self._receive(json.dumps(message).encode())

    def _place(self, facts: dict[str, Any]) -> tuple[Path, float]:
        return self._session.store(facts["store"]).path(facts["sha256"]), math.inf

    def _carry_out(self, task: Task) -> Any:
        places = self._places.get(task.id)
        if task.method not in _LIGHT and not (places and places.hours):
            take_slot()
        if places is None or places.run is None:
            return super()._carry_out(task)
        run, state = places.run, places.run.state()
        if places.resumes and (state == WORKING or (state == DONE and "result" in run.read("answer.json"))):
            return detached.follow(run, task, self._send)
        if places.hours:
            run.begin(str(task.params.get("name") or ""), places.hours)
            detached.start(run, task.params, float(places.hours))
            return detached.follow(run, task, self._send)
        lock = run.lock()
        if not lock.held:
            raise RemoteError("Another engine works on that training.", "Wait until it has ended.")
        try:
            return super()._carry_out(task)
        finally:
            lock.release()

    def _send(self, message: dict[str, Any]) -> None:
        """Send a message, before it the files that belong to it, and in it no path of this computer."""
        is_answer = "method" not in message
        number = message.get("id") if is_answer else message.get("params", {}).get("id")
        places = self._places.get(number)
        if places:
            if is_answer:
                self._places.pop(number)
            try:
                self._send_files(message, places)
            except UserError as error:
                if not is_answer:
                    raise  # in the request that notifies, which ends with it
                message = {"id": number, "error": error_of(error)}
            message = places.hidden(_with_place(message))
        super()._send(message)
        if places and is_answer:
            self._session.release(places)

    def _send_files(self, message: dict[str, Any], places: Places) -> None:
        """Send the files that belong to a message.

        :raises UserError: one cannot be read.
        """
        for path, facts in places.to_return(message):
            self._send_file(path, facts)
        if places.run and "result" in message:
            self._return_kept(message["result"])

    def _return_kept(self, result: dict[str, Any]) -> None:
        """Send back what a training keeps for those that continue its model, and keep nothing here."""
        digest = (result.get("card") or {}).get("digest", "")
        for kind, path_of in files.KEPT_WITH_MODELS.items():
            path = path_of(digest)
            if digest and paths.is_file(path):
                self._send_file(path, {"kept": kind, "digest": digest})
                path.unlink()

    def _send_file(self, path: Path, facts: dict[str, Any]) -> None:
        self._numbers += 1
        sending.send_file(path, self._numbers, facts, self._writer.send_when_read)


def _remove(run: HeldRun) -> None:
    """Delete a training whose model has arrived."""
    if run.is_present():
        remove_if_idle(run.folder)


def _with_place(message: dict[str, Any]) -> dict[str, Any]:
    """Say of which computer the disk is full or the memory ran out, and how much of its GPU is free for others."""
    error = message.get("error") or {}
    kind, device = (error.get("data") or {}).get("kind"), loaded_device_module()
    is_memory = kind == "DeviceError" and device is not None and "memory" in error["message"].casefold()
    if kind != "OutputError" and not is_memory:  # no such device, for instance, or a broken one
        return message
    text = f"{error['message'].rstrip('.')}, on '{socket.gethostname()}'"
    if is_memory and (free := device.free_memory()):
        text += f": {free[0] / 1e9:.1f} of {free[1] / 1e9:.1f} GB of its GPU are free now, and others may use it"
    return {**message, "error": {**error, "message": f"{text}."}}
