"""A local engine to Slicer that has the work done by an engine on another computer.

    python -m SAM2AdaptLib.Engine.Remote.Relay --place TEXT (--host HOST | --command PROGRAM ARGUMENT …)

It speaks the lines of a local engine on standard input and output, so jobs and panels know no difference, and a stream
with the engine there. It runs in a process of its own, so that Slicer never waits while voxels are packed, and ends
with all that it started when Slicer ends. It needs the standard library and numpy only.
"""

import argparse
import json
import os
import queue
import sys
import tempfile
import threading
import time
from functools import partial
from pathlib import Path

from sam2adapt.shared import files, protocol
from sam2adapt.shared.errors import CancelledError, RemoteError, UserError, check_cancelled
from sam2adapt.shared.known_bases import BASES
from sam2adapt.shared.requests.fields import camel_case
from sam2adapt.shared.requests.schema import METHODS
from sam2adapt.shared.safety.private import Claim
from sam2adapt.shared.stream import sending

from SAM2AdaptLib.Engine.Remote import Arrivals, Batches, Diagnosis, ModelFiles, Place, Ssh, Wheel
from SAM2AdaptLib.Engine.Remote.Connection import Answers, Connection
from SAM2AdaptLib.Engine.Remote.Outgoing import Hashes, Outgoing, revealed
from SAM2AdaptLib.Engine.Remote.Trainings import RemoteTraining

SILENCE = 30.0  # seconds
_BETWEEN = 0.1  # seconds between two messages of progress
_PARENT_CHECKS = 0.5  # seconds


