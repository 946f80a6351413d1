"""Known defects, one for each kind of fault, which show that the campaign would find it."""

import contextlib
import io
import json
import mmap
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import clock as clock_tries
import numpy as np
from installation import Unfinished
from outcomes import DIED, HUNG, LOST, MEMORY, TRACEBACK
from sam2adapt.cli import app
from sam2adapt.imaging.stored import tiff
from sam2adapt.modelfiles import card, catalog
from sam2adapt.segmenting import model, slices
from sam2adapt.server import messages
from sam2adapt.shared import paths
from sam2adapt.shared.safety import private
from sam2adapt.training import clock, record


@dataclass(frozen=True)
class Defect:
    """What is wrong, the kind of try that must find it, and what it comes to.

    :param patches: what is replaced: a module or class, the name in it, and what it becomes.
    """

    kind: str
    outcome: str
    patches: tuple[tuple[Any, str, Any], ...]

    @contextlib.contextmanager
    def planted(self) -> Iterator[None]:
        """Put the defect into this process and its children while the block runs."""
        with contextlib.ExitStack() as stack:
            for place, name, value in self.patches:
                stack.enter_context(mock.patch.object(place, name, value))
            yield


@contextlib.contextmanager
def _write_in_place(path: Path, mode: int = 0o666, replace: bool = True):
    with io.BytesIO() as whole:
        yield whole
        data = whole.getvalue()
    with open(path, "wb", buffering=0) as file:
        file.write(data[: len(data) // 2])
        time.sleep(1)  # so that a kill most often comes between
        file.write(data[len(data) // 2 :])


@contextlib.contextmanager
def _nobody_waits(folder: Path):
    yield


def _write_new_over_all(folder: Path, content: dict, data: bytes) -> Path:
    time.sleep(2)  # so that both have seen that there is none yet
    target = folder / f"any-{os.getpid()}.safetensors"
    target.write_bytes(data)
    return target


def _stat_only(path, error=None):
    return os.stat(path)


def _open_anything(path) -> os.stat_result:
    open(path, "rb").close()
    return os.stat(path)


def _as_it_is(path, error=None) -> str:
    return os.fspath(path)


@contextlib.contextmanager
def _mapped(path: Path):
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
        time.sleep(2)  # so that the file is shorter by then
        mapped.find(b"no such bytes")
        yield path


class _Careless:
    loads = staticmethod(json.loads)


def _unflipped(direction: np.ndarray, orientation: str = "LPS", real: Callable = slices.orientation_axes):
    axes, _ = real(direction, orientation)
    return axes, [False] * 3


def _wall_clock() -> float:
    return clock.time.time()  # at each call: the try replaces it


class _NoLock(private.Lock):
    def _take(self) -> bool:
        return True

    def release(self, delete: bool = False) -> None:
        time.sleep(3)  # so that the other is at work, too
        super().release(delete)


DEFECTS: dict[str, Defect] = {
    "cards are not checked": Defect("model files", TRACEBACK, ((card, "_problem", lambda _: None),)),
    "tensors as large as a card says": Defect("model files", MEMORY, ((model, "_check_size", lambda _: None),)),
    "axes are not flipped": Defect("stored in other ways", LOST, ((slices, "orientation_axes", _unflipped),)),
    "files are mapped": Defect("shrinking images", DIED, ((tiff, "unmapped", _mapped),)),
    "pipes are opened": Defect("image headers", HUNG, ((paths, "check_file", _open_anything),)),
    "text is printed as it is": Defect("printing", TRACEBACK, ((app, "_escape_what_cannot_be_printed", lambda: None),)),
    "training trusts the clock": Defect(
        "jumping clock", LOST, ((clock.time, "perf_counter", _wall_clock), (clock_tries, "_library", lambda: ""))
    ),
    "names reach C++ as they are": Defect("printing", DIED, ((paths, "utf8_name", _as_it_is),)),
    "messages are parsed without care": Defect("server", LOST, ((messages, "strict_json", _Careless),)),
    "files are written in place": Defect("killed training", LOST, ((record, "atomic_write", _write_in_place),)),
    "what is half written stays": Defect("no room", LOST, ((catalog.files, "atomic_write", _write_in_place),)),
    "a closed folder is not expected": Defect("no rights", TRACEBACK, ((paths, "status", _stat_only),)),
    "nobody waits for the other": Defect(
        "two at once", LOST, ((catalog, "_one_at_a_time", _nobody_waits), (catalog, "_write_new", _write_new_over_all))
    ),
    "installations leave no note": Defect("killed installation", LOST, ((Unfinished, "begin", lambda *_: None),)),
    "two trainings share a folder": Defect("two at once", LOST, ((record, "Lock", _NoLock),)),
}
