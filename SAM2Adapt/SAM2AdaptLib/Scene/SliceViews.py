"""Takes the slice views to a place; without slice views nothing happens."""

import numpy as np
import slicer

_ACROSS = 0.8  # cosine up to which a view counts as across a direction


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


def showSlice(position, normal):
    """Move the slice views that lie across a direction to a position in the world (R, A, S), mm; the others stay."""
    for node in _viewsAcross(normal):
        node.JumpSliceByOffsetting(*position)


def shownSlice(slices):
    """Number of the slice, of some ``Geometry.Slices``, that a slice view shows; None if no view shows one of them."""
    for node in _viewsAcross(slices.normal)[:1]:
        return slices.at(slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 3])
    return None


def _viewsAcross(normal):
    """Slice nodes of the layout whose plane is across a direction, rather than along it; the straightest first."""
    manager = slicer.app.layoutManager()
    names = manager.sliceViewNames() if manager is not None else ()
    nodes = [manager.sliceWidget(name).mrmlSliceNode() for name in names]
    nodes = {node: _straightness(node, normal) for node in nodes}
    return sorted((node for node, cosine in nodes.items() if cosine > _ACROSS), key=lambda node: -nodes[node])


def _straightness(node, normal):
    """Cosine between the normal of a slice view and a direction, without sign."""
    return abs(slicer.util.arrayFromVTKMatrix(node.GetSliceToRAS())[:3, 2] @ normal) / np.linalg.norm(normal)
