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
from ..shared.errors import GeometryError, InputFileError, OutputError, SeriesError, VolumeError
from ..shared.label_runs import count_labels
from ..shared.labels.overlaps import LAST
from ..shared.tolerance import VOXEL_SHARE, displacement
from .dicom import (
    Grid,
    SeriesInfo,
    SeriesVoxels,
    is_dicom,
    list_series,
    read_file,
    read_series,
    scan,
    series_grid,
)
from .image_files import PICTURES, read_image, read_picture, stem_of, suffix_of, write_image
from .segmentation_file import add_segment_fields, is_segmentation, layers_of, merge_layers, split_layers
from .stored.stored_image import StoredImage, affine_of
from .terminology import Structure

__all__ = [
    "DicomOutput",
    "SeriesInfo",
    "Volume",
    "check_input",
    "check_voxels",
    "dicom_reference",
    "geometry_difference",
    "list_series",
    "read_labels",
    "read_segments",
    "read_series_files",
    "read_structures",
    "read_volume",
    "same_geometry",
    "write_labels",
    "write_segments",
    "write_volume",
]

_MODALITIES = {"CT": "CT", "MR": "MR"}
_ROUNDED = 0.01  # by which labels may miss whole numbers: nibabel stores 1 as 65535 steps of 1.5e-5, for instance
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
    :ivar unit: of the values as DICOM names it ("HU"), "" where nothing says it.
    :ivar files: of the DICOM series that it was read from, to which a DICOM segmentation refers; else none.
    :ivar notes: sentences about what had to be decided on reading; whoever reads the file for a user says them.
    :ivar forms: what the header of a NIfTI file says about its place; results are written with the same words.
    """

    array: np.ndarray
    origin: np.ndarray
    spacing: np.ndarray
    direction: np.ndarray
    name: str = ""
    modality: str = ""
    physical: bool = True
    files: tuple[str, ...] = ()
    unit: str = ""
    notes: tuple[str, ...] = ()
    forms: dict | None = None

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
    def voxel_ml(self) -> float:
        """Volume of a voxel in mL."""
        return float(np.prod(self.spacing)) / 1000

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) voxel index (i, j, k, 1) to LPS mm."""
        return affine_of(self.origin, self.spacing, self.direction)

    def with_array(self, array: np.ndarray) -> "Volume":
        """The same place with other voxels, (K, J, I) or (C, K, J, I).

        :raises ValueError: the array is not on this grid.
        """
        array = array[np.newaxis] if array.ndim == 3 else array
        if array.shape[1:] != self.array.shape[1:]:
            raise ValueError(f"An array {array.shape} is not on the grid of a volume {self.array.shape}.")
        return replace(self, array=array, modality=self.modality if len(array) == self.channels else "")


@dataclass(frozen=True)
class DicomOutput:
    """What a DICOM segmentation says beside its voxels.

    :ivar reference: folder of the series that it refers to; None for the series that the image was read from.
    :ivar kind: "BINARY", which every viewer reads, or "LABELMAP", smaller and of the standard of 2024.
    :ivar algorithm: name and version of the model.
    """

    reference: Path | None = None
    kind: str = "BINARY"
    algorithm: tuple[str, str] = ("SAM2Adapt", "1")


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
    if suffix_of(path) in PICTURES:
        return _from_stored(read_picture(path), stem_of(path), physical=False)
    return _from_stored(read_image(path), stem_of(path), path=path)


def read_series_files(files: Sequence[str]) -> Volume:
    """Read one DICOM series from its files alone, wherever they lie and whatever lies beside them.

    :raises InputFileError, SeriesError, VolumeError: as :func:`read_volume`.
    """
    return _from_dicom(*read_series(files))


