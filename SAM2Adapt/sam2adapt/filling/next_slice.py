"""Which slice to draw next: the one that would save most of what is expected to be wrong."""

from itertools import pairwise

import numpy as np

from .drawings import Drawings

_LOCAL = 0.5  # of how hard a slice is to fill; the rest is the mean of its gap


def doubt_about_ends(drawings: Drawings, axes: list[int]) -> np.ndarray:
    """(S, N) how many voxels of a slice may be wrong because nobody knows where a structure begins and ends.

    Between a slice in which it is drawn and one in which it is empty, a structure may end anywhere, and is filled up to
    the middle. One that is drawn nowhere yet lies between two slices in which it is empty, the likelier the more ways
    there are for it to lie between them; its size is not known, and it counts as of one voxel.

    :param axes: that slices are drawn along, the main one first. Where a structure is drawn along two, ends are seen.
    """
    masks = np.moveaxis(drawings.masks, axes[0] + 1, 1)
    result = np.zeros(masks.shape[:2])
    for index, own in enumerate(drawings.slices):
        if any(own[axis] for axis in axes[1:]):
            continue
        sizes = {place: int(masks[index, place].sum()) for place in own[axes[0]]}
        gaps = [(low, high, (np.arange(low + 1, high) - low) / (high - low)) for low, high in pairwise(sizes)]
        ways = sum((high - low) ** 2 for low, high, _ in gaps)
        for low, high, share in gaps:
            if not any(sizes.values()):
                result[index, low + 1 : high] = (high - low) ** 2 / ways * 2 * share * (1 - share)
            elif bool(sizes[low]) != bool(sizes[high]):
                result[index, low + 1 : high] = np.minimum(share, 1 - share) * max(sizes[low], sizes[high])
    return result


def next_slice(wrong: np.ndarray, drawn: list[int]) -> int | None:
    """The slice that would save most of what is expected to be wrong, if it were drawn.

    What is wrong in a slice grows as the error of a smooth curve that is interpolated between the drawn slices on both
    sides: by a factor of four where the gap doubles.
    """
    best, found = 0.0, None
    for low, high in pairwise(drawn):
        places = np.arange(low + 1, high)
        part = wrong[low + 1 : high] / _bend(places, low, high)
        difficulty = _LOCAL * part + (1 - _LOCAL) * part.mean() if len(part) else part
        for place in places:
            parts = _bend(places, low, place) + _bend(places, place, high)
            saved = float((difficulty * (_bend(places, low, high) - parts)).sum())
            if saved > best:
                best, found = saved, int(place)
    if found is None and wrong.any():
        # Every slice is drawn, though not for every structure.
        found = int(wrong.argmax())
    return found


def _bend(places: np.ndarray, low: int, high: int) -> np.ndarray:
    """How far a curve may bend away between two drawn slices, in slices squared; 0 outside."""
    return np.maximum(0, (places - low) * (high - places))
