"""Volumes: voxels with their place in the patient, read from and written to the usual files.

Geometry is ITK's: LPS millimetres, axes in the order I, J, K, while arrays are indexed (C, K, J, I).
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..shared import paths
from ..shared.errors import GeometryError, InputFileError, SeriesError, VolumeError
from ..shared.label_runs import count_labels
from .dicom import SeriesInfo, SeriesVoxels, is_dicom, list_series, read_file, read_series
from .image_files import PICTURES, read_image, read_picture, stem_of, suffix_of, write_image
from .segmentation_file import describe_segments, is_segmentation, merge_layers, metadata, split_layers
from .terminology import Structure

__all__ = ["SeriesInfo", "Volume", "check_input", "check_voxels", "list_series", "read_labels", "read_segments",
           "read_series_files", "read_structures", "read_volume", "same_geometry", "write_labels", "write_volume"]

_MODALITIES = {"CT": "CT", "MR": "MR"}
_INDEXED_REMEDY = "Save it as one channel whose values are the class numbers 0, 1, 2 …"


@dataclass(eq=False)
class Volume:
    """Voxels and geometry.

    :ivar array: (C, K, J, I); C = 1 for CT, MR and labels, 3 for colour.
    :ivar origin: (3,) centre of the first voxel, LPS mm.
    :ivar spacing: (3,) mm along I, J, K; 1 where the file has none.
    :ivar direction: (3, 3) unit vectors of I, J, K as columns, LPS.
    :ivar name: the file's name without suffix, or the series description.
    :ivar modality: "CT", "MR" (from DICOM), "RGB" (three channels) or "" (unknown).
    :ivar physical: False for pictures (PNG, JPEG, TIFF), whose spacing means nothing.
    """

    array: np.ndarray
    origin: np.ndarray
    spacing: np.ndarray
    direction: np.ndarray
    name: str = ""
    modality: str = ""
    physical: bool = True

    def __post_init__(self):
        if self.array.ndim != 4:
            raise ValueError(f"A volume's array is (C, K, J, I), not {self.array.shape}.")
        self.origin = np.asarray(self.origin, np.float64).reshape(3)
        self.spacing = np.asarray(self.spacing, np.float64).reshape(3)
        self.direction = np.asarray(self.direction, np.float64).reshape(3, 3)

    @property
    def size(self) -> tuple[int, int, int]:
        """Voxels along I, J, K."""
        channels_last = self.array.shape[:0:-1]
        return channels_last[0], channels_last[1], channels_last[2]

    @property
    def channels(self) -> int:
        return self.array.shape[0]

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) voxel index (i, j, k, 1) to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3] = self.direction * self.spacing
        matrix[:3, 3] = self.origin
        return matrix

    def with_array(self, array: np.ndarray) -> "Volume":
        """The same place with other voxels, (K, J, I) or (C, K, J, I).

        :raises ValueError: the array is not on this grid.
        """
        array = array[np.newaxis] if array.ndim == 3 else array
        if array.shape[1:] != self.array.shape[1:]:
            raise ValueError(f"An array {array.shape} is not on the grid of a volume {self.array.shape}.")
        return replace(self, array=array, modality=self.modality if len(array) == self.channels else "")


def read_volume(path: str | os.PathLike, series: str | None = None) -> Volume:
    """Read NIfTI, NRRD, MetaImage, a DICOM folder or file, or a PNG, TIFF, JPEG or BMP picture.

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
        raise SeriesError(f"{path} is a file, there is no series '{series}' to choose in it.",
                          "Give the folder of the series, or choose no series.", setting="series")
    if is_dicom(path):
        return _from_dicom(*read_file(path))
    if suffix_of(path) in PICTURES:
        return _from_image(read_picture(path), stem_of(path), physical=False)
    return _from_image(read_image(path), stem_of(path))


def read_series_files(files: Sequence[str]) -> Volume:
    """Read one DICOM series from its files alone, wherever they lie and whatever lies beside them.

    :raises InputFileError, SeriesError, VolumeError: as :func:`read_volume`.
    """
    return _from_dicom(*read_series(files))


def read_labels(path: str | os.PathLike) -> Volume:
    """Read a label image: one whole number a voxel, from any format of :func:`read_volume` but DICOM.

    The segments of a .seg.nrrd keep their label values, see ``segmentation_file.merge_layers`` for overlapping ones;
    an indexed PNG gives its colour numbers.

    :return: array (1, K, J, I) of the smallest unsigned integer type that holds the values.
    :raises InputFileError: missing, unreadable, or values that are no labels (fractions, negative, colours).
    """
    return _labels(path)[0]


