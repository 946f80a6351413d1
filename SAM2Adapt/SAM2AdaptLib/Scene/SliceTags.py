"""Slices in which a structure is not present, as the user says, and slices that were filled; see the engine's
``shared.labels.slice_tags``. They are those of the grid that ``SegmentMasks.drawingGrid`` gives.
"""

import slicer
import vtk
from sam2adapt.shared.labels import slice_tags


def declared(segmentationNode, segmentId):
    """All slices that are declared empty of a structure: list of (axis, slice); what cannot be read is left out.

    The axis is None where it is the one that training slices.
    """
    return slice_tags.empty_slices(_text(segmentationNode, segmentId, slice_tags.EMPTY))


def unreadable(segmentationNode, segmentId):
    """The words in the tag of a segment that name no slice."""
    return slice_tags.unreadable(_text(segmentationNode, segmentId, slice_tags.EMPTY))


def empty(segmentationNode, segmentId, axis):
    """The slices along an axis in which a structure is declared empty, in order."""
    return sorted({place for other, place in declared(segmentationNode, segmentId) if other == axis})


def emptyOfAll(segmentationNode, axis):
    """The slices along an axis in which each structure is declared empty, in order.

    :param axis: that which training slices.
    """
    each, ofTraining = [], set()
    for segmentId in segmentationNode.GetSegmentation().GetSegmentIDs():
        each.append(set(empty(segmentationNode, segmentId, axis)))
        ofTraining |= set(empty(segmentationNode, segmentId, None))
    return sorted(ofTraining.union(set.intersection(*each) if each else ()))


def setEmpty(segmentationNode, segmentId, axis, places):
    """Declare a structure empty in these slices along an axis, and in no others along it."""
    others = [(other, place) for other, place in declared(segmentationNode, segmentId) if other != axis]
    _writeEmpty(segmentationNode, segmentId, [*others, *((axis, place) for place in sorted(places))])


def setEmptyOfAll(segmentationNode, axis, places):
    """Make ``emptyOfAll`` these slices; what is declared of single structures in other slices stays."""
    former = set(emptyOfAll(segmentationNode, axis))
    for segmentId in segmentationNode.GetSegmentation().GetSegmentIDs():
        kept = [(other, place) for other, place in declared(segmentationNode, segmentId) if other not in (axis, None)]
        mine = set(empty(segmentationNode, segmentId, axis)) - former | set(places)
        _writeEmpty(segmentationNode, segmentId, [*kept, *((axis, place) for place in sorted(mine))])


def filled(segmentationNode, segmentId, mask):
    """The slices that were filled and have not been corrected since: (axis, slices in order); (None, []) without any.

    :param mask: (K, J, I), the structure as it is now.
    """
    return slice_tags.filled_slices(_text(segmentationNode, segmentId, slice_tags.FILLED), mask)


def setFilled(segmentationNode, segmentId, axis, places, mask):
    """Keep which slices of a structure were filled, in the place of what was kept before.

    :param mask: (K, J, I), the structure after it was filled.
    """
    _write(segmentationNode, segmentId, slice_tags.FILLED, slice_tags.filled_text(axis, places, mask))


def isFilled(segmentationNode):
    """Whether slices of a segment were filled once; takes no time."""
    ids = segmentationNode.GetSegmentation().GetSegmentIDs()
    return any(_text(segmentationNode, segmentId, slice_tags.FILLED) for segmentId in ids)


def _text(segmentationNode, segmentId, tag):
    text = vtk.reference("")
    return str(text) if segmentationNode.GetSegmentation().GetSegment(segmentId).GetTag(tag, text) else ""


def _writeEmpty(segmentationNode, segmentId, pairs):
    _write(segmentationNode, segmentId, slice_tags.EMPTY, slice_tags.empty_text(pairs))


def _write(segmentationNode, segmentId, tag, text):
    segmentation = segmentationNode.GetSegmentation()
    segment = segmentation.GetSegment(segmentId)
    if text:
        segment.SetTag(tag, text)
    else:
        segment.RemoveTag(tag)
    segmentation.InvokeEvent(slicer.vtkSegmentation.SegmentModified, segmentId)
