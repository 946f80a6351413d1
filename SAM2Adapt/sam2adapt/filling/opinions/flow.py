"""Carry drawings from slice to slice along the optical flow of the image.

The flow between each pair of consecutive slices depends on the image alone, so it is computed once a volume.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from skimage.registration import optical_flow_ilk
from skimage.transform import resize
from torch.nn import functional as F

_LARGEST = 128  # pixels a side for the flow, which is smooth
_RADIUS = 5
_WARPS = 3


class SliceFlow:
    """Optical flow between consecutive slices of a stack, computed where it is needed.

    :param images: (N, H, W) float32, grey levels scaled to about -1 to 1.
    """

    def __init__(self, images: np.ndarray):
        self._images = images
        self._small = _shrunk(images)
        self._fields: dict[tuple[int, int], torch.Tensor] = {}
        self._base = _identity(images.shape[1:])

    def prepare(self, pairs: Iterable[tuple[int, int]], tell: Callable[[float], None] | None = None) -> None:
        """Compute the flow of (target, source) slices.

        One after the other: it is made of many small steps in Python, in which threads only wait for each other.

        :param tell: is told the share that is done; may raise to stop.
        """
        missing = [pair for pair in dict.fromkeys(pairs) if pair not in self._fields]
        for number, pair in enumerate(missing):
            self._fields[pair] = self._compute(pair)
            if tell:
                tell((number + 1) / len(missing))

    def carry(self, maps: torch.Tensor, source: int, target: int) -> torch.Tensor:
        """Warp maps (S, H, W) of the source slice to the slice beside it."""
        if (target, source) not in self._fields:
            self.prepare([(target, source)])
        field, size = self._fields[target, source], self._images.shape[1:]
        if tuple(field.shape[-2:]) != size:
            field = F.interpolate(field, size=size, mode="bilinear", align_corners=True)
        grid = self._base + field[0].permute(1, 2, 0)
        return F.grid_sample(maps[None], grid[None], padding_mode="border", align_corners=True)[0]

    def _compute(self, pair: tuple[int, int]) -> torch.Tensor:
        target, source = pair
        images = self._small[target], self._small[source]
        shift = optical_flow_ilk(*images, radius=_RADIUS, num_warp=_WARPS, prefilter=False)
        height, width = self._small.shape[1:]
        # grid_sample measures from -1 to 1, x before y.
        scaled = np.stack([shift[1] * 2 / max(width - 1, 1), shift[0] * 2 / max(height - 1, 1)])
        return torch.from_numpy(scaled.astype(np.float32))[None]


def _shrunk(images: np.ndarray) -> np.ndarray:
    shrink = min(1.0, _LARGEST / max(images.shape[1:]))
    size = tuple(max(8, round(n * shrink)) for n in images.shape[1:])
    if size == images.shape[1:]:
        return images
    return np.stack([resize(image, size, anti_aliasing=True) for image in images]).astype(np.float32)


def _identity(size: tuple[int, ...]) -> torch.Tensor:
    rows, columns = (torch.linspace(-1, 1, n) for n in size)
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    return torch.stack([x, y], -1)
