"""Segments as masks on the voxel grid that they were drawn on, and masks back into segments.

Each segment is read and written for itself, so overlap stays. Arrays are indexed (K, J, I). A grid is a
vtkOrientedImageData without voxels, in the coordinates of the segmentation node, whose extent starts at 0.
"""

import numpy as np
import slicer
import vtk
from sam2adapt.shared.errors import GeometryError
from slicer.i18n import tr as _
from vtk.util.numpy_support import numpy_to_vtk, vtk_to_numpy

from SAM2AdaptLib.Scene import Geometry, LabelMaps, VolumeGrid, Volumes

_TOLERANCE = 1e-3  # of a voxel
_OUTSIDE = 0.01  # share of drawn voxels that may lie beyond the edge of the volume


def drawingGrid(volumeNode, segmentationNode):
    """The grid on which segments were drawn: that of the volume if they lie on its voxels, else their own.

    :return: vtkOrientedImageData.
    :raises VolumeError: the volume holds no voxels.
    :raises GeometryError: the segmentation stores no label maps, was drawn elsewhere than in the volume, or a
      non-linear transform lies between the two.
    """
    Volumes.requireVoxels(volumeNode)
    LabelMaps.requireLabelmaps(segmentationNode, volumeNode)
    isSame, outside = VolumeGrid.compare(volumeNode, segmentationNode)
    if outside > _OUTSIDE:
        raise GeometryError(
            _("{share} % of the drawings in '{segmentation}' lie outside volume '{volume}'.").format(
                share=max(1, round(100 * outside)), segmentation=segmentationNode.GetName(), volume=volumeNode.GetName()
            ),
            _("Choose the volume on which they were drawn."),
        )
    if isSame:
        return Geometry.volumeGrid(volumeNode, segmentationNode)
    segmentation, common = segmentationNode.GetSegmentation(), slicer.vtkOrientedImageData()
    extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    geometry = segmentation.DetermineCommonLabelmapGeometry(extent, vtk.vtkStringArray())
    slicer.vtkSegmentationConverter.DeserializeImageGeometry(geometry, common)
    matrix = Geometry.gridMatrix(common)
    extent = np.reshape(common.GetExtent(), (3, 2))
    matrix[:3, 3] += matrix[:3, :3] @ extent[:, 0]
    return Geometry.makeGrid(matrix, extent[:, 1] - extent[:, 0] + 1)


def volumeOnGrid(volumeNode, segmentationNode, grid):
    """The volume on the grid: the node itself, or a copy outside of the scene, interpolated linearly."""
    if Geometry.isGridOfVolume(grid, volumeNode, segmentationNode):
        return volumeNode
    source, target = slicer.vtkOrientedImageData(), slicer.vtkOrientedImageData()
    source.ShallowCopy(volumeNode.GetImageData())
    matrix = Geometry.voxelsToSegmentation(volumeNode, segmentationNode)
    source.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
    background = float(vtk_to_numpy(volumeNode.GetImageData().GetPointData().GetScalars()).min())
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    if not resample(source, grid, target, True, False, None, background):
        raise RuntimeError(f"Slicer could not resample '{volumeNode.GetName()}'")
    image = vtk.vtkImageData()
    image.DeepCopy(target)
    image.SetOrigin(0, 0, 0)
    image.SetSpacing(1, 1, 1)
    node = volumeNode.NewInstance()
    node.UnRegister(None)
    node.SetName(volumeNode.GetName())
    node.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(Geometry.gridMatrix(grid)))
    node.SetAndObserveImageData(image)
    return node


def read(segmentationNode, segmentIds, grid):
    """Segments as masks.

    :return: (S, K, J, I) uint8, 0 or 1.
    """
    masks = np.zeros((len(segmentIds), *grid.GetDimensions()[::-1]), np.uint8)
    for mask, segmentId in zip(masks, segmentIds, strict=True):
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
        image = segment.GetRepresentation(LabelMaps.labelmapName())
        if not image or 0 in image.GetDimensions():
            continue
        toGrid = np.linalg.inv(Geometry.gridMatrix(grid)) @ Geometry.gridMatrix(image)
        shift = np.round(toGrid[:3, 3]).astype(int)
        if not np.allclose(toGrid - np.eye(4), np.pad(shift[:, None], ((0, 1), (3, 0))), atol=_TOLERANCE):
            image = _resampledLabels(image, grid)
            shift = np.zeros(3, int)
        extent = np.reshape(image.GetExtent(), (3, 2)) + shift[:, None]
        LabelMaps.copyInto(mask, LabelMaps.imageToArray(image) == segment.GetLabelValue(), extent[::-1, 0])
    return masks


def add(segmentationNode, segmentId, mask, grid):
    """Add the voxels of a mask to a segment; no other segment changes, even where they overlap."""
    if not mask.any():
        return
    logic, segmentation = slicer.vtkSlicerSegmentationsModuleLogic, segmentationNode.GetSegmentation()
    with LabelMaps.keepingOthers(segmentation, [segmentId]):
        # A label map that it shares with others cannot hold voxels of both.
        segmentation.SeparateSegmentLabelmap(segmentId)
        image = maskImage(mask, grid, segmentation.GetSegment(segmentId).GetLabelValue())
        if not logic.SetBinaryLabelmapToSegment(image, segmentationNode, segmentId, logic.MODE_MERGE_MAX):
            raise RuntimeError(f"Slicer could not add voxels to a segment of '{segmentationNode.GetName()}'")


def remove(segmentationNode, segmentId, mask, grid):
    """Take the voxels of a mask out of a segment; no other segment changes, even where they overlap."""
    if not mask.any():
        return
    logic, segmentation = slicer.vtkSlicerSegmentationsModuleLogic, segmentationNode.GetSegmentation()
    with LabelMaps.keepingOthers(segmentation, [segmentId]):
        segmentation.SeparateSegmentLabelmap(segmentId)
        value = segmentation.GetSegment(segmentId).GetLabelValue()
        image = _boxImage(1 - mask, _box(mask), grid, value)
        if not logic.SetBinaryLabelmapToSegment(image, segmentationNode, segmentId, logic.MODE_MERGE_MIN):
            raise RuntimeError(f"Slicer could not take voxels out of a segment of '{segmentationNode.GetName()}'")


def maskImage(mask, grid, value=1):
    """A mask as a label map of one value, cut to the box around it."""
    return _boxImage(mask, _box(mask), grid, value)


def _box(mask):
    """First and last index (K, J, I) of what a mask holds."""
    places = [np.flatnonzero(mask.any(tuple(k for k in range(3) if k != axis))) for axis in range(3)]
    return [(int(place[0]), int(place[-1])) if len(place) else (0, -1) for place in places]


def _boxImage(mask, box, grid, value):
    """The part of a mask within a box as a label map of one value."""
    image = slicer.vtkOrientedImageData()
    image.SetExtent([end for pair in box[::-1] for end in pair])
    part = mask[tuple(slice(start, stop + 1) for start, stop in box)]
    part = np.ascontiguousarray(part, np.uint8 if value < 256 else np.uint16) * value
    scalars = numpy_to_vtk(part.ravel(), deep=True)
    scalars.SetName("ImageScalars")
    image.GetPointData().SetScalars(scalars)
    image.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(Geometry.gridMatrix(grid)))
    return image


def _resampledLabels(image, grid):
    target = slicer.vtkOrientedImageData()
    resample = slicer.vtkOrientedImageDataResample.ResampleOrientedImageToReferenceOrientedImage
    if not resample(image, grid, target):
        raise RuntimeError("Slicer could not resample a label map")
    return target
