"""Where voxels lie: matrices from the voxels of volumes and label maps to the coordinates of nodes.

A grid is a vtkOrientedImageData without voxels, in the coordinates of a segmentation node. Matrices are (4, 4) and take
voxel indices (I, J, K) to millimetres.
"""

import numpy as np
import slicer
import vtk
from sam2adapt.shared.errors import GeometryError
from slicer.i18n import tr as _

_TOLERANCE = 1e-3  # of a voxel


def ijkToRAS(volumeNode):
    """(4, 4) matrix from voxel indices of a volume node to its RAS coordinates in mm, without parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def volumeToSegmentation(volumeNode, segmentationNode):
    """(4, 4) matrix from the coordinates of the volume node to those of the segmentation node, both in mm."""
    matrix = vtk.vtkMatrix4x4()
    source, target = volumeNode.GetParentTransformNode(), segmentationNode.GetParentTransformNode()
    if source is target:
        return np.eye(4)
    general = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, general)
    if not slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(general):
        raise GeometryError(
            _("A non-linear transform lies between volume '{volume}' and segmentation '{segmentation}'.").format(
                volume=volumeNode.GetName(), segmentation=segmentationNode.GetName()
            ),
            _("Put both under the same transform, or harden the transform."),
        )
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(source, target, matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def voxelsToSegmentation(volumeNode, segmentationNode):
    """Matrix from the voxels of a volume to the coordinates of a segmentation node.

    :raises GeometryError: as ``volumeToSegmentation``.
    """
    return volumeToSegmentation(volumeNode, segmentationNode) @ ijkToRAS(volumeNode)


def volumeGrid(volumeNode, segmentationNode):
    """The grid of a volume's voxels.

    :raises GeometryError: as ``volumeToSegmentation``.
    """
    matrix = voxelsToSegmentation(volumeNode, segmentationNode)
    return makeGrid(matrix, volumeNode.GetImageData().GetDimensions())


def makeGrid(matrix, dimensions):
    """The grid with this matrix and (I, J, K) voxels."""
    grid = slicer.vtkOrientedImageData()
    grid.SetDimensions([int(size) for size in dimensions])
    grid.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(matrix))
    return grid


def gridMatrix(image):
    """(4, 4) matrix from voxel indices I, J, K of a vtkOrientedImageData to its coordinates."""
    matrix = vtk.vtkMatrix4x4()
    image.GetImageToWorldMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def isGridOfVolume(grid, volumeNode, segmentationNode):
    """Whether a grid is that of the volume's own voxels."""
    matrix = np.linalg.inv(gridMatrix(grid)) @ voxelsToSegmentation(volumeNode, segmentationNode)
    same = grid.GetDimensions() == volumeNode.GetImageData().GetDimensions()
    return same and np.allclose(matrix, np.eye(4), atol=_TOLERANCE)
