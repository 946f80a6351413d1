"""Asks the engine, which runs in another process, and never makes Slicer wait for it.

A request is sent when the one before it is answered. Whatever happens to the engine's process, every request ends in
one way: its result, an error, or cancelled; and the process is started again when the next request needs it.
"""

import collections
import contextlib
import itertools
import json

import qt
from sam2adapt.shared import protocol
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Engine.Job import Waitable
from SAM2AdaptLib.Engine.Process import EngineProcess, answeredError, waitForKilled
from SAM2AdaptLib.Engine.Remote import Place


class EngineRequest(Waitable):
    """One request, from the moment it is made.

    id, method: as sent; state: "waiting", "running", "done", "failed" or "cancelled"; result: what the engine answered
    (done); error: EngineError (failed, cancelled).
    """

    def __init__(self, client, number, method, line, callbacks, givesWay=False):
        super().__init__()
        self.givesWay = givesWay
        self.id = number
        self.method = method
        self.state = "waiting"
        self.result = None
        self._client = client
        self._line = line
        self._callbacks = callbacks

    @property
    def isOver(self):
        """Whether it is done, failed or cancelled."""
        return self.state not in ("waiting", "running")

    def cancel(self):
        """Stop it at once; see ``EngineClient.cancel``."""
        self._client.cancel(self)

    def release(self):
        """End it, and let the engine stop by itself; see ``EngineClient.release``."""
        self._client.release(self)

    def control(self, action):
        """Tell the engine what to do with it; see ``EngineClient.control``."""
        return self._client.control(self, action)

    def _callback(self, name):
        return self._callbacks[name] or (lambda value: None)

    def _finish(self, state, result=None, error=None):
        self.state, self.result, self.error = state, result, error
        self._wake()


