"""Labels from DICOM: segmentations (BINARY, FRACTIONAL, LABELMAP) and RT structure sets, on the grid of their series.

The positions of its frames place a segmentation; they may cover only a part of the series.
"""

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import UID, generate_uid

from ...shared.errors import ClassesError, GeometryError, InputFileError
from ...shared.labels.overlaps import LAST
from ..flattening import flatten
from ..terminology import Structure, name_key
from . import sop_classes
from .contours import Region, fill, regions
from .elements import COPY_AGAIN, DAMAGE, damage_reported
from .geometry import Grid
from .label_origin import Origin, check_origin, grid_beside, grid_of_images, origins_of
from .placing import place_on_grid
from .scan import scan
from .segment_codes import structures_of

_SEGMENTATIONS = (sop_classes.SEGMENTATION, sop_classes.LABEL_MAP_SEGMENTATION)
LABEL_CLASSES = (*_SEGMENTATIONS, sop_classes.STRUCTURE_SET)
_Segment = tuple[Structure, np.ndarray]


@dataclass(eq=False)
class DicomLabels:
    """Labels and what they mean.

    :ivar array: (K, J, I) of the smallest unsigned type. :ivar grid: where they lie.
    :ivar structures: what the label values mean. :ivar notes: sentences about what was decided on reading.
    """

    array: np.ndarray
    grid: Grid
    structures: list[Structure]
    notes: tuple[str, ...] = ()


def read_dicom_labels(
    path: str | os.PathLike, image: Grid | Path | None = None, classes: Sequence[Structure] = (), overlap: str = LAST
) -> DicomLabels:
    """Read a segmentation or a structure set.

    Label values are the segment numbers of a segmentation, and 1, 2, 3 … for the structures of a structure set.

    :param image: grid to put them on, or the folder of the images. Without it the grid is that of the series that they
        refer to, if it lies beside them (in their folder, the one above, or a folder in these), and for a segmentation
        otherwise that of its frames.
    :param classes: take these only, by name in whatever case, and give them their label values: the numbers of a
        structure differ from patient to patient, and the outline of the body must not cover what lies in it.
    :param overlap: which of two structures a voxel of both gets, see ``flattening.flatten``.
    :raises InputFileError: damaged, or no segmentation and no structure set.
    :raises GeometryError: they are not on the grid, were drawn in another frame of reference, or a structure set's
        series is not there.
    :raises ClassesError: there is none of the classes in it, or structures overlap and ``overlap`` is "refuse".
    """
    work = _Reader(str(path), image, classes)
    if work.kind == sop_classes.STRUCTURE_SET:
        masks = work.contour_masks(work.grid)
        labels, notes = work.flattened(masks, work.grid.size[::-1], overlap)
        return work.result(labels, work.grid, notes)
    if work.kind == sop_classes.LABEL_MAP_SEGMENTATION:
        labels, native = work.label_map()
        return work.placed(labels, native, ())
    masks, native = work.segment_masks()
    labels, notes = work.flattened(masks, native.size[::-1], overlap)
    return work.placed(labels, native, notes)


def read_dicom_segments(path: str | os.PathLike, image: Grid) -> tuple[list[_Segment], Grid, tuple[str, ...]]:
    """The structures of a segmentation or a structure set one by one: those that overlap stay whole.

    :param image: grid to put them on.
    :return: what each structure is and its mask (K, J, I); the grid; sentences about what was decided.
    :raises: as ``read_dicom_labels``.
    """
    work = _Reader(str(path), image, ())
    if work.kind == sop_classes.STRUCTURE_SET:
        segments = list(work.contour_masks(image))
    elif work.kind == sop_classes.LABEL_MAP_SEGMENTATION:
        labels, native = work.label_map()
        whole = place_on_grid(work.path, labels, native, image)
        segments = [(structure, whole == structure.id) for structure in work.structures.values()]
    else:
        masks, native = work.segment_masks()
        segments = [(structure, place_on_grid(work.path, mask, native, image)) for structure, mask in masks]
    return segments, image, tuple(dict.fromkeys(work.notes))


def read_dicom_structures(path: str | os.PathLike) -> list[Structure]:
    """What the label values of :func:`read_dicom_labels` mean; no voxel is read.

    :raises InputFileError: damaged, or no segmentation and no structure set.
    """
    dataset = _labelled(str(path))
    return list(structures_of(str(path), dataset, _regions(str(path), dataset)).values())


