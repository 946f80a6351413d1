"""The proposed segments in the preview node of the effect, beside the segments that were drawn."""

import slicer

from SAM2AdaptLib.Scene import LabelMaps, SegmentMasks


def create(segmentationNode):
    """New segmentation node for the preview of another one, under its transform."""
    if not segmentationNode.GetDisplayNode():
        segmentationNode.CreateDefaultDisplayNodes()
    name = f"{segmentationNode.GetName()} preview"
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetVisibility2DOutline(False)
    node.SetAndObserveTransformNodeID(segmentationNode.GetTransformNodeID())
    return node


def show(previewNode, segmentationNode, drawings, masks):
    """Give the preview the segments of a proposal, in the names and colours of those that were drawn."""
    segmentation = previewNode.GetSegmentation()
    with slicer.util.NodeModify(previewNode):
        segmentation.RemoveAllSegments()
        segmentation.SetSourceRepresentationName(LabelMaps.labelmapName())
        for segmentId, mask in zip(drawings.segmentIds, masks, strict=True):
            drawn, segment = segmentationNode.GetSegmentation().GetSegment(segmentId), slicer.vtkSegment()
            segment.SetName(drawn.GetName())
            segment.SetColor(drawn.GetColor())
            segment.AddRepresentation(LabelMaps.labelmapName(), SegmentMasks.maskImage(mask, drawings.grid))
            segment.SetLabelValue(1)
            segmentation.AddSegment(segment, segmentId)
