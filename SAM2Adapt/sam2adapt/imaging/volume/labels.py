"""Label maps and segments from files: one whole number a voxel, and what the numbers mean."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...shared import paths
from ...shared.errors import InputFileError
from ...shared.labels.image_names import SEGMENTATION
from ...shared.labels.overlaps import LAST
from ..dicom import Grid, is_dicom
from ..image_files import PICTURES, read_image, read_picture, stem_of, suffix_of
from ..segmentation_file import is_segmentation, merge_layers, segment_tags, split_layers
from ..terminology import Structure
from .checks import check_input
from .reading import read_volume
from .volume import Volume

_ROUNDED = 0.01  # by which labels may miss whole numbers: nibabel stores 1 as 65535 steps of 1.5e-5, for instance
_Image = Volume | str | os.PathLike | None
_INDEXED_REMEDY = "Save it as one channel whose values are the class numbers 0, 1, 2 …"


def read_labels(
    path: str | os.PathLike, image: _Image = None, classes: Sequence[Structure] = (), overlap: str = LAST
) -> Volume:
    """Read a label image: one whole number a voxel, from any format of :func:`read_volume` but JPEG.

    The segments of a .seg.nrrd keep their label values, see ``segmentation_file.merge_layers`` for overlapping ones;
    an indexed PNG gives its colour numbers; DICOM segmentations and RT structure sets: ``dicom.labels``.

    :param image: the image that the labels belong to, or its file or folder. Only DICOM labels need it, and only
        where their series does not lie beside them; they are put on its grid.
    :param classes: of DICOM labels, take these only, by name, and give them their label values.
    :param overlap: which of two segments a voxel of both gets, "first" or "last"; "refuse" raises ``ClassesError``.
    :return: array (1, K, J, I) of the smallest unsigned integer type that holds the values.
    :raises InputFileError: missing, unreadable, or values that are no labels (fractions, negative, colours).
    :raises GeometryError: DICOM labels that do not lie on the image, or belong to another frame of reference.
    :raises ClassesError: DICOM labels that hold none of the classes; or segments overlap, and are to be refused.
    """
    path = check_input(path)
    return _dicom_labels(path, image, classes, overlap) if _is_dicom_input(path) else _labels(path, overlap)[0]


def read_label_map(path: str | os.PathLike, overlap: str = LAST) -> tuple[Volume, list[Structure]]:
    """What :func:`read_labels` and :func:`read_structures` give, reading the file once; not for DICOM.

    :raises: as :func:`read_labels`.
    """
    return _labels(check_input(path), overlap)


def read_structures(path: str | os.PathLike) -> list[Structure]:
    """The segments of a .seg.nrrd or of DICOM labels with the label values that :func:`read_labels` gives.

    :return: none for other formats, which do not say what their values mean.
    """
    path = check_input(path)
    if not _is_dicom_input(path):
        return _labels(path)[1]
    from ..dicom.labels import read_dicom_structures

    return read_dicom_structures(_dicom_label_file(path))


def holds_segments(path: str | os.PathLike) -> bool:
    """Whether :func:`read_segments` reads a file: by its name, or because it is DICOM."""
    return suffix_of(path) == SEGMENTATION or _is_dicom_input(check_input(path))


@dataclass(eq=False)
class Segments:
    """Segments that may overlap.

    :ivar pairs: what each segment is, and its mask (K, J, I). :ivar grid: where the masks lie.
    :ivar notes: sentences about what was decided on reading.
    :ivar tags: what Slicer keeps with each segment, by its name.
    """

    pairs: list[tuple[Structure, np.ndarray]]
    grid: Grid
    notes: tuple[str, ...] = ()
    tags: dict[str, dict[str, str]] = field(default_factory=dict)

    def __iter__(self) -> Iterator[tuple[Structure, np.ndarray]]:
        return iter(self.pairs)


def read_segments(path: str | os.PathLike, image: Volume | None = None) -> Segments:
    """The segments of a .seg.nrrd, a DICOM segmentation or an RT structure set one by one: those that overlap stay
    whole.

    :param image: on whose grid DICOM labels are put; those of a .seg.nrrd lie on the grid of their file.
    :raises: as :func:`read_labels`; InputFileError: no segmentation.
    """
    path = check_input(path)
    if _is_dicom_input(path):
        from ..dicom.labels import read_dicom_segments

        return Segments(*read_dicom_segments(_dicom_label_file(path), image.grid))
    stored = read_image(path)
    if not is_segmentation(stored.keys):
        raise InputFileError(f"{path} holds no segments.", "Save the segmentation from Slicer as .seg.nrrd.")
    pairs = split_layers(_whole(_layers(stored.array), path), stored.keys, str(path))
    grid = Grid(stored.array.shape[2::-1], stored.origin, stored.spacing, stored.direction, str(path))
    return Segments(pairs, grid, stored.notes, segment_tags(stored.keys))


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
        colour = len(layers) in (3, 4) and array.dtype == np.uint8
        if any(not np.array_equal(layer, layers[0]) for layer in layers[1 : 3 if colour else None]):  # not alpha
            what = (
                "is in colour, not a label image"
                if colour
                else f"holds {len(layers)} values a voxel, as of one channel for each structure, and labels are one"
            )
            raise InputFileError(f"{path} {what}.", _INDEXED_REMEDY)
        labels = _whole(layers[0], path)
    place = (stored.origin, stored.spacing, stored.direction) if physical else (np.zeros(3), np.ones(3), np.eye(3))
    volume = Volume(
        labels[np.newaxis], *place, stem_of(path), physical=physical, notes=notes, forms=stored.forms, source=str(path)
    )
    return volume, structures


def _layers(array: np.ndarray) -> np.ndarray:
    """(layers, K, J, I) of the voxels of a file."""
    return array[np.newaxis] if array.ndim == 3 else np.moveaxis(array, -1, 0)


def _is_dicom_input(path: Path) -> bool:
    return paths.is_dir(path) or is_dicom(path)


def _dicom_label_file(path: Path) -> Path:
    """The file itself, or the only one with labels in a folder."""
    from ..dicom.labels import label_files

    if not paths.is_dir(path):
        return path
    files = [file for file, _ in label_files(path)]
    if len(files) != 1:
        raise InputFileError(
            f"The folder {path} holds {len(files)} DICOM segmentations and structure sets.",
            "Choose one file of labels.",
        )
    return Path(files[0])


def _dicom_labels(path: Path, image: _Image, classes: Sequence[Structure], overlap: str) -> Volume:
    from ..dicom.labels import read_dicom_labels

    path = _dicom_label_file(path)
    if isinstance(image, str | os.PathLike):
        image = check_input(image)
        if not paths.is_dir(image):
            image = read_volume(image)
    read = read_dicom_labels(path, image.grid if isinstance(image, Volume) else image, classes, overlap)
    grid = read.grid
    return Volume(
        read.array[np.newaxis], grid.origin, grid.spacing, grid.direction, path.stem, notes=read.notes, source=str(path)
    )


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