def referenced_series(path: str | os.PathLike) -> tuple[str, ...]:
    """SeriesInstanceUIDs of the images on which a segmentation or structure set was drawn; none if it names none."""
    origins = origins_of(str(path), _read(str(path), stop_before_pixels=True))
    return tuple(dict.fromkeys(uid for origin in origins for uid in origin.series))


def label_files(folder: str | os.PathLike) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Path and referenced series of each segmentation and structure set in a folder and below it."""
    for other in scan(folder).others:
        if other.sop_class in LABEL_CLASSES:
            yield other.path, referenced_series(other.path)


class _Reader:
    """One file of labels: what it holds, where it belongs, and what must be said about it.

    :ivar structures: those that are taken, by the number that the file gives each.
    :ivar grid: of the images, None where there are none near a segmentation.
    """

    def __init__(self, path: str, image: Grid | Path | None, classes: Sequence[Structure]):
        self.path, self.dataset = path, _labelled(path)
        self.kind = self.dataset.SOPClassUID
        drawn = _regions(path, self.dataset)
        self.structures = _taken(path, structures_of(path, self.dataset, drawn), classes)
        self._regions = [region for region in drawn if region.number in self.structures]
        self.notes: list[str] = []
        self._given = image is not None
        self._origins = origins_of(path, self.dataset)
        self.grid = image if isinstance(image, Grid) else self._find_grid(image)
        if self.grid is not None:
            self._check_origins(self.grid)

    def _find_grid(self, folder: Path | None) -> Grid | None:
        if folder is not None:
            return grid_of_images(self.path, self._origins, folder)
        grid = grid_beside(Path(self.path), self._origins)
        if grid is None and self.kind == sop_classes.STRUCTURE_SET:
            series = ", ".join(uid for origin in self._origins for uid in origin.series) or "unknown"
            raise GeometryError(
                f"The images of the structure set {self.path} are not beside it: the series {series}.",
                "Put the structure set into the folder of its DICOM series, or name that folder as the images.",
            )
        return grid

    def _check_origins(self, grid: Grid) -> None:
        by_frame = {origin.frame: origin for origin in self._origins}
        if len(by_frame) == 1:
            by_frame[""] = self._origins[0]  # for structures that do not name their frame of reference
        if self._regions:
            checked = {f"'{region.name}' in {self.path}": region.frame_of_reference for region in self._regions}
            if len(set(checked.values())) == 1:
                checked = {self.path: self._regions[0].frame_of_reference}
        else:
            checked = {self.path: self._origins[0].frame if self._origins else ""}
        for what, frame in checked.items():
            if note := check_origin(what, by_frame.get(frame, Origin((), frame)), grid):
                self.notes.append(note)

    def contour_masks(self, grid: Grid) -> Iterator[_Segment]:
        """One mask a structure, on the grid."""
        for region in self._regions:
            mask, notes = fill(self.path, region, grid)
            self.notes += notes
            yield self.structures[region.number], mask

    def label_map(self) -> tuple[np.ndarray, Grid]:
        """(K, J, I) labels of a LABELMAP segmentation on the grid of its frames."""
        content = self._content()
        with self._reported():
            volume = content.get_volume(combine_segments=True)
        table = np.zeros(max(int(volume.array.max()), *self.structures) + 1, np.uint16)
        for number, structure in self.structures.items():
            table[number] = structure.id
        labels = table[np.asarray(volume.array).astype(np.int64)]
        return labels.astype(np.min_scalar_type(int(labels.max(initial=0))), copy=False), _grid_of(volume)

    def segment_masks(self) -> tuple[Iterator[_Segment], Grid]:
        """One mask a segment on the grid of the segmentation's frames."""
        content = self._content()
        with self._reported():
            first, *numbers = self.structures
            volume = content.get_volume(segment_numbers=[first])
        masks = self._masks(content, volume, first, numbers)
        return masks, _grid_of(volume)

    def _masks(
        self, content: highdicom.seg.Segmentation, volume: highdicom.Volume, first: int, numbers: list[int]
    ) -> Iterator[_Segment]:
        yield (
            self.structures[first],
            np.asarray(volume.array)[..., 0] >= 0.5,
        )  # a fraction from 0 to 1 in a FRACTIONAL one
        for number in numbers:
            with self._reported():
                volume = content.get_volume(segment_numbers=[number])
            yield self.structures[number], np.asarray(volume.array)[..., 0] >= 0.5

    def _content(self) -> highdicom.seg.Segmentation:
        _check_frames(self.path, self.dataset)
        self._complete()
        with self._reported():
            return highdicom.seg.Segmentation.from_dataset(self.dataset, copy=False)

    def _complete(self) -> None:
        """Add what some programs leave out and highdicom demands; neither says where the voxels lie."""
        for item in self.dataset.SegmentSequence:
            if not item.get("SegmentLabel"):
                item.SegmentLabel = f"Segment {item.SegmentNumber}"
        if not self.dataset.get("FrameOfReferenceUID"):
            self.dataset.FrameOfReferenceUID = generate_uid()
            self.notes.append(f"{self.path} names no frame of reference; the positions of its frames were believed.")

    @contextlib.contextmanager
    def _reported(self) -> Iterator[None]:
        try:
            yield
        except (*DAMAGE, RuntimeError) as error:
            raise InputFileError(
                f"{self.path} cannot be read as a segmentation: {str(error).rstrip('.')}.",
                "Import it in Slicer and save it as .seg.nrrd.",
            ) from error

    def flattened(self, masks: Iterator[_Segment], shape: tuple, overlap: str) -> tuple[np.ndarray, tuple[str, ...]]:
        largest = max((structure.id for structure in self.structures.values()), default=0)
        return flatten(masks, shape, largest, self.path, overlap)

    def placed(self, labels: np.ndarray, native: Grid, notes: tuple[str, ...]) -> DicomLabels:
        """On the grid of the images, if they are known and it fits; else where they are."""
        if self.grid is None:
            return self.result(labels, native, notes)
        try:
            return self.result(place_on_grid(self.path, labels, native, self.grid), self.grid, notes)
        except GeometryError as error:
            if self._given:
                raise
            self.notes.append(f"{error.message} It was placed by the positions of its frames.")
            return self.result(labels, native, notes)

    def result(self, labels: np.ndarray, grid: Grid, notes: tuple[str, ...]) -> DicomLabels:
        said = tuple(dict.fromkeys((*self.notes, *notes)))  # every contour may say the same
        return DicomLabels(labels, grid, list(self.structures.values()), said)


