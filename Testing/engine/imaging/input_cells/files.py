"""Statements of files that are no DICOM about themselves, and what makes files that say them, for all formats."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from file_samples import AFFINE, ORIGIN, SIZE, SPACING, chest

FORMS = ("NIfTI-1", "NIfTI-2", "pair", "Analyze", "NRRD", "detached NRRD", "MetaImage", "picture")


PROPERTIES = ("place", "unit", "scale", "type", "length", "orientation", "time", "identity")


NO_PLACE = np.diag([*SPACING, 1.0])  # what is read where the format says nothing of the patient


@dataclass(frozen=True)
class Cell:
    """One statement of a form about a property.

    :ivar make: writes the file into a folder and gives its path; None: the format has no such statement.
    :ivar refused: what the sentence must say; "" if it is read. :ivar note: what must be said of one that is read.
    :ivar affine: to LPS mm, where it is not that of CTChest4. :ivar voxels: where they are others.
    """

    form: str
    property: str
    what: str
    make: Callable[[Path], Path] | None = None
    refused: str = ""
    note: str = ""
    affine: np.ndarray | None = None
    voxels: Callable[[], np.ndarray] = chest


def sheared(degrees: float, axis: int = 1) -> np.ndarray:
    """The affine of CTChest4 with a tilted gantry."""
    affine = AFFINE.copy()
    affine[axis, 2] = np.tan(np.radians(degrees)) * SPACING[2]
    return affine


def turned() -> np.ndarray:
    """An oblique place: 20 degrees about the axis from feet to head."""
    c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ AFFINE[:3, :3]
    affine[:3, 3] = ORIGIN
    return affine


@functools.cache
def as_text(count: int | None = None) -> bytes:
    """The voxels of CTChest4 as text, one value a line; ``count`` as in a slice."""
    return "\n".join(map(str, chest().ravel().tolist()[:count])).encode()


def scaled(factor: float) -> np.ndarray:
    return np.diag([factor, factor, factor, 1.0]) @ AFFINE


def reordered() -> tuple[np.ndarray, np.ndarray]:
    """The same patient with the axes in the order K, I, J, one of them reversed."""
    array = np.ascontiguousarray(np.transpose(chest(), (1, 2, 0))[:, :, ::-1])  # (J, I, -K): I, J, K of the file
    affine = np.eye(4)
    affine[:3, 0], affine[:3, 1], affine[:3, 2] = -AFFINE[:3, 2], AFFINE[:3, 0], AFFINE[:3, 1]
    affine[:3, 3] = (AFFINE @ (0, 0, SIZE[2] - 1, 1))[:3]
    return array, affine


def beside(make: Callable[[Path], Path], other: Callable[[Path], Path]) -> Callable[[Path], Path]:
    def both(folder: Path) -> Path:
        other(folder)
        return make(folder)

    return both


def cut_file(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def without(path: Path, name: str) -> Path:
    (path.parent / name).unlink()
    return path
