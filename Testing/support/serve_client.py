"""A client of the engine server for tests and benchmarks: it runs the real process and never waits for ever."""

import json
import os
import queue
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:  # tests beside Slicer's libraries do without the engine's packages
    from sam2adapt.imaging.volume import Volume

# Generous: the machine may be busy, and importing torch takes its time.
PATIENCE = 600.0  # seconds; a busy machine is slow, and a test that waits in vain fails anyway
COMMAND = (sys.executable, "-u", "-m", "sam2adapt", "serve")


def patched(code: str) -> tuple[str, ...]:
    """A command that runs ``code`` in the server's process before it serves."""
    return (sys.executable, "-u", "-c", f"{code}\nfrom sam2adapt.server.server import serve\nserve()")


class Client:
    """A running server."""

    def __init__(self, command=COMMAND, **environment: str):
        self.process = subprocess.Popen(
            [*command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env={**os.environ, **environment},
        )  # fmt: skip
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._words: list[str] = []
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._read, self._listen)]
        for thread in self._threads:
            thread.start()
        self._last = 0
        self.seen: list[dict] = []

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def _listen(self) -> None:
        for line in self.process.stderr:
            self._words.append(line.decode())

    def write(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def send(self, method: str, /, **params: Any) -> int:
        """Send a request and give its id."""
        self._last += 1
        message = {"jsonrpc": "2.0", "id": self._last, "method": method, "params": params}
        self.write(json.dumps(message).encode() + b"\n")
        return self._last

    def notify(self, method: str, /, **params: Any) -> None:
        """Send a notification, to which there is no answer."""
        self.write(json.dumps({"jsonrpc": "2.0", "method": method, "params": params}).encode() + b"\n")

    def receive(self) -> dict:
        """The next message."""
        line = self._lines.get(timeout=PATIENCE)
        assert line is not None, f"The server ended.\n{self.last_words()}"
        message = json.loads(line, parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))
        assert message["jsonrpc"] == "2.0"
        self.seen.append(message)
        return message

    def answer(self, request: int | None) -> dict:
        """The answer to a request; what comes before it is kept in ``seen``."""
        while (message := self.receive()).get("id", "none") != request:
            pass
        return message

    def result(self, method: str, /, **params: Any) -> Any:
        """Ask and wait for the result.

        :raises RuntimeError: the answer is an error.
        """
        message = self.answer(self.send(method, **params))
        if "error" in message:
            raise RuntimeError(f"The engine answered {message['error']}")
        return message["result"]

    def error(self, method: str, /, **params: Any) -> dict:
        """Ask and wait for the error."""
        message = self.answer(self.send(method, **params))
        assert "error" in message, message
        return message["error"]

    def progress(self, request: int) -> dict:
        """The next progress of a request."""
        while True:
            message = self.receive()
            if message.get("method") == "progress" and message["params"]["id"] == request:
                return message["params"]

    def seen_of(self, method: str, request: int) -> list[dict]:
        """Notifications of a request among those that came."""
        return [m["params"] for m in self.seen if m.get("method") == method and m["params"]["id"] == request]

    def ended(self) -> int:
        """Wait for the end of the process, after all that it sent, and give its exit status."""
        status = self.process.wait(PATIENCE)
        for thread in self._threads:
            thread.join(PATIENCE)
        return status

    def last_words(self) -> str:
        """What it wrote to standard error."""
        return "".join(self._words)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            stream.close()


def described(volume: "Volume", folder: Path) -> dict:
    """The ``input`` of a request for a volume, whose voxels are written into the folder."""
    array = volume.array[0] if volume.channels == 1 else np.moveaxis(volume.array, 0, -1)
    np.save(folder / "input.npy", array)
    return {
        "array": str(folder / "input.npy"), "name": volume.name, "modality": volume.modality,
        "origin": volume.origin.tolist(), "spacing": volume.spacing.tolist(),
        "direction": volume.direction.ravel().tolist(),
    }  # fmt: skip


def assert_refused(error: dict, kind: str, word: str) -> None:
    """Make sure that an answer is an error that a user can mend, of this class and with this word in its sentence."""
    assert error["code"] == 1, error
    assert error["data"]["kind"] == kind
    assert word in error["message"]
    assert error["data"]["remedy"][-1] in ".?"
