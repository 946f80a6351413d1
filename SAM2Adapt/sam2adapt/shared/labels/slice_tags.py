"""What a segment of Slicer keeps of single slices, in its tags: those that are empty on purpose, and those filled.

A slice is named by the array axis across it and its number from 0: "K:3". The tags are saved in a ``.seg.nrrd``, and
copied and undone with the segment.
"""

from ..slicing_axis import ARRAY_AXES

EMPTY = "SAM2Adapt.EmptySlices"  # "K:3 K:17"
FILLED = "SAM2Adapt.FilledSlices"  # "K:4:1c8f03a2 K:5:00000000", with a checksum of the voxels


def empty_slices(text: str) -> list[tuple[str | None, int]]:
    """The slices that a tag declares empty: (axis, number).

    Older versions wrote "3,4,9", slices along the axis on which the volume is cut for training: there the axis is None.

    :raises ValueError: a part of the text is no slice; its message is that part.
    """
    return [_slice(word) for word in text.replace(",", " ").split()]


def _slice(word: str) -> tuple[str | None, int]:
    axis, _, number = word.rpartition(":")
    if not number.isdecimal() or axis not in ("", *ARRAY_AXES):
        raise ValueError(word)
    return axis or None, int(number)
