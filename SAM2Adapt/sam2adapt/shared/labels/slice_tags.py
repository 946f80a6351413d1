"""What a segment of Slicer keeps of single slices, in its tags: those that are empty on purpose, and those filled.

A slice is named by its array axis, "K", "J" or "I", and its index along it, from 0: "K:3". The tags are saved in a
``.seg.nrrd``, and copied and undone with the segment.
"""

import re
import zlib
from collections.abc import Iterable

import numpy as np

from ..slicing_axis import ARRAY_AXES

EMPTY = "SAM2Adapt.EmptySlices"  # "K:3 K:17"; earlier versions wrote "3,17", along the axis that training slices
FILLED = "SAM2Adapt.FilledSlices"  # "K:4:1c8f03a2 K:5:00000000", with a checksum of the voxels
_FILLED_WORD = re.compile(rf"([{''.join(ARRAY_AXES)}]):(\d+):([0-9a-f]{{8}})")
_WORD = re.compile(rf"(?:([{''.join(ARRAY_AXES)}]):)?(\d+)")


def empty_slices(text: str) -> list[tuple[str | None, int]]:
    """The slices that a tag declares empty, (axis, index); the axis is None where it is the one that training slices.

    What cannot be read is left out.
    """
    return [(match[1], int(match[2])) for word in _words(text) if (match := _WORD.fullmatch(word))]


def unreadable(text: str) -> list[str]:
    """The words of a tag of empty slices that name none."""
    return [word for word in _words(text) if not _WORD.fullmatch(word)]


def empty_text(pairs: Iterable[tuple[str | None, int]]) -> str:
    """The tag that declares slices empty, (axis, index)."""
    return " ".join(f"{axis}:{place}" if axis else str(place) for axis, place in pairs)


def filled_slices(text: str, mask: np.ndarray) -> tuple[str | None, list[int]]:
    """The slices that a tag calls filled and that have not been corrected since, as axis and indices in order.

    :param mask: (K, J, I) the structure as it is now.
    :return: (None, []) without any.
    """
    axis, places = None, []
    for word in text.split():
        if match := _FILLED_WORD.fullmatch(word):
            axis, place = match[1], int(match[2])
            view = np.moveaxis(mask, ARRAY_AXES.index(axis), 0)
            if place < len(view) and _checksum(view[place]) == match[3]:
                places.append(place)
    return (axis, places) if places else (None, [])


def filled_text(axis: str, places: Iterable[int], mask: np.ndarray) -> str:
    """The tag that calls slices filled.

    :param mask: (K, J, I) the structure after it was filled.
    """
    view = np.moveaxis(mask, ARRAY_AXES.index(axis), 0)
    return " ".join(f"{axis}:{place}:{_checksum(view[place])}" for place in sorted(places))


def _checksum(plane: np.ndarray) -> str:
    return f"{zlib.crc32(np.packbits(np.ascontiguousarray(plane) != 0)):08x}"


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()