def read_structures(path: str | os.PathLike) -> list[Structure]:
    """The segments of a .seg.nrrd with the label values that :func:`read_labels` gives; none for other formats."""
    return _labels(path)[1]


def read_segments(path: str | os.PathLike) -> list[tuple[Structure, np.ndarray]]:
    """The segments of a .seg.nrrd with a mask (K, J, I) each, so that those that overlap stay whole.

    :raises InputFileError: missing, unreadable, or no segmentation.
    """
    path = check_input(path)
    image = read_image(path)
    keys = metadata(image)
    if not is_segmentation(keys):
        raise InputFileError(f"{path} holds no segments.", "Save the segmentation from Slicer as .seg.nrrd.")
    array = sitk.GetArrayFromImage(image)
    layers = array[np.newaxis] if image.GetNumberOfComponentsPerPixel() == 1 else np.moveaxis(array, -1, 0)
    return split_layers(layers, keys, str(path))


def same_geometry(a: Volume, b: Volume, tolerance: float = 1e-3) -> bool:
    """True if both lie on one voxel grid.

    :param tolerance: for the origin and the spacing in mm and for each direction cosine. Where one of them is a
        picture, only the sizes are compared.
    """
    if a.size != b.size:
        return False
    if not (a.physical and b.physical):
        return True
    return all(np.allclose(x, y, rtol=0, atol=tolerance) for x, y in (
        (a.origin, b.origin), (a.spacing, b.spacing), (a.direction, b.direction)))


def check_voxels(volume: Volume) -> None:
    """Refuse what cannot be segmented.

    :raises VolumeError: an axis of size zero, only one voxel in plane, NaN or infinite voxels, or constant voxels.
    """
    name, array = volume.name or "The volume", volume.array
    shape = " x ".join(map(str, volume.size))
    if array.size == 0:
        raise VolumeError(f"{name} has an axis of size zero: {shape} voxels.", "Choose a volume that holds an image.")
    if sorted(volume.size)[1] < 2:
        raise VolumeError(f"{name} is a single line of voxels ({shape}): its slices are 1 x 1.",
                          "Choose a volume with at least 2 x 2 voxels a slice.")
    low, high = array.min(), array.max()
    if not (np.isfinite(low) and np.isfinite(high)):
        nan, infinite = int(np.isnan(array).sum()), int(np.isinf(array).sum())
        raise VolumeError(f"{name} has {nan} NaN and {infinite} infinite voxels of {array.size}.",
                          "Replace them first, by the value of the background for instance.")
    if low == high:
        raise VolumeError(f"{name} is constant: all its voxels are {low:g}.", "Choose a volume that holds an image.")


def write_labels(path: str | os.PathLike, labels: Volume, structures: Sequence[Structure],
                 reference: Volume | None = None) -> None:
    """Write a label image, as a Slicer segmentation if the name ends in .seg.nrrd.

    :param path: .seg.nrrd, .nii.gz, .nii, .nrrd, .mha or .png (one slice); appears by atomic rename.
    :param labels: array (1, K, J, I) uint8.
    :param structures: what the label values mean; a structure without voxels becomes an empty segment.
    :param reference: the image that was segmented; its geometry is written.
    :raises OutputError: unknown suffix, folder missing or not writable, disk full, several slices into a PNG.
    :raises GeometryError: the labels are not on the reference's grid.
    """
    if labels.channels != 1 or labels.array.dtype != np.uint8:
        raise ValueError(f"Labels are one channel of uint8, not {labels.channels} of {labels.array.dtype}.")
    found = set(np.flatnonzero(count_labels(labels.array[0])).tolist())
    unknown = found - {0} - {structure.id for structure in structures}
    if unknown:
        raise ValueError(f"The label values {sorted(unknown)} have no structure.")
    if reference is not None:
        if not same_geometry(labels, reference):
            raise GeometryError(f"The labels are not on the voxel grid of {reference.name or 'the image'}.",
                                "Use the labels made for this image.")
        labels = reference.with_array(labels.array)
    image = _to_image(labels)
    if suffix_of(path) == ".seg.nrrd":
        describe_segments(image, structures)
    write_image(path, image)


def write_volume(path: str | os.PathLike, volume: Volume) -> None:
    """Write a volume (an uncertainty map, a preprocessed image) by atomic rename.

    :param path: .nii.gz, .nii, .nrrd, .mha, or .png for one slice of uint8 or uint16.
    :raises OutputError: see :func:`write_labels`.
    """
    write_image(path, _to_image(volume))


