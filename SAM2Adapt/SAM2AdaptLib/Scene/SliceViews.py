"""Takes the slice views to a place; without slice views nothing happens."""

import numpy as np
import slicer


def showVolume(volumeNode):
    """Show a volume in the background of all slice views, whole."""
    if slicer.app.layoutManager() is not None:
        slicer.util.setSliceViewerLayers(background=volumeNode, fit=True)


def jumpTo(position):
    """Centre all slice views on a position in the world (R, A, S), mm."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *position, slicer.vtkMRMLSliceNode.CenteredJumpSlice)


def jumpToSegmentation(volumeNode, segmentationNode):
    """Show a volume at the middle of its segmentation."""
    showVolume(volumeNode)
    bounds = np.zeros(6)
    segmentationNode.GetRASBounds(bounds)
    if bounds[0] <= bounds[1]:
        jumpTo((bounds[::2] + bounds[1::2]) / 2)
