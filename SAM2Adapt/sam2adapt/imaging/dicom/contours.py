"""Contours of an RT structure set as voxels (PS3.3 C.8.8.6): holes, keyholes and XOR contours come out right.

All contours of a structure in one slice are combined by the even-odd rule, on which CLOSED_PLANAR contours with a hole
drawn inside and CLOSEDPLANAR_XOR agree. A voxel belongs to the structure if at least half of it lies inside.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from pydicom.dataset import Dataset
from skimage.draw import polygon

from ...shared.errors import GeometryError, InputFileError
from .elements import damage_reported
from .geometry import Grid

_CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
_FINE = 9  # parts of a voxel's edge at which it is tested
_OFF_SLICE = 0.25  # slices that a contour may lie off one


@dataclass(frozen=True)
class Region:
    """One structure of a structure set.

    :ivar contours: each (points, 3) LPS mm.
    :ivar color: red, green, blue from 0 to 1; None where the file has none.
    :ivar code: scheme, value and meaning; None where the file has none.
    :ivar frame_of_reference: FrameOfReferenceUID in which the contours lie, "" where the file does not say it.
    :ivar open_contours: how many contours enclose no area, by their type.
    """

    number: int
    name: str
    contours: list[np.ndarray]
    color: tuple[float, float, float] | None
    code: tuple[str, str, str] | None
    frame_of_reference: str = ""
    open_contours: dict[str, int] = field(default_factory=dict)


def regions(path: str, dataset: Dataset) -> list[Region]:
    """The structures of a structure set in the order of their numbers.

    :raises InputFileError: the file has none, or a contour is damaged.
    """
    with damage_reported(path, "its list of structures"):
        return _regions(path, dataset)


def _regions(path: str, dataset: Dataset) -> list[Region]:
    listed = dataset.get("StructureSetROISequence") or ()
    if not listed:
        raise InputFileError(f"{path} is a structure set without structures.", "Choose another file.")
    drawn = {int(item.ReferencedROINumber): item for item in dataset.get("ROIContourSequence") or ()}
    codes = {}
    for item in dataset.get("RTROIObservationsSequence") or ():
        if items := item.get("RTROIIdentificationCodeSequence"):
            code = items[0]
            codes[int(item.ReferencedROINumber)] = (code.CodingSchemeDesignator, code.CodeValue, code.CodeMeaning)
    result = []
    for item in sorted(listed, key=lambda item: int(item.ROINumber)):
        number, name = int(item.ROINumber), str(item.get("ROIName") or f"ROI {item.ROINumber}")
        contour = drawn.get(number, Dataset())
        color = contour.get("ROIDisplayColor")
        contours, open_contours = _contours(path, name, contour)
        result.append(
            Region(
                number, name, contours, tuple(int(part) / 255 for part in color) if color else None, codes.get(number),
                str(item.get("ReferencedFrameOfReferenceUID", "")), open_contours,
            )
        )  # fmt: skip
    return result


def _contours(path: str, name: str, drawn: Dataset) -> tuple[list[np.ndarray], dict[str, int]]:
    """Closed contours, and how many others there are of each type."""
    contours: list[np.ndarray] = []
    others: dict[str, int] = {}
    for item in drawn.get("ContourSequence") or ():
        data = np.array(item.get("ContourData") or (), dtype=np.float64)
        kind = str(item.get("ContourGeometricType"))
        if kind not in _CLOSED:
            others[kind] = others.get(kind, 0) + 1
            continue
        if data.size % 3 or data.size != 3 * int(item.get("NumberOfContourPoints", data.size // 3)):
            raise InputFileError(
                f"{path} is damaged: a contour of '{name}' declares {item.NumberOfContourPoints} "
                f"points and has {data.size / 3:g}.",
                "Export it again.",
            )
        if data.size >= 9:
            contours.append(data.reshape(-1, 3))
    return contours, others


def fill(path: str, region: Region, grid: Grid) -> tuple[np.ndarray, list[str]]:
    """The voxels of a structure on the grid of its series.

    :return: (K, J, I) bool, and sentences about contours that do not count, or that are not there.
    :raises GeometryError: a contour does not lie in a slice of the series.
    """
    mask = np.zeros(grid.size[::-1], bool)
    to_index = np.linalg.inv(grid.affine)
    slices: dict[int, list[np.ndarray]] = {}
    for contour in region.contours:
        points = contour @ to_index[:3, :3].T + to_index[:3, 3]
        depth = points[:, 2]
        number = int(np.rint(depth.mean()))
        if np.abs(depth - number).max() > _OFF_SLICE or not 0 <= number < grid.size[2]:
            raise GeometryError(
                f"A contour of '{region.name}' in {path} lies {depth.min() + 1:.2f} to {depth.max() + 1:.2f} slices up "
                f"in a series of {grid.size[2]}, not in one of its slices.",
                "Choose the series on which the structures were drawn.",
            )
        slices.setdefault(number, []).append(points[:, :2])
    for number, contours in slices.items():
        _fill_slice(mask[number], contours)
    return mask, _notes(path, region, slices, grid)


def _notes(path: str, region: Region, slices: dict[int, list[np.ndarray]], grid: Grid) -> list[str]:
    notes, what = [], f"'{region.name}' in {path}"
    if others := region.open_contours:
        kinds = ", ".join(sorted(others))
        notes.append(f"{what}: {sum(others.values())} contours enclose no area and are left out ({kinds}).")
    if beyond := _outside(slices, grid.size):
        notes.append(
            f"{what}: {beyond} of its {len(region.contours)} contours reach beyond the image; what lies outside is left"
            " out."
        )
    if slices:
        between = max(slices) - min(slices) + 1
        if empty := between - len(slices):
            notes.append(
                f"{what} has no contour in {empty} of the {between} slices between its first and its last one."
            )
    return notes


def _outside(slices: dict[int, list[np.ndarray]], size: Sequence[int]) -> int:
    """Contours with a point beyond the edges of the outermost pixels."""
    edges = np.array(size[:2]) - 0.5
    return sum(bool(((c < -0.5) | (c > edges)).any()) for contours in slices.values() for c in contours)


def _fill_slice(mask: np.ndarray, contours: Sequence[np.ndarray]) -> None:
    """:param contours: each (points, 2) of column and row; the centre of the first pixel is (0, 0)."""
    points = np.concatenate(contours)
    low = np.maximum(np.floor(points.min(axis=0)).astype(int), 0)
    high = np.minimum(np.ceil(points.max(axis=0)).astype(int) + 1, mask.shape[::-1])
    columns, rows = high - low
    if columns <= 0 or rows <= 0:
        return
    fine = np.zeros((rows * _FINE, columns * _FINE), bool)
    for contour in contours:
        x, y = ((contour - low + 0.5) * _FINE - 0.5).T  # in fine pixels, whose centres are whole numbers
        inside = np.zeros_like(fine)
        inside[polygon(y, x, fine.shape)] = True
        fine ^= inside
    covered = fine.reshape(rows, _FINE, columns, _FINE).sum(axis=(1, 3))
    mask[low[1] : high[1], low[0] : high[0]] |= 2 * covered > _FINE * _FINE
