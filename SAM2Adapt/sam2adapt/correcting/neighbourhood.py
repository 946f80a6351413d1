"""What a click tells about the pixels around it, as numbers that a small network weighs (``spread.py``).

Distances count in units of the reach of a click: how far it lies from the nearest pixel that is as it wants already.
The centre of a large error has a long reach and that of a small one a short one, so the scale of the error does not
matter.
"""

from dataclasses import dataclass

import numpy as np
from scipy import ndimage
from skimage.graph import MCP_Geometric

FEATURES = 16
_SMOOTHING = 0.7  # pixels
_SHORTEST, _LONGEST = 1.0, 16.0  # reach, pixels
_WINDOW = 7  # reaches around a click that it can change
_GREY_STEP = 0.05  # change of the grey level, of the range 0 to 1, that counts as one more pixel of length
_MARGIN_STEP = 2.0  # the same for the model's margin
_MOST_MARGIN = 8.0


@dataclass
class Slice:
    """One slice, as a click sees it.

    :ivar grey: (C, H, W) float32, 0 to 1.
    :ivar margin: (H, W) float32, the model's logit of the structure less the largest of the other classes.
    :ivar mask: (H, W) bool, the structure as it is now.
    :ivar is_known: whether the margin is a model's; else it is that of ``margin_of_mask``.
    """

    grey: np.ndarray
    margin: np.ndarray
    mask: np.ndarray
    is_known: bool = True

    def smoothed(self) -> np.ndarray:
        """(C, H, W) grey levels with less noise."""
        return ndimage.gaussian_filter(self.grey, (0, _SMOOTHING, _SMOOTHING))


def margin_of_mask(mask: np.ndarray) -> np.ndarray:
    """A margin (H, W) where no model knows the structure: the signed distance to the outline, in pixels."""
    inside, outside = (_distance(side) for side in (mask, ~mask))
    return np.clip(inside - outside, -_MOST_MARGIN, _MOST_MARGIN).astype(np.float32)


def consistent(margin: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The margin with its sign turned where the mask is not as the model has it: drawn, cleaned or clicked."""
    return np.where((margin > 0) == mask, margin, -margin)


def window_of(seeds: np.ndarray, reach: float, shape: tuple[int, int]) -> tuple[slice, slice]:
    """The part of a slice of ``shape`` that a click can change; ``seeds``: (N, 2) rows and columns."""
    return _around(seeds, int(np.ceil(_WINDOW * reach)) + 1, shape)


def _around(seeds: np.ndarray, pixels: int, shape: tuple[int, int]) -> tuple[slice, slice]:
    low, high = seeds.min(0) - pixels, seeds.max(0) + pixels + 1
    return slice(max(0, low[0]), min(shape[0], high[0])), slice(max(0, low[1]), min(shape[1], high[1]))


def reach_of(mask: np.ndarray, seeds: np.ndarray, positive: bool) -> float:
    """Pixels from a click to the nearest pixel that is as it wants: structure if ``positive``, else not."""
    window = _around(seeds, int(_LONGEST), mask.shape)  # what is farther away counts as far as this
    at = tuple((seeds - [window[0].start, window[1].start]).T)
    wanted = mask[window] == positive
    return float(np.clip(_distance(~wanted)[at].min(), _SHORTEST, _LONGEST))


def features(part: Slice, grey: np.ndarray, seeds: np.ndarray, positive: bool, reach: float) -> np.ndarray:
    """Describe all pixels of a part of a slice: (FEATURES, H, W) float32.

    :param grey: (C, H, W), smoothed.
    :param seeds: (N, 2) rows and columns of the clicked pixels in the part.
    """
    sign = 1 if positive else -1
    margin = np.clip(sign * part.margin, -_MOST_MARGIN, _MOST_MARGIN)
    at = tuple(seeds.T)
    level = np.median(grey[:, at[0], at[1]], axis=1)[:, None, None]
    contrast = np.abs(grey - level).max(0)
    here = float(np.median(margin[at]))
    costs = 1 + contrast / _GREY_STEP + np.maximum(here - margin, 0) / _MARGIN_STEP
    geodesic = _cheapest(costs, seeds) / reach
    straight = _distance(_unseeded(margin.shape, at)) / reach
    wanted = part.mask if positive else ~part.mask
    depth = np.minimum(_distance(~wanted), 99) / reach
    fit, apart = _fit(grey, wanted)
    described = (
        margin / 4,
        here / 4,
        np.tanh(margin - here),
        np.exp(-straight),
        np.minimum(straight, 8) / 4,
        np.exp(-geodesic / 4),
        np.minimum(geodesic, 40) / 10,
        np.minimum(contrast, 0.5) * 4,
        np.minimum(depth, 4),
        fit,
        float(np.median(fit[at])),
        fit * apart / 2,
        apart / 2,
        np.log(reach),
        sign,
        float(part.is_known),
    )
    return np.stack([np.broadcast_to(one, margin.shape) for one in described]).astype(np.float32)  # fmt: skip


def _unseeded(shape: tuple[int, ...], at: tuple[np.ndarray, ...]) -> np.ndarray:
    free = np.ones(shape, bool)
    free[at] = False
    return free


def _distance(mask: np.ndarray) -> np.ndarray:
    """Pixels from each pixel of a mask to the nearest one outside of it; far away where there is none."""
    return ndimage.distance_transform_edt(mask) if not mask.all() else np.full(mask.shape, 99.0)


def _cheapest(costs: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    reached, _ = MCP_Geometric(costs).find_costs([tuple(seed) for seed in seeds.tolist()])
    return reached


def _fit(grey: np.ndarray, wanted: np.ndarray) -> tuple[np.ndarray, float]:
    """How much more each pixel looks like those that are as the click wants than like the others, -1 to 1.

    :return: that, and by how many of their spreads the grey levels of the two differ, 0 to 4.
    """
    if wanted.all() or not wanted.any():
        return np.zeros(wanted.shape), 0.0
    sides = [grey[:, side] for side in (wanted, ~wanted)]
    levels = [np.median(side, axis=1)[:, None] for side in sides]
    spreads = [np.median(np.abs(side - level), axis=1) for side, level in zip(sides, levels, strict=True)]
    apart = np.abs(levels[0] - levels[1])[:, 0]
    same, other = (np.abs(grey - level[:, None]).max(0) for level in levels)
    fit = (other - same) / (other + same + 0.02)
    return fit, float(np.minimum(apart / (spreads[0] + spreads[1] + 0.01), 4).max())