class Relay:
    """Between Slicer and one engine.

    :param command: program and arguments that start the engine.
    :param place: what the user calls the place of the engine.
    :param target: stream for lines to Slicer.
    :param deliver: sends the engine's files to a host that has none, and gives the reason if that fails; None for
        commands.
    """

    def __init__(self, command, place, target, silence=SILENCE, environment=None, deliver=None):
        self._place, self._target, self._speaking, self._deliver = place, target, threading.Lock(), deliver
        self._connection = Connection(
            command, protocol.VERSION, silence, environment, self._placeOf, self._onMessage, self._fail
        )
        self._answers, self._hashes = Answers(), Hashes()
        self._requests = queue.Queue()
        self._tokens = {}  # path of each token of the requests on their way
        self._open = {}  # by the id of a request: its Outgoing, and what is done with its answer
        self._cancelled, self._numbers = set(), 0
        self._folder = Path(tempfile.mkdtemp(prefix="sam2adapt-"))  # mode 0700
        self._claim = Claim(self._folder)

    def start(self):
        """Connect; the engine's "ready" is passed on once it is there."""
        try:
            self._connection.start()
        except RemoteError as error:
            self._fail(error)
        threading.Thread(target=self._work, daemon=True).start()

    def take(self, line):
        """Take a line from Slicer."""
        message = json.loads(line)
        if message["method"] in (protocol.CANCEL, protocol.CONTROL) and "id" not in message:
            if message["method"] == protocol.CANCEL:
                self._cancelled.add(message["params"]["id"])
            self._quietly(lambda: self._connection.send(message))
        else:
            self._requests.put(message)

    def close(self):
        """End everything."""
        self._connection.close()
        self._claim.close()

    def _say(self, message):
        with self._speaking:
            self._target.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
            self._target.flush()

    def _fail(self, error):
        """Tell Slicer why there is no engine any more, and end."""
        if isinstance(error, Diagnosis.LacksEngine) and self._deliver and (reason := self._deliver()):
            error = RemoteError(
                f"{error.message} Its files could not be sent: {reason.rstrip('.')}.",
                "Make sure that your home folder there has room and can be written, then test the connection again.",
            )
        self._quietly(lambda: self._say({"method": protocol.FAILED, "params": errorOf(error)}))
        self.close()
        os._exit(0)

    @staticmethod
    def _quietly(action):
        try:
            action()
        except (OSError, RemoteError):
            pass  # the thread that reads notices

    def _work(self):
        """Send one request after the other."""
        while True:
            message = self._requests.get()
            try:
                self._carryOut(message)
            except UserError as error:
                self._forget(message["id"])
                self._say({"id": message["id"], "error": errorOf(error)})
            except Exception as error:
                self._forget(message["id"])
                data = {"kind": type(error).__name__}
                self._say(
                    {"id": message["id"], "error": {"code": protocol.DEFECT, "message": str(error), "data": data}}
                )

    def _carryOut(self, message):
        number, method, params = message["id"], message["method"], message.get("params", {})
        if method == "addModel":
            self._say({"id": number, "result": self._addModel(number, params)})
        elif method == "removeModel":
            self._say({"id": number, "result": {"removed": [os.fspath(ModelFiles.remove(params["name"]))]}})
        elif method in METHODS:
            self._send(number, method, params)
        else:
            self._connection.send(message)  # the engine there says that it knows no such method

    def _send(self, number, method, params):
        """Send a request with its files; its answer is passed on when it comes."""
        outgoing = Outgoing(method, self._hashes, lambda: number in self._cancelled)
        training = None
        if method == "train":
            training = RemoteTraining(outgoing, params, self._place)
            fields = training.message()
        elif method == "segmentBatch":
            fields = Batches.message(outgoing, params, self._place)
        elif method == "downloadBase":
            fields = {"params": outgoing.packed(self._withOwnWeights(params))}
        else:
            fields = {"params": outgoing.packed(params)}
        self._sendFiles(outgoing, number)
        self._tokens |= outgoing.tokens
        self._open[number] = (outgoing, lambda result: self._finish(params, training, result))
        if training:
            training.begins()
        check_cancelled(outgoing.isCancelled, "The request")
        self._connection.send({"jsonrpc": "2.0", "id": number, "method": method, **fields})

    @staticmethod
    def _withOwnWeights(params):
        """The parameters of ``downloadBase``, which is sent weights that are here already."""
        info = BASES.get(params.get("base"))
        path = files.bases_folder() / info.file if info else None
        return {**params, "source": os.fspath(path)} if path and path.is_file() and not params.get("source") else params

    def _ask(self, method, params):
        """Ask the engine there, and wait for its answer.

        :raises UserError: it answers with an error.
        """
        number = self._answers.expect()
        self._connection.send({"jsonrpc": "2.0", "id": number, "method": method, "params": params})
        answer = self._answers.wait(number)
        if "error" in answer:
            data = answer["error"].get("data") or {}
            about = {"message": answer["error"]["message"], "remedy": data.get("remedy") or "Please report this."}
            keys = {"kind": "", "setting": (), "value": None}
            raise UserError.from_json(about | {key: data.get(key, usual) for key, usual in keys.items()})
        if "result" not in answer:
            raise RemoteError("The engine there gave an answer without a result.", "Update both sides, and try again.")
        return answer["result"]

    def _sendFiles(self, outgoing, number):
        """Send those of a request's files that are not there yet."""
        known = {file.digest: file for file in outgoing.files}
        if not known:
            return
        offered = [{"file": file.digest, "store": file.store} for file in known.values()]
        missing = self._ask(protocol.OFFER, {"files": offered})
        if not isinstance(missing, list) or any(digest not in list(known) for digest in missing):
            raise RemoteError("The engine there asked for a file that was not offered.", "Update both sides.")
        progress = _Progress(sum(known[digest].size for digest in missing), number, self._say)
        for digest in missing:
            file = known[digest]
            self._numbers += 1
            whole = sending.send_file(
                file.path, self._numbers, {"sha256": digest, "store": file.store, "bytes": file.size},
                self._connection.write, progress, outgoing.isCancelled,
            )  # fmt: skip
            if not whole:
                raise CancelledError("The request was cancelled.", "Nothing was changed.")
            progress.next(file.size)

    def _addModel(self, number, params):
        """Have a model checked there, and keep the file that comes back."""
        target = self._folder / "checked.safetensors"
        outgoing = Outgoing("exportModel", self._hashes, lambda: number in self._cancelled)
        packed = outgoing.packed({"name": os.path.abspath(params["path"]), "path": os.fspath(target)})
        self._sendFiles(outgoing, number)
        self._tokens |= outgoing.tokens
        self._open[number] = (outgoing, None)
        self._ask("exportModel", packed)
        self._forget(number)
        if not target.is_file():
            raise RemoteError("The engine there did not send the model back.", "Update both sides, and try again.")
        return ModelFiles.add(target)

    def _placeOf(self, facts):
        """Where a file that comes back belongs: only where a request wants it, or where its kind is kept."""
        return Arrivals.placeOf(facts, [outgoing for outgoing, _ in list(self._open.values())])

    def _onMessage(self, message):
        """Pass on what the engine says."""
        if self._answers.take(message):
            return
        if message.get("method") == protocol.FAILED:
            self._fail(_Described(message["params"]))
        elif message.get("method") == "ready":
            about = {"pid": os.getpid(), "host": self._connection.host}
            self._say({"method": "ready", "params": {**message["params"], **about}})
        elif "method" in message:
            notice = {"method": message["method"], "params": revealed(message.get("params", {}), self._tokens)}
            Arrivals.checkAnswer(notice, set(self._tokens.values()))
            self._say(notice)
        else:
            self._pass(message)

    def _pass(self, message):
        """Pass on an answer, and what has to be done with it."""
        number = message.get("id")
        shown = {key: revealed(message[key], self._tokens) for key in ("result", "error") if key in message}
        Arrivals.checkAnswer(shown, set(self._tokens.values()))
        _, finish = self._open.get(number, (None, None))
        if finish and "result" in message:
            try:
                finish(shown["result"])
            except UserError as error:
                shown = {"error": errorOf(error)}
        self._forget(number)
        self._say({"id": number, **shown})

    def _finish(self, params, training, result):
        """What remains to be done here when the engine there is done."""
        if training:
            training.ended()
            self._connection.send({"jsonrpc": "2.0", "method": protocol.FETCHED, "params": {"run": training.run}})
        elif isinstance(result, dict) and "studies" in result and "output" in params:
            Batches.writeManifest(params["output"], result)

    def _forget(self, number):
        outgoing, _ = self._open.pop(number, (None, None))
        for token in outgoing.tokens if outgoing else ():
            self._tokens.pop(token, None)
        self._cancelled.discard(number)


