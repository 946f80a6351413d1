"""Labels from DICOM: segmentations (BINARY, FRACTIONAL, LABELMAP) and RT structure sets, on the grid of their series.

A segmentation is placed by its own frames, which may be those of a part of the series only.
"""

import logging
import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pydicom
from highdicom.color import CIELabColor
from pydicom.dataset import Dataset
from pydicom.uid import UID

from ...shared import paths
from ...shared.errors import ClassesError, GeometryError, InputFileError
from ..terminology import Structure, describe
from . import sop_classes
from .contours import fill, regions
from .geometry import Grid
from .header import COPY_AGAIN, DAMAGE, damage_told
from .scan import Scan, scan
from .series import series_grid

logger = logging.getLogger(__name__)
_SEGMENTATIONS = (sop_classes.SEGMENTATION, sop_classes.LABEL_MAP_SEGMENTATION)
LABEL_CLASSES = (*_SEGMENTATIONS, sop_classes.STRUCTURE_SET)
_CONTEXT = "Segmentation category and type - DICOM master list"
_REGIONS = "Anatomic codes - DICOM master list"
_OFF_GRID = 0.1  # voxels


def read_dicom_labels(
    path: str | os.PathLike, image: Grid | None = None, classes: Sequence[Structure] = ()
) -> tuple[np.ndarray, Grid, list[Structure]]:
    """Labels and what they mean.

    Label values are the segment numbers of a segmentation, and 1, 2, 3 … for the structures of a structure set. Where
    they overlap, the later one wins, and a warning says how many voxels that concerns.

    :param image: grid to put them on; without it that of the series that they refer to, if it lies beside them (in
        their folder, the one above, or a folder in these), and for a segmentation otherwise that of its own frames.
    :param classes: take these only, by name in whatever case, and give them their label values: the numbers of a
        structure differ from patient to patient, and the outline of the body must not cover what lies in it.
    :return: (K, J, I) of the smallest unsigned type, its grid, and the structures.
    :raises InputFileError: damaged, or no segmentation and no structure set.
    :raises GeometryError: they are not on the grid, or a structure set's series is not there.
    :raises ClassesError: there is none of the classes in it.
    """
    path = str(path)
    dataset = _labelled(path)
    structures = _taken(path, _structures(path, dataset), classes)
    grid = image or _grid_beside(Path(path), dataset)
    if dataset.SOPClassUID == sop_classes.STRUCTURE_SET:
        labels, grid = _structure_set(path, dataset, grid, structures)
        return labels, grid, list(structures.values())
    labels, own = _segmentation(path, dataset, structures)
    if grid is not None:
        try:
            return place_on_grid(path, labels, own, grid), grid, list(structures.values())
        except GeometryError as error:
            if image is not None:
                raise
            logger.warning("%s It is placed by its own frames.", error.message)
    return labels, own, list(structures.values())


def read_dicom_structures(path: str | os.PathLike) -> list[Structure]:
    """What the label values of :func:`read_dicom_labels` mean; no voxel is read.

    :raises InputFileError: damaged, or no segmentation and no structure set.
    """
    return list(_structures(str(path), _labelled(str(path))).values())


def _labelled(path: str) -> Dataset:
    dataset = _read(path)
    if dataset.SOPClassUID not in LABEL_CLASSES:
        raise InputFileError(
            f"{path} is DICOM and holds no labels: {sop_classes.class_name(dataset.SOPClassUID)}.",
            "Choose a segmentation (SEG), a structure set (RTSTRUCT) or a label file.",
        )
    return dataset


def _structures(path: str, dataset: Dataset) -> dict[int, Structure]:
    """By the number that the file gives each."""
    if dataset.SOPClassUID != sop_classes.STRUCTURE_SET:
        with damage_told(path, "its list of segments"):
            items = [item for item in dataset.get("SegmentSequence") or () if item.SegmentNumber]  # 0 is background
            return {int(item.SegmentNumber): _structure(item) for item in items}
    result = {}
    for label, region in enumerate(regions(path, dataset), 1):
        known = describe(label, region.name)
        terminology = known.terminology if region.code is None else _terminology(None, region.code)
        result[region.number] = Structure(label, region.name, terminology, region.color or known.color)
    return result


def _taken(path: str, found: dict[int, Structure], classes: Sequence[Structure]) -> dict[int, Structure]:
    if not classes:
        return found
    ids = {structure.name.strip().casefold(): structure.id for structure in classes}
    names = {number: structure.name.strip().casefold() for number, structure in found.items()}
    taken = {number: replace(found[number], id=ids[name]) for number, name in names.items() if name in ids}
    if not taken:
        raise ClassesError(
            f"{path} holds none of the classes {', '.join(s.name for s in classes)}, but "
            f"{', '.join(s.name for s in found.values())}.",
            "Name the classes as the file names its structures.",
            setting="classes",
        )
    return taken