def read_labels(
    path: str | os.PathLike, image: Volume | str | os.PathLike | None = None, classes: Sequence[Structure] = (),
    overlap: str = LAST,
) -> Volume:  # fmt: skip
    """Read a label image: one whole number a voxel, from any format of :func:`read_volume` but JPEG.

    The segments of a .seg.nrrd keep their label values, see ``segmentation_file.merge_layers`` for overlapping ones;
    an indexed PNG gives its colour numbers; DICOM segmentations and RT structure sets: ``dicom_labels``.

    :param image: the image that the labels belong to, or its file or folder. Only DICOM labels need it, and only
        where their series does not lie beside them; they are put on its grid.
    :param classes: of DICOM labels, take these only, by name, and give them their label values.
    :param overlap: which of two segments a voxel of both gets, "first" or "last"; "refuse" raises ``ClassesError``.
    :return: array (1, K, J, I) of the smallest unsigned integer type that holds the values.
    :raises InputFileError: missing, unreadable, or values that are no labels (fractions, negative, colours).
    :raises GeometryError: DICOM labels that do not lie on the image.
    :raises ClassesError: DICOM labels that hold none of the classes.
    """
    path = check_input(path)
    return _dicom_labels(path, image, classes) if _is_dicom_input(path) else _labels(path, overlap)[0]


def read_structures(path: str | os.PathLike) -> list[Structure]:
    """The segments of a .seg.nrrd or of DICOM labels with the label values that :func:`read_labels` gives.

    :return: none for other formats, which do not say what their values mean.
    """
    path = check_input(path)
    if not _is_dicom_input(path):
        return _labels(path)[1]
    from .dicom_labels import read_dicom_structures

    return read_dicom_structures(_dicom_label_file(path))


def read_segments(path: str | os.PathLike) -> list[tuple[Structure, np.ndarray]]:
    """The segments of a .seg.nrrd with a mask (K, J, I) each, so that those that overlap stay whole.

    :raises InputFileError: missing, unreadable, or no segmentation.
    """
    path = check_input(path)
    stored = read_image(path)
    if not is_segmentation(stored.keys):
        raise InputFileError(f"{path} holds no segments.", "Save the segmentation from Slicer as .seg.nrrd.")
    return split_layers(_whole(_layers(stored.array), path), stored.keys, str(path))


def same_geometry(a: Volume, b: Volume, tolerance: float = VOXEL_SHARE) -> bool:
    """True if both lie on one voxel grid.

    :param tolerance: by how many voxels the corners may lie apart. Where one of them is a picture, only the sizes are
        compared.
    """
    return geometry_difference(a, b, tolerance) == ""


def geometry_difference(a: Volume, b: Volume, tolerance: float = VOXEL_SHARE) -> str:
    """What tells the grids of two volumes apart, with the values of both: "spacing 1 x 1 x 3 against …"; "" if nothing.

    :param tolerance: as for :func:`same_geometry`.
    """
    if a.size != b.size:
        return f"{' x '.join(map(str, a.size))} against {' x '.join(map(str, b.size))} voxels"
    if not (a.physical and b.physical):
        return ""
    off = displacement(a.affine, b.affine, a.size)
    if off <= tolerance:
        return ""
    parts = {}
    for name in ("origin", "spacing", "direction"):
        # What remains of the difference if the two agreed in all but this.
        mixed = replace(a, **{name: getattr(b, name)})
        parts[name] = displacement(a.affine, mixed.affine, a.size)
    said = []
    for name in sorted(parts, key=lambda name: -parts[name]):
        if parts[name] > tolerance or not said:
            values = [" ".join(f"{n:.6g}" for n in getattr(volume, name).ravel()) for volume in (a, b)]
            said.append(f"{name} ({values[0]}) against ({values[1]})")
    return f"{' and '.join(said)}, up to {off:.2g} voxels apart"


def check_voxels(volume: Volume, path: str | os.PathLike = "") -> None:
    """Refuse what cannot be segmented.

    :param path: that was read, for messages; without it they name the DICOM file or folder, or else the volume.
    :raises VolumeError: an axis of size zero, only one voxel in plane, NaN or infinite voxels, or constant voxels.
    """
    source = os.path.commonpath(volume.files) if volume.files else ""
    name, array = path or source or volume.name or "The volume", volume.array
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


