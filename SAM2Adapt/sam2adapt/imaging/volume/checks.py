"""What is refused before it is read, and voxels that cannot be segmented."""

import os
from pathlib import Path

import numpy as np

from ...shared import paths
from ...shared.errors import InputFileError, VolumeError
from .volume import Volume


def check_input(path: str | os.PathLike) -> Path:
    """Refuse what cannot be read for reasons that its name, kind and rights tell; nothing is decoded.

    :raises InputFileError: missing, empty, no right to read it, no regular file or folder, or a name that is not UTF-8.
    """
    path = Path(path)
    paths.utf8_name(path)  # one rule for all formats, also for those that ITK does not read
    if not paths.is_dir(path):
        with paths.open_file(path) as file:
            if not paths.check_file(path).st_size or not file.read(1):
                raise InputFileError(f"'{path}' is empty.", "Copy or download the file again.")
    return path


def check_voxels(volume: Volume) -> None:
    """Refuse what cannot be segmented.

    :raises VolumeError: an axis of size zero, only one voxel in plane, NaN or infinite voxels, or constant voxels.
    """
    name, array = volume.title, volume.array
    shape = " x ".join(map(str, volume.size))
    if array.size == 0:
        raise VolumeError(f"{name} has an axis of size zero: {shape} voxels.", "Choose a volume that holds an image.")
    if sorted(volume.size)[1] < 2:
        raise VolumeError(
            f"{name} is a single line of voxels ({shape}): its slices are 1 x 1.",
            "Choose a volume with at least 2 x 2 voxels a slice.",
        )
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
        raise VolumeError(
            f"{name} has {nan} NaN and {infinite} infinite voxels of {array.size}.",
            "Replace them first, by the value of the background for instance.",
        )
    if low == high:
        raise VolumeError(f"{name} is constant: all its voxels are {low:g}.", "Choose a volume that holds an image.")
