"""Which slices of a segmentation are drawn, and which were filled between them."""

import numpy as np
from sam2adapt.shared.labels.drawn_slices import DRAWN, FILLED, NOT_ANNOTATED, slice_states
from sam2adapt.shared.slicing_axis import ARRAY_AXES

from SAM2AdaptLib.Scene import Geometry, SegmentMasks, SliceTags


class FilledSlices:
    """What a filling made of a segmentation: a state for each slice of its grid across one array axis.

    Each structure says which of its slices were filled (``SliceTags``); which slices are known as a whole follows from
    the engine's rule, ``drawn_slices.slice_states``.

    :ivar states: (slices,) of ``drawn_slices``.
    """

    def __init__(self, volumeNode, segmentationNode):
        """
        :raises GeometryError: as ``SegmentMasks.drawingGrid``.
        """
        self._volumeNode = volumeNode
        grid = SegmentMasks.drawingGrid(volumeNode, segmentationNode)
        ids = list(segmentationNode.GetSegmentation().GetSegmentIDs())
        masks = SegmentMasks.read(segmentationNode, ids, grid)
        found = [SliceTags.filled(segmentationNode, *pair) for pair in zip(ids, masks, strict=True)]
        axis = next((axis for axis, _places in found if axis), None)
        self._axis = ARRAY_AXES.index(axis) if axis else 0
        self._toGrid = _voxelsToGrid(volumeNode, segmentationNode, grid)
        present = np.moveaxis(masks, self._axis + 1, 1).any((2, 3))
        filled = np.zeros_like(present)
        for row, (own, places) in zip(filled, found, strict=True):
            row[places if own == axis else []] = True
        drawn = present & ~filled
        if axis:
            for row, segmentId in zip(drawn, ids, strict=True):
                row[[k for k in SliceTags.empty(segmentationNode, segmentId, axis) if k < len(row)]] = True
        self.states = slice_states(present, drawn, filled)

    def any(self):
        """Whether something was filled and not corrected since."""
        return bool((self.states == FILLED).any())

    def along(self, axis):
        """States of the slices of the volume along a voxel axis (0 = I): the highest of their voxels."""
        places = _slicesAcross(self._toGrid, self._volumeNode, self._axis, axis)
        if places is None:
            voxels = self.voxels()
            return voxels.max(tuple(k for k in range(3) if k != 2 - axis))
        return np.array([self._stateAt(place) for place in places])

    def drawn(self):
        """Slices of the volume that were drawn, by array axis, as ``drawn_slices`` keeps them beside labels."""
        result = {}
        for number, name in enumerate(ARRAY_AXES):
            places = _slicesAcross(self._toGrid, self._volumeNode, self._axis, 2 - number)
            if places is not None:
                result[name] = [k for k, place in enumerate(places) if self._stateAt(place) == DRAWN]
        return result

    def voxels(self):
        """(K, J, I) uint8, state of each voxel of the volume."""
        size = self._volumeNode.GetImageData().GetDimensions()
        row = self._toGrid[2 - self._axis]
        plane = row[1] * np.arange(size[1])[:, None] + row[0] * np.arange(size[0])[None]
        known = np.append(self.states, NOT_ANNOTATED).astype(np.uint8)  # its last for what lies outside
        result = np.empty(size[::-1], np.uint8)
        for k in range(size[2]):
            places = np.rint(plane + row[2] * k + row[3]).astype(int)
            result[k] = known[np.where((places >= 0) & (places < len(self.states)), places, len(self.states))]
        return result

    def _stateAt(self, place):
        return int(self.states[place]) if 0 <= place < len(self.states) else NOT_ANNOTATED


def _voxelsToGrid(volumeNode, segmentationNode, grid):
    """(4, 4) matrix from voxel indices I, J, K of a volume to those of a grid."""
    return np.linalg.inv(Geometry.gridMatrix(grid)) @ Geometry.voxelsToSegmentation(volumeNode, segmentationNode)


def _slicesAcross(toGrid, volumeNode, gridAxis, axis):
    """For each slice of a volume along a voxel axis (0 = I) the slice of the grid across an array axis that holds it.

    :return: list of int; None where slices of both do not lie in the same direction.
    """
    size = np.array(volumeNode.GetImageData().GetDimensions())
    row = toGrid[2 - gridAxis]
    others = [k for k in range(3) if k != axis]
    # Voxels of the grid, from one end of a slice to the other.
    if np.abs(row[others] * size[others]).max() > 0.5 or np.abs(row[axis]) < 1e-6:
        return None
    return np.rint(row[axis] * np.arange(size[axis]) + row[3]).astype(int).tolist()
