"""Engines for tests without Qt: the real one in a process of its own, and one that does what the test says.

And the event loop that a job needs beside them.
"""

import collections
import os
from pathlib import Path

import numpy as np
from serve_client import Client

SOURCES = Path(__file__).resolve().parents[2] / "SAM2Adapt"


class ServedEngine:
    """``python -m sam2adapt serve``; callbacks are called from ``run``, as from an event loop."""

    def __init__(self):
        folders = [str(SOURCES), *filter(None, [os.environ.get("PYTHONPATH")])]
        self._client = Client(PYTHONPATH=os.pathsep.join(folders), OMP_NUM_THREADS="1")
        self._waiting = {}

    def request(
        self, method, params, onResult=None, onError=None, onProgress=None, onLog=None, onPreview=None, givesWay=False
    ):
        number = self._client.send(method, **params)
        self._waiting[number] = {
            "result": onResult,
            "error": onError,
            "progress": onProgress,
            "log": onLog,
            "preview": onPreview,
        }
        return _ServedRequest(self._client, number)

    def run(self, until=lambda: False):
        """Deliver what the engine says until nothing is waited for, or until says so."""
        from SAM2AdaptLib.Engine.Error import EngineError

        while self._waiting and not until():
            message = self._client.receive()
            if "error" in message:
                error, data = message["error"], message["error"].get("data", {})
                failure = EngineError(data.get("kind"), error["message"], data.get("remedy"), data.get("traceback"))
                self._waiting.pop(message["id"])["error"](failure)
            elif "result" in message:
                self._waiting.pop(message["id"])["result"](message["result"])
            elif message["method"] in ("progress", "log", "preview"):
                callbacks = self._waiting.get(message["params"].get("id"), {})
                callbacks.get(message["method"], lambda params: None)(message["params"])

    def kill(self):
        """Kill the process; gives what a client says about it."""
        from SAM2AdaptLib.Engine.Error import EngineError

        self._client.__exit__()
        return EngineError("EngineStopped", "The engine stopped unexpectedly.", "Try again.")

    def stop(self):
        """A batch stops the engine that it had for itself; this one goes on for the other tests."""

    def close(self):
        self._client.process.stdin.close()
        self._client.ended()


class _ServedRequest:
    def __init__(self, client, number):
        self._client, self._number = client, number

    def cancel(self):
        self._client.notify("cancel", id=self._number)

    release = cancel

    def control(self, action):
        self._client.notify("control", id=self._number, action=action)
        return True


class ScriptedEngine:
    """Keeps requests until the test answers them; for faults and orders of events that the real engine seldom has."""

    def __init__(self):
        self.requests = []

    def request(
        self, method, params, onResult=None, onError=None, onProgress=None, onLog=None, onPreview=None, givesWay=False
    ):
        self.requests.append(ScriptedRequest(method, params, onResult, onError, onProgress, onLog, onPreview))
        return self.requests[-1]

    @property
    def last(self):
        return self.requests[-1]


class ScriptedRequest:
    def __init__(self, method, params, onResult, onError, onProgress, onLog, onPreview):
        self.method, self.params = method, params
        self.isCancelled, self.isRunning, self.actions = False, True, []
        self.sendResult, self.sendError, self.sendProgress, self.sendLog = onResult, onError, onProgress, onLog
        self.sendPreview = onPreview

    def cancel(self):
        self.isCancelled = True

    release = cancel

    def control(self, action):
        if self.isRunning:
            self.actions.append(action)
        return self.isRunning

    def voxels(self):
        return np.load(self.params["input"]["array"])

    def answer(self, labels, structures, uncertainty=None):
        """Write the labels as the engine does and give the result."""
        np.save(self.params["labels"], labels)
        if uncertainty is not None:
            np.save(self.params["uncertainty"], uncertainty)
        counted = [{**item, "voxels": int((labels == item["id"]).sum())} for item in structures]
        self.sendResult({"structures": counted, "warnings": [], "device": "cpu"})


class EventLoop:
    """Keeps what is to be called later."""

    def __init__(self):
        self._waiting = collections.deque()

    def __call__(self, function):
        self._waiting.append(function)

    def run(self, rounds=100):
        while self._waiting and rounds:
            self._waiting.popleft()()
            rounds -= 1
