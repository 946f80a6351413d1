"""Arrays that Slicer and the engine exchange as ``.npy`` files, with their geometry."""

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..imaging.volume import Volume
from ..shared import paths
from ..shared.errors import GeometryError, InputFileError, VolumeError
from ..shared.files import output_error
from ..shared.safety.private import open_private
from ..shared.safety.stored_array import read_array_header
from ..shared.tolerance import VOXEL_SHARE, right_angled, shear


def read_input(params: dict[str, Any]) -> Volume:
    """Read a volume from the ``input`` of a request.

    :param params: ``array``, a ``.npy`` file (K, J, I), or (K, J, I, 3) for colour; ``origin``, ``spacing`` and
        ``direction`` as in ITK; ``name``, ``modality``.
    :raises InputFileError: the file does not exist or is not an array.
    :raises VolumeError: not three-dimensional, or voxels that are not real numbers; ``GeometryError``: sheared axes.
    """
    name = params.get("name") or "The volume"
    axes = np.reshape(np.array(params["direction"], np.float64), (3, 3)) * params["spacing"]
    array = _channels_first(read_array(Path(params["array"])), name)
    try:
        off, (direction, spacing) = shear(axes, array.shape[:0:-1]), right_angled(axes)
    except ValueError as error:
        raise GeometryError(f"'{name}' has no valid geometry: {error}.", "Load it again.") from error
    if off >= VOXEL_SHARE:
        raise GeometryError(
            f"The voxel axes of '{name}' are not perpendicular: at the farthest corner, the voxels are {off:.2g} voxels"
            f" away from a right-angled grid (allowed: {VOXEL_SHARE}).",
            "Resample the volume onto a right-angled grid first.",
        )
    colour = len(array) == 3
    modality = "RGB" if colour else params.get("modality", "")
    return Volume(array, params["origin"], spacing, direction, name, modality)


def write_array(path: Path, array: np.ndarray) -> None:
    """Write a ``.npy`` file that only this user can read.

    :raises OutputError: the folder is missing or not writable, or the disk is full.
    """
    array = np.ascontiguousarray(array)
    try:
        with open_private(path) as file:
            # Not np.save, which hides that the disk is full, and not a memory map, which then kills the process.
            np.lib.format.write_array_header_1_0(file, np.lib.format.header_data_from_array_1_0(array))
            file.write(array.data)
    except OSError as error:
        raise output_error(path, error) from error


def read_array(path: Path) -> np.ndarray:
    """Read a ``.npy`` file.

    It is not memory-mapped: a file that its owner cuts short while it is mapped would kill the process.

    :raises InputFileError: the file does not exist or is not an array.
    """
    try:
        with paths.open_file(path) as file:
            shape, fortran, dtype = read_array_header(file)
            stored = os.fstat(file.fileno()).st_size - file.tell()
            if dtype.hasobject or min(shape, default=0) < 0 or math.prod(shape) * dtype.itemsize > stored:
                raise ValueError(f"{stored} bytes cannot hold {shape} values of {dtype}")
            array = np.fromfile(file, dtype, math.prod(shape))
        return array.reshape(shape, order="F" if fortran else "C")
    except OSError as error:
        raise InputFileError(f"'{path}' cannot be read: {error.strerror or error}.", "Start again.") from error
    except (ValueError, EOFError) as error:
        raise InputFileError(f"'{path}' is not a complete array file: {error}.", "Start again.") from error


def _channels_first(array: np.ndarray, name: str) -> np.ndarray:
    """The array as (C, K, J, I), of a number type that the network takes."""
    if array.dtype.kind not in "iuf":
        raise VolumeError(f"'{name}' has voxels of type {array.dtype}.", "Choose a volume of real numbers.")
    if array.dtype.itemsize > 4 and array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = array.astype(np.float32)
    if array.ndim == 4 and array.shape[3] == 3:
        return np.moveaxis(array, 3, 0)
    if array.ndim != 3:
        shape = " x ".join(map(str, array.shape))
        raise VolumeError(
            f"'{name}' has {array.ndim} dimensions ({shape}).", "Choose a single volume; of a sequence, one time point."
        )
    return array[np.newaxis]
