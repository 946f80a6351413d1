"""Nodes, labels and structures that the tests of the Slicer side start from."""

import math

import numpy as np

SHAPE = (5, 6, 7)  # K, J, I
LIVER = {
    "id": 1,
    "name": "liver",
    "terminology": "Segmentation category and type - 3D Slicer General Anatomy list~SCT^123037004^Anatomical Structure"
    "~SCT^10200004^Liver~^^~Anatomic codes - DICOM master list~^^~^^",
    "color": (0.87, 0.51, 0.40),
}
SPLEEN = {"id": 5, "name": "spleen", "terminology": "", "color": (0.62, 0.42, 0.38)}


def rotation(degrees, axis):
    """(3, 3) rotation about one axis."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    matrix = np.eye(3)
    first, second = [k for k in range(3) if k != axis]
    matrix[first, first] = matrix[second, second] = cosine
    matrix[first, second], matrix[second, first] = -sine, sine
    return matrix


OBLIQUE = rotation(23, 0) @ rotation(-11, 2)
AXES_IJK_TO_RAS = {
    "identity": np.eye(3),
    "LPS": np.diag([-1.0, -1.0, 1.0]),
    "flipped K": np.diag([1.0, 1.0, -1.0]),
    "left-handed": np.diag([-1.0, 1.0, 1.0]),
    "permuted": np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]),
    "sagittal PIL": np.array([[0.0, 0.0, -1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]),
    "oblique": OBLIQUE,
    "oblique left-handed": OBLIQUE @ np.diag([1.0, -1.0, 1.0]),
}


def twoLabels(shape=SHAPE):
    """Labels 1 and 5, neither symmetric in any axis, touching each other."""
    labels = np.zeros(shape, np.uint8)
    labels[: max(1, shape[0] // 2), 1:4, 1:5] = 1
    labels[0, 0, 0] = 1
    labels[shape[0] // 2 :, 2:6, 4:7] = 5
    return labels


def inOrder(labels, values):
    """Labels renumbered 1..N in the order of values, as exportLabels numbers segments."""
    return sum(
        (np.uint8(k) * (labels == value) for k, value in enumerate(values, start=1)), np.zeros(labels.shape, np.uint8)
    )


class Nodes:
    """Makes nodes in an empty scene."""

    def __init__(self, slicer, scene):
        self.slicer, self.scene = slicer, scene

    def addVolume(
        self, voxels=None, axes=AXES_IJK_TO_RAS["LPS"], spacing=(0.7, 0.9, 3.0), origin=(12.5, -40.0, 7.25), name="CT"
    ):
        """A volume whose voxels count up; of colours if voxels is (K, J, I, channels)."""
        voxels = np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE) if voxels is None else voxels
        ijkToRAS = np.eye(4)
        ijkToRAS[:3, :3] = axes * np.asarray(spacing)
        ijkToRAS[:3, 3] = origin
        className = "vtkMRMLVectorVolumeNode" if voxels.ndim == 4 else None
        return self.slicer.util.addVolumeFromArray(voxels, ijkToRAS=ijkToRAS, name=name, nodeClassName=className)

    def addTransform(self, matrix3=OBLIQUE, translation=(5.0, -3.0, 2.0)):
        """A linear transform."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = matrix3, translation
        node = self.scene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
        node.SetMatrixTransformToParent(self.slicer.util.vtkMatrixFromArray(matrix))
        return node

    def addRegion(self, center, size, axes=None):
        """A region of interest by its centre and size in RAS mm, rotated by the columns of axes."""
        node = self.scene.AddNewNodeByClass("vtkMRMLMarkupsROINode")
        matrix = np.eye(4)
        matrix[:3, :3] = np.eye(3) if axes is None else axes
        matrix[:3, 3] = center
        node.SetSize(size)
        node.SetAndObserveObjectToNodeMatrix(self.slicer.util.vtkMatrixFromArray(matrix))
        return node

    def addSequence(self, arrays, **geometry):
        """A volume sequence with its browser; returns the proxy node that shows it."""
        sequence = self.scene.AddNewNodeByClass("vtkMRMLSequenceNode", "4D")
        sequence.SetIndexName("time")
        sequence.SetIndexUnit("s")
        for n, array in enumerate(arrays):
            frame = self.addVolume(array, **geometry)
            sequence.SetDataNodeAtValue(frame, str(2.5 * n))
            self.scene.RemoveNode(frame.GetDisplayNode())
            self.scene.RemoveNode(frame)
        browser = self.scene.AddNewNodeByClass("vtkMRMLSequenceBrowserNode", "4D browser")
        browser.SetAndObserveMasterSequenceNodeID(sequence.GetID())
        self.slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        return browser.GetProxyNode(sequence)

    def segmentIds(self, node):
        """IDs of the segments in their order."""
        return list(node.GetSegmentation().GetSegmentIDs())

    def segmentNames(self, node):
        """Names of the segments in their order."""
        return [node.GetSegmentation().GetSegment(segmentId).GetName() for segmentId in self.segmentIds(node)]
