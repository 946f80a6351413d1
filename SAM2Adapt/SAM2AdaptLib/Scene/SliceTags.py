"""What is known of single slices of a structure: those that are empty on purpose, and those that were filled.

Both are tags of the segment, so that they are saved, copied and undone with it. A slice is named by the array axis
across it and its number from 0, "K:3", on the grid that ``SegmentMasks.drawingGrid`` gives.
"""

import zlib

import numpy as np
import slicer
import vtk
from sam2adapt.shared.errors import TrainingDataError
from sam2adapt.shared.slicing_axis import ARRAY_AXES
from slicer.i18n import tr as _

EMPTY = "SAM2Adapt.EmptySlices"  # "K:3 K:17"
FILLED = "SAM2Adapt.FilledSlices"  # "K:4:1c8f03a2 K:5:00000000", with a checksum of the voxels


def emptySlices(segmentationNode, segmentId, axis):
    """The slices across an array axis, "K", "J" or "I", in which a structure is declared empty, in order.

    :raises TrainingDataError: the tag cannot be understood.
    """
    return sorted(place for other, place in declared(segmentationNode, segmentId) if other in (axis, None))


def declared(segmentationNode, segmentId):
    """All that is declared empty of a structure: list of (axis, slice).

    The axis is None in scenes of older versions, "3,4,9": there it is the one along which the volume is sliced for
    training.

    :raises TrainingDataError: the tag cannot be understood.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    return [_parsed(word, segment.GetName()) for word in _tag(segment, EMPTY).replace(",", " ").split()]


def setEmptySlices(segmentationNode, segmentId, axis, places):
    """Declare a structure empty in these slices across an axis and in no others across it."""
    others = [pair for pair in declared(segmentationNode, segmentId) if pair[0] not in (axis, None)]
    pairs = [*others, *((axis, place) for place in sorted(places))]
    _setTag(segmentationNode, segmentId, EMPTY, " ".join(f"{name}:{place}" for name, place in pairs))


def setFilledSlices(segmentationNode, segmentId, axis, places, mask):
    """Keep which slices of a structure were filled, in the place of what was kept before.

    :param mask: (K, J, I), the structure after it was filled.
    """
    view = np.moveaxis(mask, ARRAY_AXES.index(axis), 0)
    words = [f"{axis}:{place}:{_checksum(view[place])}" for place in sorted(places)]
    _setTag(segmentationNode, segmentId, FILLED, " ".join(words))


def filledSlices(segmentationNode, segmentId, mask):
    """The slices that were filled and have not been corrected since: (axis, sorted slices); (None, []) without any.

    :param mask: (K, J, I), the structure as it is now.
    """
    axis, places = None, []
    for word in _tag(segmentationNode.GetSegmentation().GetSegment(segmentId), FILLED).split():
        axis, place, checksum = word.split(":")
        view = np.moveaxis(mask, ARRAY_AXES.index(axis), 0)
        if int(place) < len(view) and _checksum(view[int(place)]) == checksum:
            places.append(int(place))
    return axis, places


def _parsed(word, name):
    axis, _colon, number = word.rpartition(":")
    if not number.isdecimal() or axis not in ("", *ARRAY_AXES):
        raise TrainingDataError(
            _("The empty slices of segment '{name}' are given as '{word}', which is no number.").format(
                name=name, word=word
            ),
            _("Write numbers of slices with commas between them, as in 3,4,9."),
        )
    return axis or None, int(number)


def _tag(segment, name):
    text = vtk.mutable("")
    return str(text) if segment.GetTag(name, text) else ""


def _setTag(segmentationNode, segmentId, name, text):
    segmentation = segmentationNode.GetSegmentation()
    segment = segmentation.GetSegment(segmentId)
    if text:
        segment.SetTag(name, text)
    else:
        segment.RemoveTag(name)
    segmentation.InvokeEvent(slicer.vtkSegmentation.SegmentModified, segmentId)


def _checksum(plane):
    return f"{zlib.crc32(np.packbits(np.ascontiguousarray(plane) != 0)):08x}"
