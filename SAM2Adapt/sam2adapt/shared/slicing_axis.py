"""Axes along which volumes are cut into slices: their names in model files, requests and panels, and the default axis.

The functions take sizes and spacing in any order of the three axes, the same for both.
"""

from collections.abc import Sequence
from itertools import permutations

import numpy as np

ACQUISITION = "acquisition"  # along the axis of the largest spacing, in whichever direction it is
# Letters of the two ends of each axis in the patient, and its index in the order left-right, posterior-anterior,
# inferior-superior.
ENDS = {"axial": "SI", "coronal": "PA", "sagittal": "LR"}
NUMBERS = {"sagittal": 0, "coronal": 1, "axial": 2}
AXES = (*ENDS, ACQUISITION)

ARRAY_AXES = ("K", "J", "I")  # of a volume's array, first dimension first; K usually counts slices

_THICK = 1.5  # a larger ratio of the two largest spacings means a stack of thick slices
_SAME_SPACING = 0.99  # spacings that differ only by rounding must not decide


def is_stack(sizes: Sequence[int], spacing: Sequence[float]) -> bool:
    """Whether a volume was acquired as slices: a single slice, or slices much thicker than their pixels.

    A new model cuts such volumes along ``acquisition_axis``, and all others into axial slices.

    >>> is_stack((512, 512, 40), (0.7, 0.7, 5.0)), is_stack((256, 256, 256), (1.0, 1.0, 1.2))
    (True, False)
    """
    smaller, largest = sorted(spacing)[1:]
    return 1 in sizes or largest > _THICK * smaller


def acquisition_axis(sizes: Sequence[int], spacing: Sequence[float]) -> int:
    """Index of the axis that was acquired slice by slice: the one of a single voxel, else the one of the largest
    spacing.

    Of several such axes, it is the last.

    >>> acquisition_axis((40, 512, 512), (5.0, 0.7, 0.7)), acquisition_axis((256, 256, 256), (1.0, 1.0, 1.0))
    (0, 2)
    """
    if thin := [axis for axis in range(3) if sizes[axis] == 1]:
        return thin[-1]
    return max(axis for axis in range(3) if spacing[axis] > _SAME_SPACING * max(spacing))


def anatomical_axes(direction: np.ndarray) -> list[int]:
    """Voxel axes that run closest to left-right, posterior-anterior and inferior-superior, in this order.

    Each voxel axis is named once, however oblique the volume is, and the same axis of the patient is chosen in whatever
    order and direction the voxels are stored.

    :param direction: (3, 3) direction cosines, columns for I, J, K, rows L, P, S.
    :return: indices, 0 = I .. 2 = K.

    >>> anatomical_axes(np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]))
    [2, 0, 1]
    """

    def score(axes: tuple[int, ...]) -> float:
        closeness = sum(abs(direction[row, axis]) for row, axis in enumerate(axes))
        # Between two equally close axes the choice must not depend on how they are stored: a product of two cosines of
        # one axis keeps its value when that axis is flipped.
        tie = sum(direction[row, axis] * direction[(row + 1) % 3, axis] for row, axis in enumerate(axes))
        return closeness + 1e-6 * tie

    return list(max(permutations(range(3)), key=score))


def new_model_axis(sizes: Sequence[int], spacing: Sequence[float], direction: np.ndarray) -> int:
    """Voxel axis (0 = I .. 2 = K) along which a new model cuts a volume into slices by default.

    That is the acquired axis of a stack of slices, else the one from feet to head.

    :param direction: as of ``anatomical_axes``.
    """
    axes = anatomical_axes(direction)
    ordered = [sizes[axis] for axis in axes], [spacing[axis] for axis in axes]
    return axes[acquisition_axis(*ordered) if is_stack(*ordered) else NUMBERS["axial"]]
