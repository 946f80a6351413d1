"""Adding and removing voxels as Slicer's Segment Editor does: only where it may, and at the cost of other segments.

After ``qSlicerSegmentEditorAbstractEffect::modifySegmentByLabelmap``; segmentation and source volume share one grid.
"""

import numpy as np
import slicer
from vtk.util.numpy_support import vtk_to_numpy


def modify(editorNode, segmentId: str, labelmap, isAdded: bool) -> None:
    """Add the voxels of a label map to a segment, or remove them."""
    node, volume = editorNode.GetSegmentationNode(), editorNode.GetSourceVolumeNode()
    segmentation = node.GetSegmentation()
    masks = {
        one: slicer.util.arrayFromSegmentBinaryLabelmap(node, one, volume) > 0 for one in segmentation.GetSegmentIDs()
    }
    changed = _placed(labelmap, volume) & _editable(editorNode, segmentId, masks, volume)
    if isAdded:
        _write(node, segmentId, masks[segmentId] | changed, volume)
        for other in _overwritten(editorNode, segmentId, masks):
            if (masks[other] & changed).any():
                _write(node, other, masks[other] & ~changed, volume)
    else:
        _write(node, segmentId, masks[segmentId] & ~changed, volume)


def _placed(labelmap, volume) -> np.ndarray:
    """The voxels of a label map on the grid of a volume, whose voxels it shares."""
    i0, i1, j0, j1, k0, k1 = labelmap.GetExtent()
    whole = np.zeros(volume.GetImageData().GetDimensions()[::-1], bool)
    voxels = vtk_to_numpy(labelmap.GetPointData().GetScalars()) > 0
    whole[k0 : k1 + 1, j0 : j1 + 1, i0 : i1 + 1] = voxels.reshape(k1 - k0 + 1, j1 - j0 + 1, i1 - i0 + 1)
    return whole


def _editable(editorNode, segmentId, masks, volume) -> np.ndarray:
    node, mode = slicer.vtkMRMLSegmentationNode, editorNode.GetMaskMode()
    display = editorNode.GetSegmentationNode().GetDisplayNode()
    whole = np.ones(volume.GetImageData().GetDimensions()[::-1], bool)
    every = [mask for one, mask in masks.items() if one != segmentId or mode == node.EditAllowedInsideAllSegments]
    visible = [
        mask for one, mask in masks.items()
        if display.GetSegmentVisibility(one) and (one != segmentId or mode == node.EditAllowedInsideVisibleSegments)
    ]  # fmt: skip
    areas = {
        node.EditAllowedInsideAllSegments: np.any([~whole, *every], axis=0),
        node.EditAllowedInsideVisibleSegments: np.any([~whole, *visible], axis=0),
        node.EditAllowedOutsideAllSegments: ~np.any([~whole, *every], axis=0),
        node.EditAllowedOutsideVisibleSegments: ~np.any([~whole, *visible], axis=0),
        node.EditAllowedInsideSingleSegment: masks.get(editorNode.GetMaskSegmentID(), whole),
    }
    area = areas.get(mode, whole)
    if editorNode.GetSourceVolumeIntensityMask():
        low, high = editorNode.GetSourceVolumeIntensityMaskRange()
        grey = slicer.util.arrayFromVolume(volume)
        area = area & (grey >= low) & (grey <= high)
    return area


def _overwritten(editorNode, segmentId, masks) -> list[str]:
    mode, display = editorNode.GetOverwriteMode(), editorNode.GetSegmentationNode().GetDisplayNode()
    others = [one for one in masks if one != segmentId]
    if mode == editorNode.OverwriteVisibleSegments:
        return [one for one in others if display.GetSegmentVisibility(one)]
    return others if mode == editorNode.OverwriteAllSegments else []


def _write(node, segmentId, mask, volume) -> None:
    node.GetSegmentation().SeparateSegmentLabelmap(segmentId)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask.astype(np.uint8), node, segmentId, volume)
