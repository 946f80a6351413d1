"""Images from files: NIfTI, Analyze, FreeSurfer, NRRD, MetaImage, DICOM and pictures."""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ...shared import paths
from ...shared.errors import SeriesError, VolumeError
from ..dicom import SeriesInfo, SeriesVoxels, is_dicom, read_file, read_series
from ..image_files import PICTURES, read_image, read_picture, stem_of, suffix_of
from ..stored.stored_image import StoredImage
from .checks import check_input
from .volume import Volume

_MODALITIES = {"CT": "CT", "MR": "MR"}


def read_volume(path: str | os.PathLike, series: str | None = None) -> Volume:
    """Read NIfTI, Analyze, FreeSurfer, NRRD, MetaImage, a DICOM folder or file, or a PNG, TIFF, JPEG or BMP picture.

    Voxels keep their type (int16, uint8, uint16, float32 …), except that float64 becomes float32.

    :param path: a file, or a folder with DICOM files.
    :param series: SeriesInstanceUID or description, needed where a folder holds several series.
    :raises InputFileError: missing, unreadable, truncated or damaged.
    :raises SeriesError: no series in the folder, several and none chosen, or slices missing.
    :raises VolumeError: 4-D, sheared, or more values a voxel than an image has.
    """
    path = check_input(path)
    if paths.is_dir(path):
        return _from_dicom(*read_series(path, series))
    if series is not None:
        raise SeriesError(
            f"{path} is a file, there is no series '{series}' to choose in it.",
            "Give the folder of the series, or choose no series.",
            setting="series",
        )
    if is_dicom(path):
        return _from_dicom(*read_file(path))
    is_picture = suffix_of(path) in PICTURES
    return _from_stored(read_picture(path) if is_picture else read_image(path), path, physical=not is_picture)


def read_series_files(files: Sequence[str]) -> Volume:
    """Read one DICOM series from its files alone, wherever they lie and whatever lies beside them.

    :raises InputFileError, SeriesError, VolumeError: as :func:`read_volume`.
    """
    return _from_dicom(*read_series(files))


def _from_dicom(voxels: SeriesVoxels, info: SeriesInfo) -> Volume:
    name = info.description or Path(info.files[0]).parent.name
    modality = "RGB" if len(voxels.array) == 3 else _MODALITIES.get(info.modality, "")
    return Volume(voxels.array, voxels.origin, voxels.spacing, voxels.direction, name, modality, voxels.physical,
                  info, voxels.unit, voxels.notes, source=info.source)  # fmt: skip


def _from_stored(stored: StoredImage, path: Path, physical: bool) -> Volume:
    array = stored.array
    components = array.shape[3] if array.ndim == 4 else 1
    if np.iscomplexobj(array) or components > 4 or (components > 1 and array.dtype not in (np.uint8, np.uint16)):
        kind = "complex voxels" if np.iscomplexobj(array) else f"{components} values a voxel"
        raise VolumeError(f"{path} has {kind}: it is no grey or colour image.", "Choose a scalar or RGB volume.")
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    modality = ""
    if components == 1:
        array = array.reshape(1, *array.shape[:3])
    else:  # an even number of components ends with alpha
        array = np.ascontiguousarray(np.moveaxis(array[..., : components - 1 + components % 2], -1, 0))
        modality = "RGB" if len(array) == 3 else modality
    if not physical:
        return Volume(array, np.zeros(3), np.ones(3), np.eye(3), stem_of(path), modality, False, source=str(path))
    place = stored.origin, stored.spacing, stored.direction
    return Volume(array, *place, stem_of(path), modality, notes=stored.notes, forms=stored.forms, source=str(path))