def write_labels(path: str | os.PathLike, labels: Volume, structures: Sequence[Structure],
                 reference: Volume | None = None, dicom: DicomOutput | None = None) -> None:  # fmt: skip
    """Write a label image, as a Slicer segmentation if the name ends in .seg.nrrd, as a DICOM SEG if in .dcm.

    :param path: .seg.nrrd, .nii.gz, .nii, .nrrd, .mha, .png (one slice) or .dcm; appears by atomic rename.
    :param labels: array (1, K, J, I) uint8.
    :param structures: what the label values mean; a structure without voxels becomes an empty segment.
    :param reference: the image that was segmented; its geometry is written.
    :param dicom: for .dcm only, and needed only where the image was not read from a DICOM series.
    :raises OutputError: unknown suffix, folder missing or not writable, disk full, several slices into a PNG, a .dcm
        without a DICOM series.
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
            raise GeometryError(
                f"The labels are not on the voxel grid of {reference.name or 'the image'}.",
                "Use the labels made for this image.",
            )
        labels = reference.with_array(labels.array)
    if suffix_of(path) == ".dcm":
        _write_dicom(path, labels, structures, dicom or DicomOutput())
        return
    image = _to_image(labels)
    if suffix_of(path) == ".seg.nrrd":
        add_segment_fields(image, structures)
    write_image(path, image, labels.forms)


def write_segments(
    path: str | os.PathLike, masks: np.ndarray, structures: Sequence[Structure], reference: Volume
) -> None:
    """Write masks that may overlap as a .seg.nrrd with as many layers as it takes.

    :param masks: (S, K, J, I) bool, of the structures.
    :param reference: the image that was segmented; its geometry is written.
    :raises OutputError: as :func:`write_labels`.
    """
    layers, places = layers_of(masks, structures)
    image = _to_image(reference.with_array(layers))
    add_segment_fields(image, structures, places)
    write_image(path, image)


def dicom_reference(path: str | os.PathLike, volume: Volume, dicom: DicomOutput) -> Path | tuple[str, ...]:
    """The series to which a DICOM segmentation of a volume refers.

    :raises OutputError: neither was the volume read from one, nor is one given.
    """
    series = dicom.reference or volume.files
    if not series:
        raise OutputError(f"{path} must refer to the DICOM series of the image, and the image is no DICOM.",
                          "Give the folder of its DICOM series as the reference, or write .seg.nrrd.",
                          setting="reference")  # fmt: skip
    return series


def _write_dicom(path: str | os.PathLike, labels: Volume, structures: Sequence[Structure], dicom: DicomOutput) -> None:
    from .dicom_seg_writer import write_dicom_seg

    series = dicom_reference(path, labels, dicom)
    grid = Grid(labels.size, labels.origin, labels.spacing, labels.direction)
    write_dicom_seg(path, labels.array[0], grid, structures, series, dicom.kind, dicom.algorithm)


def write_volume(path: str | os.PathLike, volume: Volume) -> None:
    """Write a volume (an uncertainty map, a preprocessed image) by atomic rename.

    :param path: .nii.gz, .nii, .nrrd, .mha, or .png for one slice of uint8 or uint16.
    :raises OutputError: see :func:`write_labels`.
    """
    write_image(path, _to_image(volume), volume.forms)


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
    return Volume(voxels.array, voxels.origin, voxels.spacing, voxels.direction, name, modality, voxels.physical,
                  info.files, voxels.unit, voxels.notes)  # fmt: skip


def _from_image(image: sitk.Image, name: str, modality: str = "", physical: bool = True) -> Volume:
    direction = np.reshape(image.GetDirection(), (3, 3))
    stored = StoredImage(sitk.GetArrayFromImage(image), image.GetOrigin(), image.GetSpacing(), direction)
    return _from_stored(stored, name, modality, physical)


def _from_stored(
    stored: StoredImage, name: str, modality: str = "", physical: bool = True, path: Path | None = None
) -> Volume:
    array = stored.array
    components = array.shape[3] if array.ndim == 4 else 1
    if np.iscomplexobj(array) or components > 4 or (components > 1 and array.dtype not in (np.uint8, np.uint16)):
        kind = "complex voxels" if np.iscomplexobj(array) else f"{components} values a voxel"
        raise VolumeError(
            f"{path or name} has {kind}: it is no grey or colour image.", "Choose a scalar or RGB volume."
        )
    if array.dtype == np.float64:
        array = array.astype(np.float32)
    if components == 1:
        array = array.reshape(1, *array.shape[:3])
    else:  # an even number of components ends with alpha
        array = np.ascontiguousarray(np.moveaxis(array[..., : components - 1 + components % 2], -1, 0))
        modality = "RGB" if len(array) == 3 else modality
    if not physical:
        return Volume(array, np.zeros(3), np.ones(3), np.eye(3), name, modality, False)
    place = stored.origin, stored.spacing, stored.direction
    return Volume(array, *place, name, modality, notes=stored.notes, forms=stored.forms)


def _to_image(volume: Volume) -> sitk.Image:
    if volume.channels == 1:
        image = sitk.GetImageFromArray(volume.array[0])
    else:
        image = sitk.GetImageFromArray(np.moveaxis(volume.array, 0, -1), isVector=True)
    image.SetOrigin(volume.origin.tolist())
    image.SetSpacing(volume.spacing.tolist())
    image.SetDirection(volume.direction.ravel().tolist())
    return image


def _labels(path: Path, overlap: str = LAST) -> tuple[Volume, list[Structure]]:
    physical = suffix_of(path) not in PICTURES
    stored = read_image(path) if physical else read_picture(path, indices=True)
    array, notes = stored.array, stored.notes
    layers = _layers(array)
    structures: list[Structure] = []
    if is_segmentation(stored.keys):
        layers = _whole(layers, path)
        labels, structures, overlaps = merge_layers(layers, stored.keys, str(path), overlap)
        notes = (*notes, *overlaps)
    else:
        if len(layers) > 1 and any(not np.array_equal(layer, layers[0]) for layer in layers[1:3]):
            what = (
                "is in colour, not a label image"
                if len(layers) in (3, 4) and array.dtype == np.uint8
                else (f"holds {len(layers)} values a voxel, as of one channel for each structure, and labels are one")
            )
            raise InputFileError(f"{path} {what}.", _INDEXED_REMEDY)
        labels = _whole(layers[0], path)
    place = (stored.origin, stored.spacing, stored.direction) if physical else (np.zeros(3), np.ones(3), np.eye(3))
    name = stem_of(path)
    return Volume(labels[np.newaxis], *place, name, physical=physical, notes=notes, forms=stored.forms), structures


def _layers(array: np.ndarray) -> np.ndarray:
    """(layers, K, J, I) of the voxels of a file."""
    return array[np.newaxis] if array.ndim == 3 else np.moveaxis(array, -1, 0)


def _is_dicom_input(path: Path) -> bool:
    return paths.is_dir(path) or is_dicom(path)


def _dicom_label_file(path: Path) -> Path:
    """The file itself, or the only one with labels in a folder."""
    from .dicom_labels import label_files

    if not paths.is_dir(path):
        return path
    found = [file for file, _ in label_files(path)]
    if len(found) != 1:
        raise InputFileError(
            f"The folder {path} holds {len(found)} DICOM segmentations and structure sets.",
            "Choose one file of labels.",
        )
    return Path(found[0])


def _dicom_labels(path: Path, image: Volume | str | os.PathLike | None, classes: Sequence[Structure]) -> Volume:
    from .dicom_labels import read_dicom_labels, referenced_series

    path = _dicom_label_file(path)
    if isinstance(image, str | os.PathLike):
        image = check_input(image)
        if not paths.is_dir(image):
            image = read_volume(image)
    if isinstance(image, Volume):
        grid = Grid(image.size, image.origin, image.spacing, image.direction)
    else:
        grid = None if image is None else series_grid(scan(image), referenced_series(path))
    labels, grid, _ = read_dicom_labels(path, grid, classes)
    return Volume(labels[np.newaxis], grid.origin, grid.spacing, grid.direction, path.stem)


def _whole(array: np.ndarray, path: Path) -> np.ndarray:
    """The array as the smallest unsigned integer type that holds it; what scaling left of fractions is rounded."""
    low, high = array.min(), array.max()
    if array.dtype.kind == "f":
        finite = bool(np.isfinite(low) and np.isfinite(high))
        rounded = np.rint(array) if finite else array
        if not finite or np.abs(array - rounded).max() > _ROUNDED:
            raise InputFileError(
                f"{path} has values that are not whole numbers: it is an image, not labels.",
                "Choose the label file that belongs to the image.",
            )
        array, low, high = rounded, rounded.min(), rounded.max()
    if low < 0 or high > np.iinfo(np.int32).max or array.dtype.kind not in "fiu":
        raise InputFileError(
            f"{path} has the value {low if low < 0 else high}, which is no label.",
            "Use label values from 0 (background) to 255.",
        )
    return array.astype(np.min_scalar_type(int(high)), copy=False)
