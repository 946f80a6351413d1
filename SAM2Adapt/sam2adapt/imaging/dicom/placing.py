"""Labels on the voxel grid of another image whose voxels are the same: larger, cut out, turned or mirrored."""

import numpy as np

from ...shared.errors import GeometryError
from .geometry import Grid

_OFF_GRID = 0.1  # voxels


def place_on_grid(path: str, labels: np.ndarray, native: Grid, grid: Grid) -> np.ndarray:
    """Labels (K, J, I) on another grid whose voxels are the same: larger, cut out, turned or mirrored.

    :param path: of the labels, for messages. :param native: their grid. :param grid: the other one.
    :raises GeometryError: the grids' voxels are not the same, or labels lie outside.
    """
    step = np.linalg.inv(grid.affine) @ native.affine
    corners = np.stack(np.meshgrid(*((0, size - 1) for size in native.size), [1], indexing="ij"), -1).reshape(-1, 4)
    ends = corners @ step.T
    turned = np.rint(step[:3, :3])
    exact = ends[0, :3] + corners[:, :3] @ turned.T
    off = max(np.abs(ends[:, :3] - exact).max(), np.abs(ends[0] - np.rint(ends[0])).max())
    moving = np.array(native.size) > 1
    if off > _OFF_GRID or (np.abs(turned[:, moving]).sum(axis=0) != 1).any():
        sizes = [" x ".join(map(str, one.size)) for one in (native, grid)]
        spacings = [" x ".join(f"{mm:.4g}" for mm in one.spacing) for one in (native, grid)]
        raise GeometryError(
            f"The segmentation {path} ({sizes[0]} voxels of {spacings[0]} mm) does not lie on the voxels of {grid.name}"
            f" ({sizes[1]}, {spacings[1]} mm): {off:.2f} voxels off.",
            "Choose the series on which it was drawn, or resample it in Slicer.",
        )
    place = np.argwhere(labels)  # K, J, I
    target = np.rint(place[:, ::-1] @ turned.T + np.rint(ends[0, :3])).astype(int)
    outside = ((target < 0) | (target >= grid.size)).any(axis=1)
    if outside.any():
        raise GeometryError(
            f"{outside.sum()} of {len(target)} voxels of the segmentation {path} lie outside {grid.name}.",
            "Choose the series on which it was drawn.",
        )
    result = np.zeros(grid.size[::-1], labels.dtype)
    result[tuple(target[:, ::-1].T)] = labels[tuple(place.T)]
    return result
