"""The grid on which one direction's slices are filled: cropped round the drawings, square pixels, not too many."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .drawings import smallest_box

_MARGIN = 0.25  # of the drawings' extent
_LEAST_MARGIN = 8  # pixels
_LARGEST = 256  # pixels a side
_FEW = 64  # pixels a side: an outline in so few is told by parts of them, so they are halved


@dataclass(frozen=True)
class PlaneGrid:
    """Where the working pixels of a direction lie.

    :ivar box: rows and columns of the volume's slices.
    :ivar size: (H, W) of the working grid.
    :ivar pixel: side of a working pixel in mm.
    """

    box: tuple[slice, slice]
    size: tuple[int, int]
    pixel: float

    def holds(self, drawn: np.ndarray) -> bool:
        """Whether a mask (H, W) of the whole slice lies inside, so that the grid need not be made anew."""
        inside = drawn.copy()
        inside[self.box] = False
        return not inside.any()

    def to_work(self, slice_: np.ndarray) -> np.ndarray:
        """A slice (H, W) of the volume, or a mask, on the working grid; a mask stays one."""
        part = np.ascontiguousarray(slice_[self.box])
        if part.shape == self.size:
            return part
        tensor = torch.from_numpy(part.astype(np.float32))[None, None]
        smaller = F.interpolate(tensor, self.size, mode="bilinear", align_corners=False, antialias=True)[0, 0].numpy()
        return smaller > 0.5 if slice_.dtype == bool else smaller

    def to_volume(self, maps: np.ndarray) -> np.ndarray:
        """Maps (S, h, w) of the working grid on the pixels of the box; a map that is -inf throughout stays so."""
        size = tuple(part.stop - part.start for part in self.box)
        if maps.shape[1:] == size:
            return maps
        result = np.full((len(maps), *size), -np.inf, np.float32)
        # Interpolation multiplies by 0, which makes NaN of -inf.
        said = np.isfinite(maps).any((1, 2))
        if said.any():
            tensor: Tensor = torch.from_numpy(maps[said])[None]
            result[said] = F.interpolate(tensor, size, mode="bilinear", align_corners=False)[0].numpy()
        return result


def make_grid(drawn: np.ndarray, spacing: tuple[float, float]) -> PlaneGrid:
    """A grid round what is drawn (H, W) in any slice; coarser than the slices where they are large, finer where small.

    :param spacing: mm along the slices' rows and columns.
    """
    ranges = []
    for part, length in zip(smallest_box(drawn), drawn.shape, strict=True):
        margin = max(_LEAST_MARGIN, round(_MARGIN * (part.stop - part.start)))
        ranges.append(slice(max(0, part.start - margin), min(length, part.stop + margin)))
    extent = [(part.stop - part.start) * mm for part, mm in zip(ranges, spacing, strict=True)]
    pixel = max(min(spacing), max(extent) / _LARGEST)
    if pixel < 1.25 * min(spacing) and max(spacing) < 1.25 * min(spacing):
        size = [part.stop - part.start for part in ranges]
    else:
        size = [max(8, round(length / pixel)) for length in extent]
    if max(size) <= _FEW:
        size, pixel = [2 * n for n in size], pixel / 2
    return PlaneGrid(tuple(ranges), tuple(size), pixel)
