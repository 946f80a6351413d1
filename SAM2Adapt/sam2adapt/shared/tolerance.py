"""How far two descriptions of a voxel grid may differ, in voxels: one rule for all formats.

Affines are (4, 4) or (3, 3), from voxel indices I, J, K to millimetres; sizes are voxels along I, J, K.
"""

from collections.abc import Sequence
from itertools import product

import numpy as np

#: Largest difference in voxels at the farthest corner, for a shear or between the grids of labels and image.
VOXEL_SHARE = 0.1
#: Smaller differences are rounding (NIfTI stores 32-bit floats) and are not reported.
ROUNDING = 0.01


def right_angled(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Split the (3, 3) part of an affine into the nearest right-angled axes and voxel sizes.

    :return: direction (3, 3), unit vectors of I, J, K as columns, orthogonal to the last digit (polar decomposition);
        spacing (3,), lengths of the columns in mm.
    :raises ValueError: a column is zero or not finite, or the columns lie in one plane.
    """
    matrix = np.asarray(matrix, np.float64)[:3, :3]
    spacing = np.linalg.norm(matrix, axis=0)
    if not (np.isfinite(matrix).all() and (spacing > 0).all()):
        raise ValueError("a voxel axis has no length")
    cosines = matrix / spacing
    left, scale, right = np.linalg.svd(cosines)
    if scale[2] < 1e-3:
        raise ValueError("the voxel axes lie in one plane")
    exact = np.abs(cosines.T @ cosines - np.eye(3)).max() < 1e-12
    return (cosines if exact else left @ right), spacing


def shear(matrix: np.ndarray, size: Sequence[int]) -> float:
    """Distance in voxels between a grid and the nearest right-angled one at the farthest corner; 0 if it is
    right-angled.

    :raises ValueError: as ``right_angled``.
    """
    direction, spacing = right_angled(matrix)
    straight = np.eye(4)
    straight[:3, :3] = direction * spacing
    sheared = np.eye(4)
    sheared[:3, :3] = np.asarray(matrix)[:3, :3]
    return displacement(sheared, straight, size)


def displacement(one: np.ndarray, other: np.ndarray, size: Sequence[int]) -> float:
    """Largest distance between two (4, 4) affines at a corner of the grid, in voxels of the first.

    The corners are those of the outermost voxels, half a voxel beyond their centres, so that a single slice has a
    thickness.

    :raises ValueError: the first is not invertible.
    """
    corners = np.array([(*corner, 1.0) for corner in product(*((-0.5, n - 0.5) for n in size))]).T
    try:
        back = np.linalg.solve(np.asarray(one, np.float64), np.asarray(other, np.float64) @ corners)
    except np.linalg.LinAlgError as error:
        raise ValueError("a voxel axis has no length") from error
    return float(np.linalg.norm((back - corners)[:3], axis=0).max())
