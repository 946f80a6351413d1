"""What a user shows in a slice: points, scribbles and boxes, for a structure and against it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from ..imaging.volume import Volume
from ..segmenting.slices import SliceStack
from ..shared.errors import SettingsError
from ..shared.protocol import BOX, DRAWN

_TOUCHING = np.ones((3, 3), bool)  # pixels that touch at a corner belong to one piece


@dataclass(frozen=True)
class Gesture:
    """One gesture in one slice.

    :ivar number: the slice of the stack.
    :ivar pixels: (N, 2) rows and columns; of a box two opposite corners.
    :ivar positive: they belong to the structure; else they do not.
    :ivar is_box: whether the structure is in the box somewhere, or, if not positive, nowhere in it.
    """

    number: int
    pixels: np.ndarray
    positive: bool
    is_box: bool = False

    @property
    def corners(self) -> tuple[slice, slice]:
        """Rows and columns from one corner of a box to the other."""
        (top, left), (bottom, right) = self.pixels.min(0), self.pixels.max(0)
        return slice(int(top), int(bottom) + 1), slice(int(left), int(right) + 1)


def read_gestures(entries: Sequence[dict[str, Any]], stack: SliceStack) -> list[list[Gesture]]:
    """The gestures of a request, each cut into the slices that it crosses, that with most of it first.

    What is drawn is cut into its connected pieces, too.

    :param entries: ``kind``, ``positive`` and ``voxels`` (I, J, K) of each.
    :raises SettingsError: a voxel lies outside of the volume, or a gesture has none.
    """
    return [_cut(entry, stack) for entry in entries]


def _cut(entry: dict[str, Any], stack: SliceStack) -> list[Gesture]:
    voxels = np.array(entry["voxels"], np.int64).reshape(-1, 3)
    _check_inside(voxels, stack.volume)
    places = stack.places_of(voxels)
    is_box, positive = entry["kind"] == BOX, entry["positive"]
    if is_box:
        # A box that is drawn in another direction is flat in each slice, or a line.
        low, high = places[:, 0].min(), places[:, 0].max()
        return [Gesture(int(number), places[:, 1:], positive, True) for number in range(low, high + 1)]
    numbers, counts = np.unique(places[:, 0], return_counts=True)
    gestures = []
    for number in numbers[np.argsort(-counts, kind="stable")]:
        pixels = np.unique(places[places[:, 0] == number, 1:], axis=0)
        pieces = _pieces(pixels) if entry["kind"] == DRAWN else [pixels]
        gestures += [Gesture(int(number), piece, positive) for piece in pieces]
    return gestures


def _pieces(pixels: np.ndarray) -> list[np.ndarray]:
    """Pixels (N, 2) in groups that touch, the largest first."""
    corner = pixels.min(0)
    drawn = np.zeros(pixels.max(0) - corner + 1, bool)
    drawn[tuple((pixels - corner).T)] = True
    numbers, count = ndimage.label(drawn, _TOUCHING)
    at = numbers[tuple((pixels - corner).T)]
    return sorted((pixels[at == number] for number in range(1, count + 1)), key=len, reverse=True)


def _check_inside(voxels: np.ndarray, volume: Volume) -> None:
    if not len(voxels):
        raise SettingsError("A gesture has no voxels.", "Click into the volume.")
    outside = ((voxels < 0) | (voxels >= volume.size)).any(1)
    if outside.any():
        place, size = (" x ".join(map(str, row)) for row in (voxels[outside][0].tolist(), volume.size))
        raise SettingsError(
            f"The click at voxel {place.replace(' x ', ', ')} lies outside of '{volume.title}' ({size} voxels).",
            "Click into the volume.",
        )
