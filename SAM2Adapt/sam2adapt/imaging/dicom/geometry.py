"""Where slices and frames lie, and whether all of them together are one regular grid at right angles.

Every slice and every frame is compared, not the first and the last: DICOM gives each its own position, orientation and
pixel spacing (PS3.3 C.7.6.2), while a volume has one origin, one direction matrix and one spacing.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...shared.errors import InputFileError, SeriesError

SAME_ORIENTATION = 1e-3  # cosines; scanners write them with as few as four digits
SAME_POSITION_MM = 1e-3
_UNEVEN = 0.2  # slices; rounded positions stay below, one missing slice moves the middle of the others by half a slice
_SIDEWAYS = 0.1  # pixels that a slice may lie beside the stack,
_ROUNDED_MM = 0.05  # besides what positions written to a tenth of a millimetre are off
_PLAUSIBLE_MM = (1e-5, 1e4)
_FARTHEST_MM = 1e7
REGULAR = "Load the series in Slicer's DICOM module, which makes the geometry regular, and save it as .nrrd."


@dataclass(frozen=True, eq=False)
class Placement:
    """A regular grid.

    :ivar order: of the slices or frames, along the third axis.
    :ivar origin: (3,) LPS mm, ``spacing`` (3,) mm along I, J, K, ``direction`` (3, 3) unit vectors as columns.
    """

    order: np.ndarray
    origin: np.ndarray
    spacing: np.ndarray
    direction: np.ndarray


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of an image lie, and which image that is.

    :ivar size: voxels along I, J, K. :ivar origin, spacing, direction: as in ``Placement``.
    :ivar name: file or folder of the image, for messages.
    :ivar series_uid, frame_of_reference: UIDs of a DICOM series; "" of other images.
    :ivar physical: False for pictures, which lie nowhere in a patient.
    """

    size: tuple[int, int, int]
    origin: np.ndarray
    spacing: np.ndarray
    direction: np.ndarray
    name: str = "the image"
    series_uid: str = ""
    frame_of_reference: str = ""
    physical: bool = True

    @property
    def affine(self) -> np.ndarray:
        """(4, 4) voxel index to LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.direction * self.spacing, self.origin
        return matrix


def check_plane(path: str, orientations: np.ndarray, spacings: np.ndarray | None) -> None:
    """Refuse cosines that are none, axes in the plane that are not at right angles, and impossible spacings.

    :param orientations: (N, 6).
    :param spacings: (N, 2) mm.
    """
    rows, columns = orientations[:, :3], orientations[:, 3:]
    lengths = np.linalg.norm(orientations.reshape(-1, 2, 3), axis=2)
    if np.abs(lengths - 1).max() > 0.01:
        raise InputFileError(
            f"{path} is damaged: the axes of its ImageOrientationPatient have the lengths "
            f"{lengths.min():.3g} to {lengths.max():.3g}, not 1.",
            "Export it again.",
        )
    lean = np.degrees(np.arcsin(np.clip(np.abs((rows * columns).sum(axis=1) / lengths.prod(axis=1)), 0, 1)))
    if lean.max() > np.degrees(2 * SAME_ORIENTATION):
        raise InputFileError(
            f"{path} has rows and columns at {90 - lean.max():.1f} degrees, not at right angles.",
            "Resample it to a regular grid in Slicer and save it as .nrrd.",
        )
    check_spacing(path, spacings)


def check_spacing(path: str, spacings: np.ndarray | None) -> None:
    """Refuse pixels of no size, of negative size, and larger than ten metres."""
    if spacings is None:
        return
    low, high = spacings.min(), spacings.max()
    if low < _PLAUSIBLE_MM[0] or high > _PLAUSIBLE_MM[1]:
        raise InputFileError(f"{path} declares pixels of {low:g} to {high:g} mm.", "Export it again.")


def check_position(path: str, positions: np.ndarray | None) -> None:
    """Refuse places from which the next voxel cannot be told in 64 bits.

    :param positions: (N, 3) LPS mm.
    """
    if positions is not None and np.abs(positions).max() > _FARTHEST_MM:
        far = positions[np.argmax(np.abs(positions).max(axis=1))]
        raise InputFileError(
            f"{path} has an ImagePositionPatient of {', '.join(f'{n:g}' for n in far)} mm; up to {_FARTHEST_MM:g} mm"
            " are possible.",
            "Export it again.",
        )


def axes_of(orientation: np.ndarray) -> np.ndarray:
    """(3, 3): unit vectors along a row, along a column, and their normal, as columns (LPS)."""
    row, column = np.reshape(orientation, (2, 3))
    row = row / np.linalg.norm(row)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    return np.column_stack([row, np.cross(normal, row), normal])


def sort_along_normal(positions: np.ndarray, orientation: np.ndarray) -> np.ndarray:
    """The order of (N, 3) positions along the normal of the first."""
    return np.argsort(positions @ axes_of(orientation)[:, 2], kind="stable")


def place_stack(name: str, item: str, positions: np.ndarray, orientations: np.ndarray, spacings: np.ndarray,
                size: tuple[int, int], keep_order: bool = False) -> Placement:  # fmt: skip
    """The grid of at least two slices or frames, in any order.

    :param name: of the series, for sentences; ``item`` is "slice" or "frame".
    :param positions: (N, 3), ``orientations`` (N, 6), ``spacings`` (N, 2) mm between rows and between columns.
    :param size: columns and rows.
    :param keep_order: leave items that are already in falling order as they are; the third axis then points back.
    :raises SeriesError: they are no regular stack; the sentence says which items and by how much.
    """
    axes = axes_of(orientations[0])
    order = sort_along_normal(positions, orientations[0])
    if keep_order and np.array_equal(order, np.arange(len(order))[::-1]):
        order, axes = order[::-1], axes * (1, 1, -1)
    positions, orientations, spacings = positions[order], orientations[order], spacings[order]
    _check_same(name, item, "other orientations", np.abs(orientations - orientations[0]).max(axis=1), SAME_ORIENTATION)
    usual = np.median(spacings, axis=0)
    # the far edge of a slice must not lie off the others by more than a tenth of a pixel
    _check_same(
        name,
        item,
        f"pixels of another size than {usual[1]:g} x {usual[0]:g} mm",
        (np.abs(spacings - usual) / usual * size[::-1]).max(axis=1),
        _SIDEWAYS,
    )
    along = positions @ axes[:, 2]
    step = _step(name, item, along)
    _check_sideways(name, item, positions @ axes[:, :2], along, float(usual.min()))
    return Placement(order, positions[0], np.array([usual[1], usual[0], step]), axes)


def ranges(numbers: Sequence[int]) -> str:
    """Counted from 1: [11, 12, 13, 20] becomes "12 to 14, 21"."""
    parts: list[list[int]] = []
    for number in numbers:
        if parts and number == parts[-1][1] + 1:
            parts[-1][1] = number
        else:
            parts.append([number, number])
    shown = [f"{a + 1}" if a == b else f"{a + 1} to {b + 1}" for a, b in parts]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more groups" if len(shown) > 5 else "")


def _check_same(name: str, item: str, what: str, difference: np.ndarray, tolerance: float) -> None:
    odd = np.flatnonzero(difference > tolerance)
    if len(odd):
        raise SeriesError(f"{_items(item, odd)} of {len(difference)} of {name} {_have(odd)} {what}.", REGULAR)


def _items(item: str, numbers: np.ndarray) -> str:
    return f"{item.capitalize()}{'s' if len(numbers) > 1 else ''} {ranges(numbers.tolist())}"


def _have(numbers: np.ndarray) -> str:
    return "have" if len(numbers) > 1 else "has"


def _step(name: str, item: str, along: np.ndarray) -> float:
    """Distance of the items in mm, after checking that they are evenly spaced."""
    gaps = np.abs(np.diff(along))
    if gaps.min() < SAME_POSITION_MM:
        places = 1 + int((gaps >= SAME_POSITION_MM).sum())
        what = "images" if item == "slice" else "frames"
        raise SeriesError(
            f"The series {name} has {len(along)} {what} at {places} positions: it holds several time "
            "points, phases or echoes.",
            "Load it in Slicer's DICOM module, which separates them, and save one of them as .nrrd.",
        )
    step = float(abs(along[-1] - along[0]) / (len(along) - 1))
    if np.abs(np.abs(along - along[0]) - step * np.arange(len(along))).max() > _UNEVEN * step:
        raise SeriesError(_gap_message(gaps, along, name, item), f"Copy the whole series. {REGULAR}")
    return step


def _gap_message(gaps: np.ndarray, along: np.ndarray, name: str, item: str) -> str:
    usual = float(np.median(gaps))
    missing = np.rint(gaps / usual).astype(int) - 1
    if missing.sum() > 0 and np.abs(gaps - usual * (missing + 1)).max() <= _UNEVEN * usual:
        return (
            f"The series {name} misses {missing.sum()} of {len(along) + missing.sum()} {item}s, the first after "
            f"position {along[np.flatnonzero(missing)[0]]:.1f} mm."
        )
    return f"The {item}s of the series {name} are unevenly spaced, {gaps.min():.2f} to {gaps.max():.2f} mm."


def _check_sideways(name: str, item: str, lateral: np.ndarray, along: np.ndarray, pixel: float) -> None:
    """Refuse a tilted stack, and a stack some of whose items lie beside the others.

    :param lateral: (N, 2) mm along rows and columns.
    """
    allowed = _SIDEWAYS * pixel + _ROUNDED_MM
    slope = np.median(np.diff(lateral, axis=0) / np.diff(along)[:, None], axis=0)
    drift = slope * (along - along[0])[:, None]
    if np.linalg.norm(drift[-1]) > allowed:
        beside = lateral - drift
        angle = np.degrees(np.arctan(np.linalg.norm(slope)))
        if np.linalg.norm(beside - np.median(beside, axis=0), axis=1).max() <= allowed:
            raise SeriesError(
                f"The {item}s of the series {name} are not stacked along their normal (a tilt of {angle:.1f} degrees).",
                REGULAR,
            )
    beside = np.linalg.norm(lateral - np.median(lateral, axis=0), axis=1)
    odd = np.flatnonzero(beside > allowed)
    if len(odd):
        raise SeriesError(
            f"{_items(item, odd)} of {len(beside)} of the series {name} {'lie' if len(odd) > 1 else 'lies'} "
            f"up to {beside.max():.1f} mm beside the others.",
            f"Check whether all belong to one scan. {REGULAR}",
        )
