"""An engine in a process of its own, asked as Slicer asks it."""

import os
import time
from pathlib import Path
from typing import Any

from sam2adapt.imaging.volume import Volume
from serve_client import Client, described


class Server(Client):
    """A running ``sam2adapt serve``; to be used in a ``with`` statement.

    :param threads: how many threads it may use.
    :ivar started: when the process was started, on ``time.perf_counter``; ``ready``: seconds until its greeting.
    """

    def __init__(self, threads: int):
        self.started = time.perf_counter()
        super().__init__(**environment(threads))
        self.receive()
        self.ready = time.perf_counter() - self.started


def environment(threads: int) -> dict[str, str]:
    """Variables of a process that may use so many threads."""
    return {**os.environ, "OMP_NUM_THREADS": str(threads)}


def request(volume: Volume, folder: Path, model: str, device: str) -> dict[str, Any]:
    """Parameters of ``segment`` for a volume, whose voxels are written into the folder."""
    return {"input": described(volume, folder), "model": model, "labels": str(folder / "labels.npy"), "device": device}
