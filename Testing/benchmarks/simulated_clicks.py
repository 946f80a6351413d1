"""Simulated clicks: where a user would click next, and what a slice is worth then.

The protocol is that of papers on interactive segmentation.

A click is in the centre of the largest piece of what is wrong: the pixel that is farthest from its edge. Where a
structure is missing it is a positive click for it; where nothing should be, a negative one for the structure there.
"""

from dataclasses import dataclass

import numpy as np
from sam2adapt.correcting.spread import Click
from scipy import ndimage


@dataclass(frozen=True)
class Error:
    """A simulated click: ``value`` of the structure, and what the user gives."""

    value: int
    click: Click


def next_click(labels: np.ndarray, truth: np.ndarray) -> Error | None:
    """The click for the largest error of a slice (H, W); None if there is no error."""
    best, place = 0, None
    for value in np.unique(np.concatenate([labels, truth], None)).tolist():
        if not value:
            continue
        for positive, wrong in (
            (True, (truth == value) & (labels != value)), (False, (labels == value) & (truth == 0))
        ):  # fmt: skip
            pieces, count = ndimage.label(wrong)
            sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
            if count and sizes.max() > best:
                best, place = sizes.max(), (value, positive, pieces == sizes.argmax() + 1)
    if place is None:
        return None
    value, positive, piece = place
    depth = ndimage.distance_transform_edt(np.pad(piece, 1))[1:-1, 1:-1]
    return Error(value, Click(np.array([np.unravel_index(depth.argmax(), depth.shape)]), positive))


def obey(labels: np.ndarray, value: int, mask: np.ndarray) -> np.ndarray:
    """Labels after the mask of a structure was corrected: it takes pixels from others, as Slicer's editor does."""
    changed = np.where((labels == value) & ~mask, 0, labels)
    changed[mask] = value
    return changed.astype(labels.dtype)


def margin_of(logits: np.ndarray, number: int) -> np.ndarray:
    """Logit of a class less the largest of the others: (H, W) from (K, H, W)."""
    return logits[number] - np.delete(logits, number, 0).max(0)


def slice_dice(labels: np.ndarray, truth: np.ndarray, values: list[int]) -> float:
    """Mean Dice over the structures of a slice."""
    pairs = [(labels == value, truth == value) for value in values]
    return float(np.mean([2 * (a & b).sum() / max(1, a.sum() + b.sum()) for a, b in pairs]))


def worst_slice(labels: np.ndarray, truth: np.ndarray) -> tuple[int, list[int]]:
    """The slice of (N, H, W) with the lowest Dice, and the structures that count in it; of those with any truth."""
    rows = []
    for number in np.flatnonzero(truth.any((1, 2))).tolist():
        values = [int(v) for v in np.unique(truth[number]) if v]
        rows.append((slice_dice(labels[number], truth[number], values), number, values))
    return min(rows)[1:]