def referenced_series(path: str | os.PathLike) -> str:
    """SeriesInstanceUID of the images that a segmentation or structure set was drawn on; "" where it does not say."""
    return _referenced(str(path), _read(str(path), stop_before_pixels=True))


def _read(path: str, **options) -> Dataset:
    with damage_told(path, "the file to its end"):
        dataset = pydicom.dcmread(path, force=True, **options)
        dataset.SOPClassUID = UID(dataset.get("SOPClassUID", ""))
        return dataset


def _referenced(path: str, dataset: Dataset) -> str:
    with damage_told(path, "its reference to a series"):
        for item in dataset.get("ReferencedSeriesSequence") or ():
            return str(item.get("SeriesInstanceUID", ""))
        for frame in dataset.get("ReferencedFrameOfReferenceSequence") or ():
            for study in frame.get("RTReferencedStudySequence") or ():
                for series in study.get("RTReferencedSeriesSequence") or ():
                    return str(series.get("SeriesInstanceUID", ""))
        return ""


def _grid_beside(path: Path, dataset: Dataset) -> Grid | None:
    """The grid of the referenced series, or of the only one of its frame of reference, near the file."""
    series = _referenced(str(path), dataset)
    with damage_told(str(path), "its frame of reference"):
        rois = dataset.get("StructureSetROISequence") or ()
        frames = {str(item.get("ReferencedFrameOfReferenceUID", "")) for item in rois}
        frames |= {str(dataset.get("FrameOfReferenceUID", ""))}
    for files in _near(path.resolve().parent):
        found = scan(files)
        if series and (grid := series_grid(found, series)):
            return grid
        alike = _of_frame(found, frames - {""})
        if not series and len(alike) == 1:
            return series_grid(found, alike[0])
    return None


def _near(folder: Path) -> Iterator[list[str]]:
    """The files of a folder and of those in it, then of the folder above and of those in it, and no deeper."""
    for top in (folder, folder.parent):
        try:
            folders = [top, *filter(paths.is_dir, paths.listing(top))]
            yield [str(path) for place in folders for path in paths.listing(place) if paths.is_file(path)]
        except InputFileError:
            continue  # a neighbour that may not be looked into


def _of_frame(found: Scan, frames: set[str]) -> list[str]:
    return [headers[0].series_uid for _, headers in found.series if headers[0].frame_of_reference in frames]


def _structure_set(
    path: str, dataset: Dataset, grid: Grid | None, taken: dict[int, Structure]
) -> tuple[np.ndarray, Grid]:
    if grid is None:
        series = _referenced(str(path), dataset) or "unknown"
        raise GeometryError(
            f"The images of the structure set {path} are not beside it: the series {series}.",
            "Put the structure set into the folder of its DICOM series, or name that folder as the images.",
        )
    masks = [(region.number, fill(path, region, grid)) for region in regions(path, dataset) if region.number in taken]
    return _flattened(path, masks, taken, grid.size[::-1]), grid


def _segmentation(path: str, dataset: Dataset, taken: dict[int, Structure]) -> tuple[np.ndarray, Grid]:
    """(K, J, I) labels on the grid of the file's own frames."""
    _check_frames(path, dataset)
    try:
        content = highdicom.seg.Segmentation.from_dataset(dataset, copy=False)
        if dataset.SOPClassUID == sop_classes.LABEL_MAP_SEGMENTATION:
            volume = content.get_volume(combine_segments=True)
            table = np.zeros(max(int(volume.array.max()), *taken) + 1, np.uint16)
            for number, structure in taken.items():
                table[number] = structure.id
            return _smallest(table[np.asarray(volume.array).astype(np.int64)]), _grid_of(volume)
        masks = []
        for number in taken:
            volume = content.get_volume(segment_numbers=[number])  # a fraction from 0 to 1 in a FRACTIONAL one
            masks.append((number, np.asarray(volume.array)[..., 0] >= 0.5))
    except (*DAMAGE, RuntimeError) as error:
        raise InputFileError(
            f"{path} cannot be read as a segmentation: {str(error).rstrip('.')}.",
            "Import it in Slicer and save it as .seg.nrrd.",
        ) from error
    return _flattened(path, masks, taken, masks[0][1].shape), _grid_of(volume)


def _check_frames(path: str, dataset: Dataset) -> None:
    """Compare the frames that an uncompressed segmentation declares with the bytes that it holds."""
    with damage_told(path, "its frames"):
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


def _flattened(path: str, masks: list[tuple[int, np.ndarray]], taken: dict[int, Structure], shape: tuple) -> np.ndarray:
    labels = np.zeros(shape, np.min_scalar_type(max((structure.id for structure in taken.values()), default=0)))
    for number, mask in masks:
        if lost := int(np.count_nonzero(labels[mask])):
            logger.warning(
                "'%s' in %s overlaps others in %d of its %d voxels, which become its own.",
                taken[number].name, path, lost, np.count_nonzero(mask),
            )  # fmt: skip
        labels[mask] = taken[number].id
    for number, mask in masks:
        if mask.any() and not (labels == taken[number].id).any():
            logger.warning("'%s' in %s lies under other structures altogether and is lost.", taken[number].name, path)
    return labels


