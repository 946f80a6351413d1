"""An image as it lies in a file, and the checks of its place that hold for every format."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ...shared.errors import InputFileError, VolumeError
from ...shared.tolerance import ROUNDING, VOXEL_SHARE, right_angled, shear

SMALLEST_SPACING, LARGEST_SPACING = 1e-6, 1e3  # mm: a nanometre and a metre
_FARTHEST = 1e7  # mm of the first voxel from the origin: far beyond, neighbours have the same place in 64 bits
_RESAMPLE = "Resample it onto a right-angled grid, with Slicer's module Resample Scalar/Vector/DWI Volume for instance."


@dataclass(eq=False)
class StoredImage:
    """Voxels, place and header of a file.

    :ivar array: (K, J, I), or (K, J, I, C) for several values a voxel.
    :ivar origin: (3,) LPS mm. :ivar spacing: (3,) mm along I, J, K. :ivar direction: (3, 3) columns, LPS.
    :ivar keys: the header's keys and values, as far as the format has them.
    :ivar notes: sentences about what was decided on reading, each naming the file.
    :ivar forms: of a NIfTI file what its header says about the place, to be written into results.
    """

    array: np.ndarray
    origin: np.ndarray
    spacing: np.ndarray
    direction: np.ndarray
    keys: dict[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    forms: dict | None = None


@dataclass(frozen=True)
class Place:
    """Where voxels lie: see ``StoredImage``; ``note``: what had to be decided, or ""."""

    origin: np.ndarray
    spacing: np.ndarray
    direction: np.ndarray
    note: str = ""


def check_axes(path: Path, sizes: Sequence[int], axes: Sequence[int], names: tuple[str, str], remedy: str) -> None:
    """Refuse a header that does not give one size for each axis.

    :param axes: what it gives as their number. :param names: of the number and of the sizes in such headers.
    :raises InputFileError: one of them is missing, or they contradict each other.
    """
    missing = [name for name, values in zip(names, (axes, sizes), strict=True) if not values]
    if missing:
        raise InputFileError(
            f"{path} is truncated or damaged: its header does not say {' and '.join(missing)}.", remedy
        )
    if [len(sizes)] != list(axes):
        raise InputFileError(f"{path} is damaged: it gives {len(sizes)} sizes for {axes[0]} axes.", remedy)


def checked_place(
    affine: np.ndarray, size: Sequence[int], path: Path, remedy: str = _RESAMPLE, what: str = "axes"
) -> Place:
    """The place that an affine gives, or a refusal.

    :param affine: (4, 4) from voxel indices to LPS mm, as the header has it.
    :param remedy: against a shear; :param what: name of the matrix in the header.
    :raises InputFileError: numbers that are no place: not finite, zero, or out of all bounds.
    :raises VolumeError: axes that are not at right angles, by ``VOXEL_SHARE`` of a voxel or more.
    """
    affine = np.asarray(affine, np.float64)
    try:
        if not np.isfinite(affine).all():
            raise ValueError("it holds numbers that are not finite")
        direction, spacing = right_angled(affine)
        off = shear(affine, size)
    except ValueError as error:
        raise InputFileError(
            f"{path} does not say where its voxels lie: {error}.", "Export it again from where it came."
        ) from error
    check_spacing(spacing, path)
    if np.abs(affine[:3, 3]).max() > _FARTHEST:
        shown = ", ".join(f"{n:g}" for n in affine[:3, 3])
        raise InputFileError(
            f"{path} has its first voxel at {shown} mm; up to {_FARTHEST:g} mm from the origin are possible.",
            "Correct the header, or export the image again from where it came.",
        )
    if off >= VOXEL_SHARE:
        raise VolumeError(
            f"{path} has {what} that are not at right angles: at the farthest corner the voxels lie {off:.2g} voxels"
            f" beside a right-angled grid (allowed: {VOXEL_SHARE}).", remedy,
        )  # fmt: skip
    note = ""
    if off >= ROUNDING:
        note = (
            f"{path} has {what} that are not quite at right angles ({off:.2g} voxels at the farthest corner); they"
            " were straightened."
        )
    return Place(affine[:3, 3].copy(), spacing, direction, note)


def several_images(path: Path, count: int) -> VolumeError:
    """The error of a file that holds several images instead of one."""
    remedy = (
        "Save one time point as a file of its own (in Slicer: load as a sequence, choose the item, save the proxy"
        " volume)."
        " Of labels with a channel for each structure save one channel with the values 1, 2, 3 …."
    )
    return VolumeError(f"{path} is a 4-D volume of {count} time points or channels.", remedy)


def no_voxel_size(path: Path, missing: str) -> str:
    """The sentence about a file that does not give the size of its voxels."""
    return f"{path} does not say how large its voxels are ({missing}); 1 x 1 x 1 mm were taken, as in Slicer."


def mirrored_axes(path: Path, field: str, spacing: Sequence[float]) -> str:
    """The sentence about a file that gives negative sizes of voxels."""
    shown = " ".join(f"{mm:g}" for mm in spacing)
    return (
        f"{path} gives negative voxel sizes ({field} {shown}); these axes were taken as running the other way, as in"
        " Slicer."
    )


def check_spacing(spacing: Sequence[float], path: Path) -> None:
    """Refuse voxel sizes that no image has.

    :raises InputFileError: not finite, or not between a nanometre and a metre.
    """
    sizes = np.asarray(spacing, np.float64)
    if not (np.isfinite(sizes).all() and (sizes >= SMALLEST_SPACING).all() and (sizes <= LARGEST_SPACING).all()):
        shown = " x ".join(f"{n:g}" for n in sizes)
        raise InputFileError(
            f"{path} gives a voxel size of {shown} mm; sizes from {SMALLEST_SPACING:g} to {LARGEST_SPACING:g} mm are"
            " possible.", "Correct the header, or export the image again from where it came.",
        )  # fmt: skip


def affine_of(origin: Sequence[float], spacing: Sequence[float], direction: Sequence[float]) -> np.ndarray:
    """(4, 4) affine of what ITK calls origin, spacing and direction."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(np.asarray(direction, np.float64), (3, 3)) * np.asarray(spacing, np.float64)
    affine[:3, 3] = origin
    return affine
