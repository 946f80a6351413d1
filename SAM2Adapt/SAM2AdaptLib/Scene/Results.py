"""Which nodes are results of a model, of which volume, and whether anyone has changed them since.

This is kept in the nodes, so that it is saved with the scene.
"""

import slicer

from SAM2AdaptLib.Scene import LabelMaps, Volumes

_MODEL = "SAM2Adapt.Model"  # attribute of a segmentation: name of the model of the last result in it
_COMPLETE = "SAM2Adapt.Complete"  # attribute of a segmentation that began as a result of a model
_TRUST = "SAM2Adapt.Trust"  # attribute of a segmentation: how far to trust the last result in it
_CREATED = "SAM2Adapt.Created"  # attribute of a segmentation that a run made
_CONTENTS = "SAM2Adapt.Contents"  # tag of a segment: its ``LabelMaps.contents`` at the end of the run
_VOLUME_ROLE = "SAM2Adapt.UncertaintyOf"  # reference from a volume of uncertainty to the image


def mark(segmentationNode, model, names, isNew):
    """Note that segments are the result of a model.

    :param model: name of the model.
    :param names: names of these segments.
    :param isNew: whether the run made the node; others belong to the user.
    """
    segmentationNode.SetAttribute(_MODEL, model)
    segmentationNode.RemoveAttribute(_TRUST)
    if isNew:
        segmentationNode.SetAttribute(_CREATED, "1")
    segmentation = segmentationNode.GetSegmentation()
    ids = [i for i in segmentation.GetSegmentIDs() if segmentation.GetSegment(i).GetName() in names]
    for segmentId, contents in LabelMaps.contents(segmentation, ids).items():
        segmentation.GetSegment(segmentId).SetTag(_CONTENTS, contents)


def modelOf(segmentationNode):
    """Name of the model whose result is in a segmentation; "" if there is none."""
    return segmentationNode.GetAttribute(_MODEL) or ""


def isComplete(segmentationNode):
    """Whether a segmentation is about the whole volume, because a model made it or began it."""
    return bool(modelOf(segmentationNode) or segmentationNode.GetAttribute(_COMPLETE))


def markComplete(segmentationNode):
    """Note that a segmentation that was loaded is about the whole volume."""
    segmentationNode.SetAttribute(_COMPLETE, "1")


def setTrust(segmentationNode, text):
    """Keep sentences that say how far to trust the last result in a segmentation."""
    segmentationNode.SetAttribute(_TRUST, text)


def trust(segmentationNode):
    """What ``setTrust`` kept; "" without a result of a model."""
    return segmentationNode.GetAttribute(_TRUST) or ""


def ofVolume(volumeNode):
    """The last segmentation with a result for a volume, None without one."""
    return next((node for node in _made(volumeNode) if modelOf(node)), None)


def replaceable(volumeNode):
    """The last segmentation that a run made for a volume and that is still as the run left it, None without one."""
    return next((node for node in _made(volumeNode) if node.GetAttribute(_CREATED) and _isUntouched(node)), None)


def _made(volumeNode):
    """Segmentations on the grid of a volume, the last first."""
    nodes = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return [node for node in reversed(nodes) if volumeNode and Volumes.volumeOf(node) is volumeNode]


def _isUntouched(segmentationNode):
    segmentation = segmentationNode.GetSegmentation()
    ids = list(segmentation.GetSegmentIDs())
    if segmentation.GetSourceRepresentationName() != LabelMaps.labelmapName():
        return not ids
    tags = {segmentId: LabelMaps.tag(segmentation.GetSegment(segmentId), _CONTENTS) for segmentId in ids}
    return all(tags.values()) and LabelMaps.contents(segmentation, ids) == tags


def markUncertainty(node, volumeNode):
    """Note that a volume is the uncertainty of a result for another volume."""
    node.SetNodeReferenceID(_VOLUME_ROLE, volumeNode.GetID())


def uncertaintyOf(volumeNode):
    """The uncertainty of the last result for a volume, None without one."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode") if volumeNode else []
    return next((node for node in nodes if node.GetNodeReference(_VOLUME_ROLE) is volumeNode), None)
