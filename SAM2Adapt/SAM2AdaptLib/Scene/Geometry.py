"""Where voxels lie: matrices from the voxels of volumes and label maps to the coordinates of nodes.

A grid is a vtkOrientedImageData without voxels, in the coordinates of a segmentation node. Matrices are (4, 4) and take
voxel indices (I, J, K) to millimetres.
"""

import numpy as np
import slicer
import vtk
from sam2adapt.shared import slicing_axis
from sam2adapt.shared.errors import GeometryError
from slicer.i18n import tr as _

RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])
_TOLERANCE = 1e-3  # of a voxel


def ijkToRAS(volumeNode):
    """(4, 4) matrix from voxel indices of a volume node to its RAS coordinates in mm, without parent transform."""
    matrix = vtk.vtkMatrix4x4()
    volumeNode.GetIJKToRASMatrix(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def directions(volumeNode):
    """(3, 3) direction cosines of the voxel axes, columns I, J, K, rows L, P, S as in files."""
    matrix = np.zeros((3, 3))
    volumeNode.GetIJKToRASDirections(matrix)
    return RAS_TO_LPS[:, None] * matrix


def nodeToNode(sourceNode, targetNode):
    """(4, 4) matrix from the coordinates of a node to those of another, both in mm.

    :raises GeometryError: a non-linear transform lies between the two.
    """
    matrix = vtk.vtkMatrix4x4()
    source, target = sourceNode.GetParentTransformNode(), targetNode.GetParentTransformNode()
    if source is target:
        return np.eye(4)
    general = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(source, target, general)
    if not slicer.vtkMRMLTransformNode.IsGeneralTransformLinear(general):
        raise GeometryError(
            _("A non-linear transform lies between '{source}' and '{target}'.").format(
                source=sourceNode.GetName(), target=targetNode.GetName()
            ),
            _("Put both under the same transform, or harden the transform."),
        )
    slicer.vtkMRMLTransformNode.GetMatrixTransformBetweenNodes(source, target, matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def voxelsToSegmentation(volumeNode, segmentationNode):
    """Matrix from the voxels of a volume to the coordinates of a segmentation node.

    :raises GeometryError: as ``nodeToNode``.
    """
    return nodeToNode(volumeNode, segmentationNode) @ ijkToRAS(volumeNode)


def volumeGrid(volumeNode, segmentationNode):
    """The grid of a volume's voxels.

    :raises GeometryError: as ``nodeToNode``.
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


def toWorld(node, matrix):
    """Matrix from voxels to the world.

    :param matrix: from the voxels to the coordinates of the node, whose parent transform is applied if it is linear.
    """
    parent, transform = node.GetParentTransformNode(), vtk.vtkMatrix4x4()
    if parent and parent.IsTransformToWorldLinear():
        parent.GetMatrixTransformToWorld(transform)
    return slicer.util.arrayFromVTKMatrix(transform) @ matrix


def fromWorld(node, positions):
    """(N, 3) positions in the world, R, A, S in mm, in the coordinates of a node, under whatever transform it is."""
    transform = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, node.GetParentTransformNode(), transform)
    return np.array([transform.TransformPoint(position) for position in positions]).reshape(-1, 3)


class Slices:
    """The slices across one axis of a voxel grid, in the world.

    :ivar axis: voxel axis, 0 = I, 1 = J, 2 = K.
    :ivar count: number of slices.
    :ivar name: "axial", "coronal" or "sagittal", that which they are most; each axis of a grid has another one.
    """

    def __init__(self, voxelsToWorld, dimensions, axis):
        self.axis, self.count = axis, dimensions[axis]
        self.name = sliceNames(voxelsToWorld)[axis]
        self._matrix, self._dimensions = voxelsToWorld, dimensions

    @property
    def normal(self):
        """From a slice to the next, (R, A, S) in mm."""
        return self._matrix[:3, self.axis]

    def position(self, index):
        """Where the middle of a slice lies, (R, A, S) in mm."""
        middle = (np.array(self._dimensions) - 1) / 2
        middle[self.axis] = index
        return (self._matrix @ [*middle, 1])[:3]

    def at(self, position):
        """The slice that holds a position, None if none does."""
        index = int(np.floor((np.linalg.inv(self._matrix) @ [*position, 1])[self.axis] + 0.5))
        return index if 0 <= index < self.count else None


def sliceNames(voxelsToWorld):
    """What the slices across the voxel axes I, J and K are called: each of "axial", "coronal" and "sagittal" once."""
    columns = RAS_TO_LPS[:, None] * voxelsToWorld[:3, :3]
    axes = slicing_axis.anatomical_axes(columns / np.linalg.norm(columns, axis=0))
    names = {axes[number]: name for name, number in slicing_axis.NUMBERS.items()}
    return [names[axis] for axis in range(3)]