def _smallest(labels: np.ndarray) -> np.ndarray:
    return labels.astype(np.min_scalar_type(int(labels.max(initial=0))), copy=False)


def place_on_grid(path: str, labels: np.ndarray, own: Grid, grid: Grid) -> np.ndarray:
    """Labels (K, J, I) on another grid whose voxels are the same: larger, cut out, turned or mirrored.

    :raises GeometryError: the grids' voxels are not the same, or labels lie outside.
    """
    step = np.linalg.inv(grid.affine) @ own.affine
    corners = np.stack(np.meshgrid(*((0, size - 1) for size in own.size), [1], indexing="ij"), -1).reshape(-1, 4)
    ends = corners @ step.T
    turned = np.rint(step[:3, :3])
    exact = ends[0, :3] + corners[:, :3] @ turned.T
    off = max(np.abs(ends[:, :3] - exact).max(), np.abs(ends[0] - np.rint(ends[0])).max())
    moving = np.array(own.size) > 1
    if off > _OFF_GRID or (np.abs(turned[:, moving]).sum(axis=0) != 1).any():
        raise GeometryError(
            f"The segmentation {path} ({own.size[0]} x {own.size[1]} x {own.size[2]} voxels of "
            f"{' x '.join(f'{v:.4g}' for v in own.spacing)} mm) does not lie on the voxels of the image "
            f"({' x '.join(map(str, grid.size))}, {' x '.join(f'{v:.4g}' for v in grid.spacing)} mm): {off:.2f} voxels "
            "off.",
            "Choose the series on which it was drawn, or resample it in Slicer.",
        )
    place = np.argwhere(labels)  # K, J, I
    target = np.rint(place[:, ::-1] @ turned.T + np.rint(ends[0, :3])).astype(int)
    outside = ((target < 0) | (target >= grid.size)).any(axis=1)
    if outside.any():
        raise GeometryError(
            f"{outside.sum()} of {len(target)} voxels of the segmentation {path} lie outside the image.",
            "Choose the series on which it was drawn.",
        )
    result = np.zeros(grid.size[::-1], labels.dtype)
    result[tuple(target[:, ::-1].T)] = labels[tuple(place.T)]
    return result


def _structure(described: Dataset) -> Structure:
    number, name = (
        int(described.SegmentNumber),
        str(described.get("SegmentLabel") or f"Segment {described.SegmentNumber}"),
    )
    known = describe(number, name)
    lab = described.get("RecommendedDisplayCIELabValue")
    color = known.color if not lab else tuple(part / 255 for part in _rgb(lab))
    codes = [_code(described, f"SegmentedProperty{which}CodeSequence") for which in ("Category", "Type")]
    modifier = next(
        iter(
            (described.get("SegmentedPropertyTypeCodeSequence") or [Dataset()])[0].get(
                "SegmentedPropertyTypeModifierCodeSequence"
            )
            or ()
        ),
        None,
    )
    region = _code(described, "AnatomicRegionSequence")
    if codes[1] is None:
        return Structure(number, name, known.terminology, color)
    return Structure(number, name, _terminology(codes[0], codes[1], _triple(modifier), region), color)


def _rgb(lab: list[int]) -> tuple[int, int, int]:
    red, green, blue = CIELabColor.from_dicom_value(tuple(int(part) for part in lab)).to_rgb()
    return red, green, blue


def _code(described: Dataset, keyword: str) -> tuple[str, str, str] | None:
    return _triple(next(iter(described.get(keyword) or ()), None))


def _triple(item: Dataset | None) -> tuple[str, str, str] | None:
    if item is None:
        return None
    value = item.get("CodeValue") or item.get("LongCodeValue") or ""
    return str(item.get("CodingSchemeDesignator", "")), str(value), str(item.get("CodeMeaning", ""))


def _terminology(
    category: tuple[str, str, str] | None,
    kind: tuple[str, str, str],
    modifier: tuple[str, str, str] | None = None,
    region: tuple[str, str, str] | None = None,
) -> str:
    """Slicer's serialized terminology entry."""
    category = category or ("SCT", "123037004", "Anatomical Structure")
    parts = ["^".join(code) if code else "^^" for code in (category, kind, modifier)]
    return "~".join([_CONTEXT, *parts, _REGIONS, "^".join(region) if region else "^^", "^^"])


def label_files(folder: str | os.PathLike) -> Iterator[tuple[str, str]]:
    """Path and referenced series of each segmentation and structure set in a folder and below it."""
    for other in scan(folder).others:
        if other.sop_class in LABEL_CLASSES:
            yield other.path, referenced_series(other.path)
