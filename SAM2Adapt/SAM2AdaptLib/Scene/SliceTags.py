"""Slices that a structure declares empty, and slices that were filled: tags of its segment, see the engine's
``shared.labels.slice_tags``. Slices are those of the grid that ``SegmentMasks.drawingGrid`` gives.
"""

import zlib

import numpy as np
import slicer
import vtk
from sam2adapt.shared.errors import DrawingError
from sam2adapt.shared.labels.slice_tags import EMPTY, FILLED, empty_slices
from sam2adapt.shared.slicing_axis import ARRAY_AXES
from slicer.i18n import tr as _


def declared(segmentationNode, segmentId):
    """All that is declared empty of a structure: list of (axis, slice); the axis as of ``empty_slices``.

    :raises DrawingError: the tag cannot be understood.
    """
    segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
    try:
        return empty_slices(_tag(segment, EMPTY))
    except ValueError as error:
        raise DrawingError(
            _("The empty slices of segment '{name}' are given as '{word}', which is no number.").format(
                name=segment.GetName(), word=error
            ),
            _("Write numbers of slices with commas between them, as in 3,4,9."),
        ) from error


def emptySlices(segmentationNode, segmentId, axis):
    """The slices across an array axis, "K", "J" or "I", in which a structure is declared empty, in order.

    Those that are declared without an axis, of any segment, hold for all of them.

    :raises DrawingError: as ``declared``.
    """
    own = {place for other, place in declared(segmentationNode, segmentId) if other == axis}
    return sorted(own | _ofAll(segmentationNode))


def setEmptySlices(segmentationNode, segmentId, axis, places):
    """Declare a structure empty in these slices across an axis, and in no others of them."""
    ofAll, places = _ofAll(segmentationNode), set(places)
    if ofAll - places:
        for each in segmentationNode.GetSegmentation().GetSegmentIDs():
            pairs = declared(segmentationNode, each)
            _setEmpty(segmentationNode, each, [pair for pair in pairs if pair[0] or pair[1] in places])
    pairs = [pair for pair in declared(segmentationNode, segmentId) if pair[0] != axis]
    _setEmpty(segmentationNode, segmentId, [*pairs, *((axis, place) for place in sorted(places - ofAll))])


def setEmptyOfAll(segmentationNode, places):
    """Declare that slices hold nothing of any structure, counted along the axis of training."""
    for number, segmentId in enumerate(segmentationNode.GetSegmentation().GetSegmentIDs()):
        pairs = [pair for pair in declared(segmentationNode, segmentId) if pair[0]]
        new = [(None, place) for place in sorted(places)] if number == 0 else []
        _setEmpty(segmentationNode, segmentId, [*new, *pairs])


def setFilledSlices(segmentationNode, segmentId, axis, places, mask):
    """Keep which slices of a structure were filled, in the place of what was kept before.

    :param mask: (K, J, I), the structure after it was filled.
    """
    view = np.moveaxis(mask, ARRAY_AXES.index(axis), 0)
    words = [f"{axis}:{place}:{_checksum(view[place])}" for place in sorted(places)]
    _setTag(segmentationNode, segmentId, FILLED, " ".join(words))


def filledSlices(segmentationNode, segmentId, mask):
    """The slices that were filled and have not been corrected since: (axis, slices in order); (None, []) without any.

    :param mask: (K, J, I), the structure as it is now.
    """
    axis, places = None, []
    for word in _tag(segmentationNode.GetSegmentation().GetSegment(segmentId), FILLED).split():
        axis, place, checksum = word.split(":")
        view = np.moveaxis(mask, ARRAY_AXES.index(axis), 0)
        if int(place) < len(view) and _checksum(view[int(place)]) == checksum:
            places.append(int(place))
    return (axis, places) if places else (None, [])


def isFilled(segmentationNode):
    """Whether slices of a segment were filled once; takes no time."""
    segmentation = segmentationNode.GetSegmentation()
    return any(_tag(segmentation.GetSegment(segmentId), FILLED) for segmentId in segmentation.GetSegmentIDs())


def _ofAll(segmentationNode):
    ids = segmentationNode.GetSegmentation().GetSegmentIDs()
    return {place for segmentId in ids for axis, place in declared(segmentationNode, segmentId) if axis is None}


def _setEmpty(segmentationNode, segmentId, pairs):
    text = " ".join(f"{axis}:{place}" if axis else str(place) for axis, place in pairs)
    _setTag(segmentationNode, segmentId, EMPTY, text)


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
