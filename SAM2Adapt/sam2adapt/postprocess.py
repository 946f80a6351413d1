"""Cleaning of label volumes: the largest piece of a structure, small pieces away, holes filled."""

import math
from typing import Any

import numpy as np
from skimage.measure import label, regionprops

from .errors import SettingsError

_Box = tuple[slice, ...]


def apply(labels: np.ndarray, settings: dict[str, Any], voxel_ml: float) -> np.ndarray:
    """Clean a label volume, in this order: largest piece, smallest volume, holes.

    A piece is a set of voxels of one structure that touch at least at their corners. A hole is background that the
    structure encloses and that does not reach the volume's border by way of voxel faces; what belongs to another
    structure is never overwritten. Voxels taken away become background. A volume of one slice is cleaned in its plane.

    :param labels: (K, J, I) unsigned integers, 0 = background; not changed.
    :param settings: the card's ``postprocessing``: ``largest_component`` and ``fill_holes`` (lists of label values) and
        ``minimum_ml`` (pieces of any structure below it are taken away; 0 keeps all).
    :param voxel_ml: volume of a voxel in mL.
    :return: labels of the same shape and type.
    :raises SettingsError: a smallest volume is asked for and the size of a voxel is not known.
    """
    minimum = _minimum_voxels(settings["minimum_ml"], voxel_ml)
    largest, fill = set(settings["largest_component"]), set(settings["fill_holes"])
    result = labels.copy()
    flat = _without_thin_axes(result)
    for value, box in _boxes(flat):
        if value in largest or minimum > 1:
            _remove_pieces(flat[box], value, value in largest, minimum)
    # After all pieces are gone: a piece of another structure that is taken away may leave a hole.
    for value, box in _boxes(flat):
        if value in fill:
            _fill_holes(flat[box], value)
    return result


def _minimum_voxels(minimum_ml: float, voxel_ml: float) -> int:
    if minimum_ml <= 0:
        return 0
    if not (math.isfinite(voxel_ml) and voxel_ml > 0):
        raise SettingsError(
            "The smallest volume of a structure is set in mL, but the size of a voxel is not known.",
            "Set it to 0, or give the volume a voxel size.",
        )
    # A piece of exactly the smallest volume stays, whatever the rounding of the quotient.
    return math.ceil(minimum_ml / voxel_ml * (1 - 1e-9))


def _without_thin_axes(array: np.ndarray) -> np.ndarray:
    """A view without axes of one voxel, along which everything would lie at the border."""
    view = array.squeeze()
    # scikit-image wants two axes at least.
    return view if view.ndim > 1 else view.reshape(1, -1)


def _boxes(labels: np.ndarray) -> list[tuple[int, _Box]]:
    """Label values and the boxes that they fill."""
    return [(region.label, region.slice) for region in regionprops(labels)]


def _remove_pieces(labels: np.ndarray, value: int, largest_only: bool, minimum: int) -> None:
    """Take away, in place, pieces of a structure that are not the largest or below a number of voxels."""
    pieces = label(labels == value, connectivity=labels.ndim)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    keep = sizes >= max(minimum, 1)
    if largest_only:
        # Of two equally large ones the first in the order of voxels stays.
        keep &= np.arange(len(sizes)) == sizes.argmax()
    if not keep[1:].all():
        keep[0] = True
        labels[~keep[pieces]] = 0


def _fill_holes(labels: np.ndarray, value: int) -> None:
    """Fill, in place, background that a structure encloses; the array is the structure's box."""
    outside = label(labels != value, connectivity=1)
    open_regions = np.zeros(outside.max() + 1, bool)
    for axis in range(outside.ndim):
        for end in (0, -1):
            open_regions[outside.take(end, axis)] = True
    # Region 0 is the structure itself.
    open_regions[0] = True
    labels[~open_regions[outside] & (labels == 0)] = value