class _Progress:
    """Tells how much of a request's files is sent."""

    def __init__(self, total, number, say):
        self._total, self._number, self._say = total, number, say
        self._before, self._began, self._told = 0, time.monotonic(), 0.0

    def next(self, size):
        self._before += size

    def __call__(self, done):
        done += self._before
        now = time.monotonic()
        if now - self._told < _BETWEEN and done < self._total:
            return
        self._told = now
        left = (now - self._began) * (self._total - done) / done if done else None
        numbers = {"fraction": 0.0, "done": done, "total": self._total, "unit": "byte", "secondsLeft": left}
        self._say({"method": "progress", "params": {"id": self._number, "stage": protocol.SENDING, **numbers}})


class _Described(UserError):
    """An error that the engine there has described."""

    def __init__(self, error):
        data = error.get("data") or {}
        super().__init__(error["message"], data.get("remedy") or "Please report this.")
        self.error = error


def errorOf(error):
    """The error of an answer, as the engine's own."""
    if isinstance(error, _Described):
        return error.error
    kind = "RemoteError" if isinstance(error, RemoteError) else type(error).__name__
    data = {"kind": kind, "remedy": error.remedy, "setting": [camel_case(n) for n in error.setting]}
    if error.value is not None:
        data["value"] = error.value
    return {"code": protocol.USER_ERROR, "message": error.message, "data": data}


def main(arguments=None):
    """Relay until standard input ends."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--place", required=True)
    parser.add_argument("--silence", type=float, default=SILENCE)
    parser.add_argument("--host")
    parser.add_argument("--command", nargs=argparse.REMAINDER)
    given = parser.parse_args(arguments)
    if hasattr(os, "setpgid") and os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # so that it is killed with all that it started
    target = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    threading.Thread(target=_endWithParent, args=(os.getppid(),), daemon=True).start()
    try:
        command = Ssh.command(given.host) if given.host is not None else given.command
        if not command:
            raise RemoteError("No command is given.", "Write the program that starts the engine.", setting="engine_on")
    except RemoteError as error:
        target.write(
            json.dumps({"jsonrpc": "2.0", "method": protocol.FAILED, "params": errorOf(error)}).encode() + b"\n"
        )
        target.flush()
        return
    environment, deliver = _environment(), None
    if given.host is not None:
        environment = Ssh.environment(environment)
        deliver = partial(Wheel.send, given.host, environment)
    relay = Relay(command, given.place, target, given.silence, environment, deliver)
    relay.start()
    for line in sys.stdin.buffer:
        if line.strip():
            relay.take(line)
    relay.close()
    os._exit(0)


def _environment():
    """The environment of the command: that of Slicer before it started, whose libraries would break ssh."""
    environment = dict(os.environ)
    for name, value in json.loads(environment.pop(Place.STARTUP_VARIABLE, "{}")).items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    return environment


def _endWithParent(parent):
    while os.name != "nt":
        time.sleep(_PARENT_CHECKS)
        if os.getppid() != parent:
            os._exit(0)


if __name__ == "__main__":
    main()
