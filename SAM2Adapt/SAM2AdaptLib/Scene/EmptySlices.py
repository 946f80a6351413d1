"""Slices in which a structure is not present, as the user says; kept in a tag of the segment and so saved with it.

A slice is named by its array axis, "K", "J" or "I", and its index along it, from 0.
"""

import re

import slicer
from sam2adapt.shared import slicing_axis

from SAM2AdaptLib.Scene import LabelMaps

TAG = "SAM2Adapt.EmptySlices"  # "K:3 K:17"; earlier versions wrote "3,17", along the axis that training slices
_WORD = re.compile(rf"(?:([{''.join(slicing_axis.ARRAY_AXES)}]):)?(\d+)")


def declared(segmentationNode, segmentId):
    """All slices that are declared empty of a structure: list of (axis, slice); what cannot be read is left out.

    The axis is None where it is the one that training slices.
    """
    return [
        (match[1], int(match[2])) for word in _words(segmentationNode, segmentId) if (match := _WORD.fullmatch(word))
    ]


def unreadable(segmentationNode, segmentId):
    """The words in the tag of a segment that name no slice."""
    return [word for word in _words(segmentationNode, segmentId) if not _WORD.fullmatch(word)]


def onAxis(segmentationNode, segmentId, axis):
    """The slices along an axis in which a structure is declared empty, in order."""
    return sorted({place for other, place in declared(segmentationNode, segmentId) if other == axis})


def ofAll(segmentationNode, axis):
    """The slices along an axis in which each structure is declared empty, in order.

    :param axis: that which training slices.
    """
    each, ofTraining = [], set()
    for segmentId in segmentationNode.GetSegmentation().GetSegmentIDs():
        each.append(set(onAxis(segmentationNode, segmentId, axis)))
        ofTraining |= set(onAxis(segmentationNode, segmentId, None))
    return sorted(ofTraining.union(set.intersection(*each) if each else ()))


def setOnAxis(segmentationNode, segmentId, axis, places):
    """Declare a structure empty in these slices along an axis, and in no others along it."""
    others = [(other, place) for other, place in declared(segmentationNode, segmentId) if other != axis]
    _write(segmentationNode, segmentId, [*others, *((axis, place) for place in sorted(places))])


def setOfAll(segmentationNode, axis, places):
    """Make ``ofAll`` these slices; what is declared of single structures in other slices stays."""
    former = set(ofAll(segmentationNode, axis))
    for segmentId in segmentationNode.GetSegmentation().GetSegmentIDs():
        kept = [(other, place) for other, place in declared(segmentationNode, segmentId) if other not in (axis, None)]
        mine = set(onAxis(segmentationNode, segmentId, axis)) - former | set(places)
        _write(segmentationNode, segmentId, [*kept, *((axis, place) for place in sorted(mine))])


def _words(segmentationNode, segmentId):
    text = LabelMaps.tag(segmentationNode.GetSegmentation().GetSegment(segmentId), TAG)
    return text.replace(",", " ").split()


def _write(segmentationNode, segmentId, pairs):
    segmentation = segmentationNode.GetSegmentation()
    segment = segmentation.GetSegment(segmentId)
    if pairs:
        segment.SetTag(TAG, " ".join(f"{axis}:{place}" if axis else str(place) for axis, place in pairs))
    else:
        segment.RemoveTag(TAG)
    segmentation.InvokeEvent(slicer.vtkSegmentation.SegmentModified, segmentId)
