"""How far a click spreads: a small network that learnt from simulated clicks where others would be needed, too.

Its weights come from ``Testing/benchmarks/clicks.py --fit``. Whatever they are, the clicked pixels obey, and what
changes is one piece around them.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
from scipy import ndimage

from .neighbourhood import Slice, consistent, features, reach_of, window_of

_WEIGHTS = "spread.json"
HIDDEN = 24
CAUTION = 0.8  # log odds; a voxel that is removed in error costs more Dice than one that is added


@dataclass(frozen=True)
class Click:
    """A point or a scribble.

    :ivar pixels: (N, 2) rows and columns.
    :ivar positive: they belong to the structure; else they do not.
    """

    pixels: np.ndarray
    positive: bool


def spread(part: Slice, click: Click) -> np.ndarray:
    """The mask (H, W) after a click."""
    changed, (window, region) = part.mask.copy(), changes(part, click)
    changed[window][region] = click.positive
    return changed


def changes(part: Slice, click: Click) -> tuple[tuple[slice, slice], np.ndarray]:
    """A window of the slice, and (h, w) bool, its pixels that a click changes; those clicked are always among them."""
    reach = reach_of(part.mask, click.pixels, click.positive)
    window = window_of(click.pixels, reach, part.mask.shape)
    seeds = click.pixels - [window[0].start, window[1].start]
    inside = Slice(part.grey[:, *window], part.margin[window], part.mask[window], part.is_known)
    inside.margin = consistent(inside.margin, inside.mask)
    described = features(inside, inside.smoothed(), seeds, click.positive, reach)
    candidates = inside.mask != click.positive
    region = candidates & (chance(described, weights()) > (0 if click.positive else CAUTION))
    seeded = np.zeros_like(region)
    seeded[tuple(seeds.T)] = True
    pieces, _ = ndimage.label(region | seeded)
    touched = np.unique(pieces[seeded])
    return window, seeded | (np.isin(pieces, touched) & region)


def chance(described: np.ndarray, flat: np.ndarray) -> np.ndarray:
    """Log odds (H, W) that a pixel is as the click wants.

    :param described: (F, H, W) features; ``flat``: all weights.
    """
    first, bias, second, last = unpacked(flat, len(described))
    hidden = np.maximum(np.tensordot(first, described, 1) + bias[:, None, None], 0)
    return np.tensordot(second, hidden, 1) + last


def unpacked(flat: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The weights of the two layers: (N, F), (N,), (N,) and a number."""
    ends = np.cumsum([HIDDEN * count, HIDDEN, HIDDEN])
    first, bias, second, last = np.split(flat, ends)
    return first.reshape(HIDDEN, count), bias, second, last[0]


@cache
def weights() -> np.ndarray:
    """All weights of the network, float32."""
    return np.array(json.loads(resources.files(__package__).joinpath(_WEIGHTS).read_text())["weights"], np.float32)
