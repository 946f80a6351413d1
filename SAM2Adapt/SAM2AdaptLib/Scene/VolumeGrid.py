"""How a volume is cut into slices for training, and whether its segmentation lies on the same voxel grid."""

import numpy as np
import slicer
import vtk
from sam2adapt.shared import slicing_axis
from sam2adapt.shared.errors import GeometryError
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from SAM2AdaptLib.Scene import Geometry, Volumes

_TOLERANCE = 1e-3  # of a voxel
_SAMPLES = 200_000  # voxels of a segmentation that are looked at


def slicingAxis(volumeNode):
    """Voxel axis (0 = I, 1 = J, 2 = K) along which the engine slices a volume, unless it is told otherwise.

    See ``slicing_axis.new_model_axis``.
    """
    sizes = volumeNode.GetImageData().GetDimensions()
    return slicing_axis.new_model_axis(sizes, volumeNode.GetSpacing(), Geometry.directions(volumeNode))


def sliceCount(volumeNode, axis):
    """How many slices a volume has for a model.

    :param axis: ``axial``, ``coronal``, ``sagittal``, or ``acquisition`` for the axis of the largest spacing.
    """
    dimensions = volumeNode.GetImageData().GetDimensions()
    axes = slicing_axis.anatomical_axes(Geometry.directions(volumeNode))
    sizes = [dimensions[number] for number in axes]
    if axis == slicing_axis.ACQUISITION:
        return sizes[slicing_axis.acquisition_axis(sizes, [volumeNode.GetSpacing()[number] for number in axes])]
    return sizes[slicing_axis.NUMBERS[axis]]


def trainingSlices(volumeNode):
    """The ``Geometry.Slices`` across ``slicingAxis``."""
    matrix = Geometry.toWorld(volumeNode, Geometry.ijkToRAS(volumeNode))
    return Geometry.Slices(matrix, volumeNode.GetImageData().GetDimensions(), slicingAxis(volumeNode))


class Snapshot:
    """The grid of a volume at some time, and with ``withVoxels`` also the time of the last change of its voxels."""

    def __init__(self, volumeNode, withVoxels=False):
        self._volumeNode, self._withVoxels = volumeNode, withVoxels
        self._state = self._currentState()

    def isUnchanged(self):
        """Whether the volume is as it was."""
        return self._currentState() == self._state

    def requireUnchanged(self):
        """Refuse a volume that changed.

        :raises GeometryError: size, spacing, origin or directions are others, or the voxels changed.
        """
        if not self.isUnchanged():
            message = _("Volume '{name}' changed while it was in use.").format(name=self._volumeNode.GetName())
            raise GeometryError(message, _("Start again."))

    def _currentState(self):
        image = self._volumeNode.GetImageData()
        state = [*Geometry.ijkToRAS(self._volumeNode).ravel().tolist(), *(image.GetDimensions() if image else ())]
        if self._withVoxels and Volumes.hasVoxels(self._volumeNode):
            state.append(image.GetPointData().GetScalars().GetMTime())
        return state


def compare(volumeNode, segmentationNode):
    """Compare the grid of a volume with what a segmentation stores; a linear transform may lie between them.

    :return: (whether all label maps lie on the volume's voxels, share of the segmentation outside of the volume).
    """
    matrix = vtk.vtkMatrix4x4()
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(
        segmentationNode.GetParentTransformNode(), volumeNode.GetParentTransformNode(), matrix
    )
    toIJK = np.linalg.inv(Geometry.ijkToRAS(volumeNode)) @ slicer.util.arrayFromVTKMatrix(matrix)
    size = np.array(volumeNode.GetImageData().GetDimensions())
    isSame, total, outside = True, 0, 0
    for points, toSegmentation in _points(segmentationNode):
        gridToIJK = toIJK @ toSegmentation
        shift = gridToIJK[:3, 3]
        isSame &= np.allclose(gridToIJK[:3, :3], np.eye(3), atol=_TOLERANCE)
        isSame &= np.allclose(shift, np.round(shift), atol=_TOLERANCE)
        indices = points @ gridToIJK[:3, :3].T + shift
        inside = ((indices >= -0.5 - _TOLERANCE) & (indices <= size - 0.5 + _TOLERANCE)).all(axis=1)
        total += len(points)
        outside += np.count_nonzero(~inside)
    return bool(isSame), outside / max(1, total)


def _points(segmentationNode):
    """For each label map or surface: (N, 3) points of it, and the (4, 4) matrix from them to the node's coordinates."""
    segmentation = segmentationNode.GetSegmentation()
    stored = segmentation.GetSourceRepresentationName()
    representations = {}  # segments may share a label map
    for segmentId in segmentation.GetSegmentIDs():
        if data := segmentation.GetSegment(segmentId).GetRepresentation(stored):
            representations[data.GetAddressAsString("")] = data
    for data in representations.values():
        if data.IsA("vtkOrientedImageData"):
            yield from _voxels(data)
        elif data.IsA("vtkPolyData") and data.GetNumberOfPoints():
            yield vtk_to_numpy(data.GetPoints().GetData()), np.eye(4)


def _voxels(image):
    """The voxels of a label map that are not background, at most so many of them that it takes no time."""
    dimensions = image.GetDimensions()
    if 0 in dimensions:
        return
    labelled = np.flatnonzero(vtk_to_numpy(image.GetPointData().GetScalars()))
    if not len(labelled):
        return
    labelled = labelled[:: 1 + len(labelled) // _SAMPLES]
    k, j, i = np.unravel_index(labelled, dimensions[::-1])
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    yield np.stack([i, j, k], axis=1) + image.GetExtent()[::2], slicer.util.arrayFromVTKMatrix(matrix)