def _labelled(path: str) -> Dataset:
    dataset = _read(path)
    if dataset.SOPClassUID not in LABEL_CLASSES:
        raise InputFileError(
            f"{path} is DICOM and holds no labels: {sop_classes.class_name(dataset.SOPClassUID)}.",
            "Choose a segmentation (SEG), a structure set (RTSTRUCT) or a label file.",
        )
    return dataset


def _regions(path: str, dataset: Dataset) -> list[Region]:
    """What is drawn in a structure set; nothing in a segmentation."""
    return regions(path, dataset) if dataset.SOPClassUID == sop_classes.STRUCTURE_SET else []


def _read(path: str, **options) -> Dataset:
    with damage_reported(path, "the file to its end"):
        dataset = pydicom.dcmread(path, force=True, **options)
        dataset.SOPClassUID = UID(dataset.get("SOPClassUID", ""))
        return dataset


def _taken(path: str, structures: dict[int, Structure], classes: Sequence[Structure]) -> dict[int, Structure]:
    if not classes:
        return structures
    ids = {name_key(structure.name): structure.id for structure in classes}
    names = {number: name_key(structure.name) for number, structure in structures.items()}
    taken = {number: replace(structures[number], id=ids[name]) for number, name in names.items() if name in ids}
    if not taken:
        raise ClassesError(
            f"{path} holds none of the classes {', '.join(s.name for s in classes)}, but "
            f"{', '.join(s.name for s in structures.values())}.",
            "Name the classes as the file names its structures.",
            setting="classes",
        )
    return taken


def _check_frames(path: str, dataset: Dataset) -> None:
    """Compare the frames that an uncompressed segmentation declares with the bytes that it holds."""
    with damage_reported(path, "its frames"):
        if not sop_classes.is_uncompressed(dataset.file_meta.TransferSyntaxUID):
            return
        bits = int(dataset.NumberOfFrames) * dataset.Rows * dataset.Columns * dataset.BitsAllocated
        stored = len(dataset.get("PixelData") or b"")
    if stored < (bits + 7) // 8:
        raise InputFileError(
            f"{path} is cut: {dataset.Columns} x {dataset.Rows} pixels x {dataset.NumberOfFrames} frames are"
            f" {(bits + 7) // 8} bytes of voxels, and it holds {stored}.", COPY_AGAIN,
        )  # fmt: skip


def _grid_of(volume: highdicom.Volume) -> Grid:
    """highdicom counts slices, rows, columns; ITK columns, rows, slices."""
    affine = volume.affine[:, [2, 1, 0, 3]]
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Grid(volume.spatial_shape[::-1], affine[:3, 3], spacing, affine[:3, :3] / spacing)
