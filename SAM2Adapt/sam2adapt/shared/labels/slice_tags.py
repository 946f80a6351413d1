"""What a segment of Slicer keeps of single slices, in its tags: those that are empty on purpose, and those filled.

A slice is named by its array axis, "K", "J" or "I", and its index along it, from 0: "K:3". The tags are saved in a
``.seg.nrrd``, and copied and undone with the segment.
"""

import re

from ..slicing_axis import ARRAY_AXES

EMPTY = "SAM2Adapt.EmptySlices"  # "K:3 K:17"; earlier versions wrote "3,17", along the axis that training slices
FILLED = "SAM2Adapt.FilledSlices"  # "K:4:1c8f03a2 K:5:00000000", with a checksum of the voxels
_WORD = re.compile(rf"(?:([{''.join(ARRAY_AXES)}]):)?(\d+)")


def empty_slices(text: str) -> list[tuple[str | None, int]]:
    """The slices that a tag declares empty, (axis, index); the axis is None where it is the one that training slices.

    What cannot be read is left out.
    """
    return [(match[1], int(match[2])) for word in _words(text) if (match := _WORD.fullmatch(word))]


def unreadable(text: str) -> list[str]:
    """The words of a tag of empty slices that name none."""
    return [word for word in _words(text) if not _WORD.fullmatch(word)]


def _words(text: str) -> list[str]:
    return text.replace(",", " ").split()
