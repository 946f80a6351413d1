"""An engine in a process of its own, asked as Slicer asks it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from sam2adapt.imaging.volume import Volume
from sam2adapt.requests.arrays import write_array


class Server:
    """A running ``sam2adapt serve``; to be used in a ``with`` statement.

    :param threads: of the processor that it may use.
    :ivar ready: seconds from the start of the process to its greeting.
    """

    def __init__(self, threads: int):
        self.started = time.perf_counter()
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "sam2adapt", "serve"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL, env=environment(threads),
        )  # fmt: skip
        self._next()
        self.ready = time.perf_counter() - self.started

    def result(self, method: str, params: dict[str, Any]) -> Any:
        """Ask and wait for the result."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        self.process.stdin.write(json.dumps(request).encode() + b"\n")
        self.process.stdin.flush()
        while (message := self._next()).get("id") != 1:
            pass
        if "error" in message:
            raise RuntimeError(f"The engine answered {message['error']}")
        return message["result"]

    def _next(self) -> dict[str, Any]:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError("The engine ended.")
        return json.loads(line)

    def __enter__(self) -> "Server":
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


def environment(threads: int) -> dict[str, str]:
    """Variables of a process that may use so many threads."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


def request(volume: Volume, folder: Path, model: str, device: str) -> dict[str, Any]:
    """Parameters of ``segment`` for a one-channel volume, whose voxels are written into the folder."""
    write_array(folder / "input.npy", volume.array[0])
    described = {
        "array": str(folder / "input.npy"), "name": volume.name, "modality": volume.modality,
        "origin": volume.origin.tolist(), "spacing": volume.spacing.tolist(),
        "direction": np.ravel(volume.direction).tolist(),
    }  # fmt: skip
    return {"input": described, "model": model, "labels": str(folder / "labels.npy"), "device": device}