class EngineClient:
    """The engine as seen from Slicer. To be used from the main thread; nothing is started before the first request.

    :param command: list, the program and its arguments; without it what starts the engine where it is.
    :param environment: dict of environment variables for the engine, on top of those of Slicer.
    :param place: ``Place.Place`` of the engine; without it the one that the user has chosen when it starts.
    """

    def __init__(self, command=None, environment=None, place=None):
        self._command, self._place = command, place
        self._environment = environment or {}
        self._numbers = itertools.count(1)
        self._requests = []  # in order; the engine works on the first
        self._process = self._startedAt = None
        self._lastWords = ""
        self._pending = collections.deque()  # what waits for the event loop: (function, arguments)
        self._timer = None

    def request(
        self, method, params, onResult=None, onError=None, onProgress=None, onLog=None, onPreview=None, givesWay=False
    ):
        """Ask the engine; returns at once, and the callbacks are called from the event loop, never from in here.

        :param method: name of the engine's method.
        :param params: dict of what JSON can carry, with absolute paths.
        :param onResult: called with the result.
        :param onError: called with the EngineError, also when the request was cancelled.
        :param onProgress: called with the dict of each progress message.
        :param onLog: called with the dict of each message for the user ("level", "message").
        :param onPreview: called with the dict of each first answer, of methods that give one.
        :param givesWay: end this request, as ``release`` does, as soon as there is another one to do.
        :return: EngineRequest.
        :raises TypeError, ValueError: params is not JSON.
        """
        number = next(self._numbers)
        line = json.dumps({"jsonrpc": "2.0", "id": number, "method": method, "params": params}, allow_nan=False)
        callbacks = {"result": onResult, "error": onError, "progress": onProgress, "log": onLog, "preview": onPreview}
        request = EngineRequest(self, number, method, line, callbacks, givesWay)
        for other in [other for other in self._requests if other.givesWay]:
            self.release(other)
        self._requests.append(request)
        self._advance()
        return request

    def wait(self, request):
        """Wait for a request in a nested event loop, for the Python console and scripts; Slicer stays alive.

        :param request: EngineRequest of this client.
        :return: its result.
        :raises EngineError: it failed or was cancelled.
        """
        return request.wait().result

    def cancel(self, request):
        """Stop a request at once: if the engine works on it, its process is killed with all that it started.

        Its onError gets an error of the kind "CancelledError" from the event loop. Other requests are not lost: they
        go to a new process. A request that has ended already stays as it is.

        :param request: EngineRequest of this client.
        """
        if request not in self._requests:
            return
        if request is self._requests[0]:
            self._kill()
        self._requests.remove(request)
        request._finish("cancelled", error=cancelledError())
        self._later(request._callback("error"), request.error)
        self._advance()

    def release(self, request):
        """End a request, but keep the engine and what it holds warm: it is told, and stops when it next looks.

        Its onError is called as after ``cancel``. The next request waits until the engine has stopped.

        :param request: EngineRequest of this client.
        """
        if request not in self._requests or request.isOver:
            return
        callback = request._callback("error")
        if request.state == "waiting":
            self._requests.remove(request)
        else:
            self._process.send(json.dumps({"jsonrpc": "2.0", "method": protocol.CANCEL, "params": {"id": request.id}}))
        request._callbacks = dict.fromkeys(request._callbacks)
        request._finish("cancelled", error=cancelledError())
        self._later(callback, request.error)

    def control(self, request, action):
        """Tell the engine at once how to go on with the request that it works on.

        :param request: EngineRequest of this client.
        :param action: "pause", "run" or "stop", for a training.
        :return: whether it was sent, which needs that the engine works on the request.
        """
        if request.state != "running":
            return False
        params = {"id": request.id, "action": action}
        self._process.send(json.dumps({"jsonrpc": "2.0", "method": protocol.CONTROL, "params": params}))
        return True

    def stop(self):
        """Kill the engine with all that it started, and wait until it is gone.

        Open requests end as cancelled, and their onError is called from in here; no callback is called afterwards. A
        later request starts the engine again.
        """
        self._kill()
        requests, self._requests = [request for request in self._requests if not request.isOver], []
        for request in requests:
            request._finish("cancelled", error=stoppedError())
            self._pending.append((request._callback("error"), (request.error,)))
        waitForKilled()
        # The stack calls all of them, the first one first, even if one of them fails.
        with contextlib.ExitStack() as callbacks:
            while self._pending:
                function, arguments = self._pending.pop()
                callbacks.callback(function, *arguments)

    def isRunning(self):
        """Whether there is a process, starting ones included."""
        return self._process is not None

    def processId(self):
        """Number of the engine's process, None without one."""
        return self._process.processId() if self._process else None

    def facts(self):
        """What the engine said of itself when it was ready: "version", "protocol", from elsewhere "host"; {} before."""
        return self._process.facts if self._process else {}

    def lastWords(self):
        """The last lines that the engine wrote for its developers, also after its end."""
        return self._process.lastWords() if self._process else self._lastWords

    def _advance(self):
        """Start the engine, or send it the next request, if that is due."""
        if not self._requests:
            return
        if not self._process:
            self._start()
        elif self._process.isReady and self._requests[0].state == "waiting":
            if self._isMoved():
                self._kill()
                self._start()
                return
            self._requests[0].state = "running"
            self._process.send(self._requests[0]._line)

    def _start(self):
        if not self._timer:
            application = qt.QCoreApplication.instance()
            application.connect("aboutToQuit()", self.stop)
            self._timer = qt.QTimer(application)
            self._timer.setSingleShot(True)
            self._timer.connect("timeout()", self._callPending)
        place = self._place or Place.chosen()
        command = self._command or place.command()
        environment = place.environment() | self._environment
        self._startedAt = place
        self._process = EngineProcess(command, environment, self._onMessage, self._onEnd)
        self._process.start()

    def _isMoved(self):
        """Whether the user has chosen another place since the engine was started."""
        return not self._command and (self._place or Place.chosen()) != self._startedAt

    def _kill(self):
        if self._process:
            self._lastWords = self._process.lastWords()
            self._process.kill()
            self._process = None

    def _later(self, function, *arguments):
        """Call a function from the event loop: one at a time, so that a failing callback does not take others along."""
        self._pending.append((function, arguments))
        self._timer.start(0)

    def _callPending(self):
        if self._pending:
            function, arguments = self._pending.popleft()
            if self._pending:
                self._timer.start(0)
            function(*arguments)

    def _onMessage(self, process, message):
        self._later(self._handleMessage, process, message)

    def _onEnd(self, process, error):
        self._later(self._handleEnd, process, error)

    def _handleMessage(self, process, message):
        if process is not self._process:
            return  # killed since
        method = message.get("method")
        params = message.get("params")
        current = self._requests[0] if self._requests else None
        if method == "ready":
            self._advance()
        elif not current or current.state == "waiting":
            return
        elif method == "log":
            current._callback("log")(params)
        elif method == "progress" and params["id"] == current.id:
            current._callback("progress")(params)
        elif method == protocol.PREVIEW and params["id"] == current.id:
            current._callback("preview")(params)
        elif not method and message.get("id") in (current.id, None):  # None: it could not even read the number
            self._handleAnswer(current, message)

    def _handleAnswer(self, request, message):
        del self._requests[0]
        if request.isOver:  # released
            self._advance()
            return
        if message.get("error"):
            request._finish("failed", error=answeredError(message["error"]))
        else:
            request._finish("done", result=message.get("result"))
        self._advance()
        if request.error:
            request._callback("error")(request.error)
        else:
            request._callback("result")(request.result)

    def _handleEnd(self, process, error):
        """The request that the engine worked on has failed; if it did not even start, so have all."""
        if process is not self._process:
            return
        self._kill()  # nothing is left to kill: takes leave
        failed = self._requests[:1] if process.isReady else list(self._requests)
        del self._requests[: len(failed)]
        for request in failed:
            if request.isOver:
                continue
            request._finish("failed", error=error)
            self._later(request._callback("error"), error)
        self._advance()


def cancelledError():
    """The EngineError of a request that was cancelled."""
    return EngineError("CancelledError", _("The run was cancelled."), _("Run again to get a result."))


def stoppedError():
    """The EngineError of a request that was open when the engine was stopped; no failure that a dialog must tell of."""
    return EngineError("CancelledError", _("The engine was stopped."), _("Run again to start it."))


_shared = []  # the one client, once it was asked for


def sharedEngine():
    """The one client of this Slicer, so that all panels use one process and its warm models."""
    if not _shared:
        _shared.append(EngineClient())
    return _shared[0]


def stopSharedEngine():
    """Kill the shared engine, if there is one; it starts again when it is needed."""
    if _shared:
        _shared[0].stop()
