"""How a volume is cut into slices for training, and whether its segmentation lies on the same voxel grid."""

import numpy as np
import slicer
import vtk
from sam2adapt.shared import slicing_axis
from sam2adapt.shared.errors import GeometryError
from sam2adapt.shared.model_fit import SliceShape
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from SAM2AdaptLib.Scene import Geometry, Volumes

_TOLERANCE = 1e-3  # of a voxel
_SAMPLES = 200_000  # voxels of a segmentation that are looked at
_FEW = 2_000  # of these, found among every so many voxels of a large one, after which all of it is looked at


def slicingAxis(volumeNode):
    """Voxel axis (0 = I, 1 = J, 2 = K) along which the engine slices a volume, unless it is told otherwise.

    See ``slicing_axis.new_model_axis``.
    """
    sizes = volumeNode.GetImageData().GetDimensions()
    return slicing_axis.new_model_axis(sizes, volumeNode.GetSpacing(), Geometry.directions(volumeNode))


def modelAxis(volumeNode, axis):
    """Voxel axis (0 = I, 1 = J, 2 = K) along which a model slices a volume.

    :param axis: ``axial``, ``coronal``, ``sagittal``, or ``acquisition`` for the axis of the largest spacing.
    """
    dimensions, spacing = volumeNode.GetImageData().GetDimensions(), volumeNode.GetSpacing()
    axes = slicing_axis.anatomical_axes(Geometry.directions(volumeNode))
    if axis == slicing_axis.ACQUISITION:
        ordered = [dimensions[number] for number in axes], [spacing[number] for number in axes]
        return axes[slicing_axis.acquisition_axis(*ordered)]
    return axes[slicing_axis.NUMBERS[axis]]


def sliceCount(volumeNode, axis):
    """How many slices a volume has for a model; ``axis`` as of ``modelAxis``."""
    return volumeNode.GetImageData().GetDimensions()[modelAxis(volumeNode, axis)]


def sliceShape(volumeNode, axis):
    """The ``model_fit.SliceShape`` of a volume's slices for a model; ``axis`` as of ``modelAxis``."""
    across = modelAxis(volumeNode, axis)
    dimensions, spacing = volumeNode.GetImageData().GetDimensions(), volumeNode.GetSpacing()
    inPlane = [number for number in range(3) if number != across]
    return SliceShape(max(dimensions[n] * spacing[n] for n in inPlane), max(spacing[n] for n in inPlane))


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
    if _allWithin(segmentationNode, toIJK, size):
        return True, 0.0  # nothing to read, which takes long for a large volume
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


def _allWithin(segmentationNode, toIJK, size):
    """Whether all that a segmentation stores are label maps on voxels of the volume that end where it ends, or before.

    :param toIJK: (4, 4) from the segmentation's coordinates to voxels of the volume; ``size``: of the volume.
    """
    for data in _stored(segmentationNode):
        if not data.IsA("vtkOrientedImageData"):
            return False
        gridToIJK = toIJK @ Geometry.gridMatrix(data)
        shift = np.round(gridToIJK[:3, 3])
        expected = np.eye(4)
        expected[:3, 3] = shift
        ends = np.reshape(data.GetExtent(), (3, 2)) + shift[:, None]
        if (
            not np.allclose(gridToIJK, expected, atol=_TOLERANCE)
            or (ends[:, 0] < 0).any()
            or (ends[:, 1] >= size).any()
        ):
            return False
    return True


def _stored(segmentationNode):
    """The label maps or surfaces of a segmentation, each once although segments may share it."""
    segmentation = segmentationNode.GetSegmentation()
    stored = segmentation.GetSourceRepresentationName()
    representations = {}
    for segmentId in segmentation.GetSegmentIDs():
        if data := segmentation.GetSegment(segmentId).GetRepresentation(stored):
            representations[data.GetAddressAsString("")] = data
    return representations.values()


def _points(segmentationNode):
    """For each label map or surface: (N, 3) points of it, and the (4, 4) matrix from them to the node's coordinates."""
    for data in _stored(segmentationNode):
        if data.IsA("vtkOrientedImageData"):
            yield from _voxels(data)
        elif data.IsA("vtkPolyData") and data.GetNumberOfPoints():
            yield vtk_to_numpy(data.GetPoints().GetData()), np.eye(4)


def _voxels(image):
    """The voxels of a label map that are not background, at most so many of them that it takes no time."""
    dimensions = image.GetDimensions()
    if 0 in dimensions:
        return
    scalars = vtk_to_numpy(image.GetPointData().GetScalars())
    step = 1 + 2 * (len(scalars) // (40 * _SAMPLES))  # odd, so that it is no part of the length of a row
    labelled = np.flatnonzero(scalars[::step]) * step
    if len(labelled) < _FEW and step > 1:
        labelled = np.flatnonzero(scalars)
    if not len(labelled):
        return
    labelled = labelled[:: 1 + len(labelled) // _SAMPLES]
    k, j, i = np.unravel_index(labelled, dimensions[::-1])
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    yield np.stack([i, j, k], axis=1) + image.GetExtent()[::2], slicer.util.arrayFromVTKMatrix(matrix)