def check_input(path: str | os.PathLike) -> Path:
    """Refuse what cannot be read for reasons that its name, kind and rights tell; nothing is decoded.

    :raises InputFileError: missing, empty, no right to read it, no regular file or folder, or a name that is not UTF-8.
    """
    path = Path(path)
    paths.utf8_name(path)  # one rule for all formats, also for those that ITK does not read
    if not paths.is_dir(path):
        with paths.open_file(path) as file:
            if not file.read(1):
                raise InputFileError(f"'{path}' is empty.", "Copy or download the file again.")
    return path


def _from_dicom(voxels: SeriesVoxels, info: SeriesInfo) -> Volume:
    name = info.description or Path(info.files[0]).parent.name
    modality = "RGB" if len(voxels.array) == 3 else _MODALITIES.get(info.modality, "")
    return Volume(voxels.array, voxels.origin, voxels.spacing, voxels.direction, name, modality, voxels.physical)


def _from_image(image: sitk.Image, name: str, modality: str = "", physical: bool = True) -> Volume:
    array = sitk.GetArrayFromImage(image)
    components = image.GetNumberOfComponentsPerPixel()
    if np.iscomplexobj(array) or components > 4 or (components > 1 and array.dtype not in (np.uint8, np.uint16)):
        kind = "complex voxels" if np.iscomplexobj(array) else f"{components} values a voxel"
        raise VolumeError(f"{name} has {kind}: it is no grey or colour image.", "Choose a scalar or RGB volume.")
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if components == 1:
        array = array[np.newaxis]
    else:  # an even number of components ends with alpha
        array = np.ascontiguousarray(np.moveaxis(array[..., : components - 1 + components % 2], -1, 0))
        modality = "RGB" if len(array) == 3 else modality
    if not physical:
        return Volume(array, np.zeros(3), np.ones(3), np.eye(3), name, modality, False)
    return Volume(array, image.GetOrigin(), image.GetSpacing(), image.GetDirection(), name, modality)


def _to_image(volume: Volume) -> sitk.Image:
    if volume.channels == 1:
        image = sitk.GetImageFromArray(volume.array[0])
    else:
        image = sitk.GetImageFromArray(np.moveaxis(volume.array, 0, -1), isVector=True)
    image.SetOrigin(volume.origin.tolist())
    image.SetSpacing(volume.spacing.tolist())
    image.SetDirection(volume.direction.ravel().tolist())
    return image


def _labels(path: str | os.PathLike) -> tuple[Volume, list[Structure]]:
    path = check_input(path)
    if paths.is_dir(path) or is_dicom(path):
        raise InputFileError(f"{path} is DICOM, which is not read as labels.",
                             "Import it in Slicer and save the segmentation as .seg.nrrd.")
    if suffix_of(path) in PICTURES:
        image, physical = read_picture(path, indices=True), False
    else:
        image, physical = read_image(path), True
    keys = metadata(image)
    array = sitk.GetArrayFromImage(image)
    layers = array[np.newaxis] if image.GetNumberOfComponentsPerPixel() == 1 else np.moveaxis(array, -1, 0)
    structures: list[Structure] = []
    if is_segmentation(keys):
        layers = _whole(layers, path)
        labels, structures = merge_layers(layers, keys, str(path))
    else:
        if len(layers) > 1 and any(not np.array_equal(layer, layers[0]) for layer in layers[1:3]):
            raise InputFileError(f"{path} is in colour, not a label image.", _INDEXED_REMEDY)
        labels = _whole(layers[0], path)
    if not physical:
        return Volume(labels[np.newaxis], np.zeros(3), np.ones(3), np.eye(3), stem_of(path), physical=False), structures
    return Volume(labels[np.newaxis], image.GetOrigin(), image.GetSpacing(), image.GetDirection(),
                  stem_of(path)), structures


def _whole(array: np.ndarray, path: Path) -> np.ndarray:
    """The array as the smallest unsigned integer type that holds it."""
    low, high = array.min(), array.max()
    finite = bool(np.isfinite(low) and np.isfinite(high))
    if array.dtype.kind == "f" and not (finite and np.array_equal(np.rint(array), array)):
        raise InputFileError(f"{path} has values that are not whole numbers: it is an image, not labels.",
                             "Choose the label file that belongs to the image.")
    if low < 0 or high > np.iinfo(np.int32).max or array.dtype.kind not in "fiu":
        raise InputFileError(f"{path} has the value {low if low < 0 else high}, which is no label.",
                             "Use label values from 0 (background) to 255.")
    return array.astype(np.min_scalar_type(int(high)), copy=False)
