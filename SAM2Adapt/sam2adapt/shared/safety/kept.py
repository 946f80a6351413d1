"""What SAM2Adapt keeps of patients on this computer beyond a run, where it lies, and how it is deleted."""

import os
from dataclasses import dataclass
from pathlib import Path

from .. import files, paths
from ..errors import UserError

SLICES, NAMES, RUNS = "slices", "names", "runs"
KINDS = (SLICES, NAMES, RUNS)


@dataclass(frozen=True)
class Kept:
    """What there is of one kind; ``count`` of files, of runs the folders."""

    kind: str
    folder: Path
    count: int
    bytes: int


def folder_of(kind: str) -> Path:
    """Where a kind lies (may not exist).

    - ``slices``: a sample of the slices that each model was trained on, for models that continue it.
    - ``names``: what the cases of each model are called.
    - ``runs``: trainings of Slicer's panel, with images and labels until they end.
    """
    return {SLICES: files.replay_folder(), NAMES: files.home() / "cases", RUNS: files.home() / "runs"}[kind]


def kept() -> list[Kept]:
    """What there is of each kind.

    :raises UserError: a folder cannot be looked at.
    """
    found = []
    for kind in KINDS:
        folder = folder_of(kind)
        found.append(Kept(kind, folder, *measured(folder)))
    return found


def measured(folder: Path) -> tuple[int, int]:
    """How many files and folders there are in a folder, without hidden ones, and all their bytes.

    :raises UserError: it cannot be looked at.
    """
    if paths.status(folder) is None:
        return 0, 0
    count = sum(not path.name.startswith(".") for path in paths.listing(folder))
    return count, sum(_size(Path(root, name)) for root, _, names in paths.walk(folder) for name in names)


def delete_files(kind: str) -> int:
    """Delete all files of a kind (not ``runs``, which may be at work); as ``delete_inside``."""
    return delete_inside(folder_of(kind))


def delete_inside(folder: Path) -> int:
    """Delete the files in a folder, but for hidden ones; gives their number.

    :raises OutputError: one cannot be deleted; those before it are.
    """
    count = 0
    for path in paths.listing(folder):
        if path.name.startswith("."):
            continue
        try:
            os.unlink(path)
        except OSError as error:
            raise files.output_error(path, error) from error
        count += 1
    return count


def _size(path: Path) -> int:
    try:
        found = paths.status(path)
    except UserError:
        return 0
    return found.st_size if found else 0
