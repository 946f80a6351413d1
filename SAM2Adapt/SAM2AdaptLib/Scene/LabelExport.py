"""Segments become one array of labels on the grid of a volume; the scene stays as it is."""

import numpy as np
import slicer
import vtk
from sam2adapt.shared.errors import ClassesError
from slicer.i18n import tr as _

from SAM2AdaptLib.Scene import Geometry, LabelMaps, Volumes

_AT_ONCE = 1 << 22  # voxels that Slicer can wait for


def exportLabels(volumeNode, segmentationNode, segmentIds, firstWins=False):
    """Give segments as one array of labels on the grid of a volume.

    :param volumeNode: volume that gives the grid.
    :param segmentationNode: any segmentation; one that stores surfaces or contours is converted in a private copy.
    :param segmentIds: list of segment IDs; the n-th gets the label n + 1.
    :param firstWins: of two segments that overlap, whether the earlier one in the list wins, not the later one.
    :return: (K, J, I) array, uint8, or uint16 for more than 255 segments.
    :raises VolumeError: the volume holds no voxels.
    :raises ClassesError: the list is empty or names a segment that does not exist.
    :raises GeometryError: a non-linear transform lies between volume and segmentation.
    """
    return LabelPlanes(volumeNode, segmentationNode, segmentIds, firstWins).read()


class LabelPlanes:
    """What ``exportLabels`` gives, to be read some slices K at a time: Slicer cannot wait for all of a large volume.

    Where the segments lie on another grid than the volume, Slicer resamples all of it with the first slices.
    """

    def __init__(self, volumeNode, segmentationNode, segmentIds, firstWins=False):
        """
        :param volumeNode, segmentationNode, segmentIds, firstWins: as of ``exportLabels``, and its errors.
        """
        self._ids, self._firstWins = list(segmentIds)[:: -1 if firstWins else 1], firstWins
        Volumes.requireVoxels(volumeNode)
        _requireSegments(segmentationNode, self._ids)
        self._grid = Geometry.volumeGrid(volumeNode, segmentationNode)
        self._dataType = np.min_scalar_type(len(self._ids))
        self._layers = _layersOn(self._grid, segmentationNode, self._ids)
        self._node, self._merged = segmentationNode, None

    def parts(self):
        """First slice and end of pieces that can be read at once without a pause that a user would feel."""
        width, height, count = self._grid.GetDimensions()
        step = max(1, _AT_ONCE // (width * height))
        return [(start, min(start + step, count)) for start in range(0, count, step)]

    def read(self, start=0, stop=None):
        """(stop - start, J, I) labels of some slices; without numbers all of them."""
        stop = self._grid.GetDimensions()[2] if stop is None else stop
        if self._layers is not None:
            width, height, _count = self._grid.GetDimensions()
            labels = np.zeros((stop - start, height, width), self._dataType)
            for layer in self._layers:
                self._addLayer(labels, start, *layer)
        else:
            if self._merged is None:
                self._merged = _merged(self._node, self._ids, self._grid).astype(self._dataType)
            labels = self._merged[start:stop]
        if self._firstWins:
            return np.arange(len(self._ids) + 1, 0, -1, labels.dtype)[labels] * (labels > 0)
        return labels

    def _addLayer(self, labels, start, image, values, places):
        """Write a label map into labels, of which the first slice is ``start``; of two segments the later one wins.

        Slicer's own merging gives the same, but goes over the volume once for each segment.

        :param values, places: what its segments have in it, and what they get.
        """
        i0, _i1, j0, _j1, k0, _k1 = image.GetExtent()
        first = max(0, start - k0)
        voxels = LabelMaps.imageToArray(image)[first : max(0, start + len(labels) - k0)]
        numbers = np.zeros(max(int(voxels.max(initial=0)), *values) + 1, self._dataType)
        numbers[values] = places
        isSame = np.array_equal(numbers, np.arange(len(numbers)))  # as results of a model are; then a copy is enough
        layer = labels if len(self._layers) == 1 else np.zeros_like(labels)
        LabelMaps.copyInto(layer, voxels if isSame else numbers[voxels], np.array([k0 + first - start, j0, i0]))
        np.maximum(labels, layer, out=labels)


def overlaps(volumeNode, segmentationNode, segmentIds, firstWins=False):
    """Count the voxels that segments lose to others in ``exportLabels``.

    :return: dict from the name of a segment that loses to a dict from the winner's name to the number of voxels; empty
      if no two segments overlap.
    """
    overlaps = Overlaps(volumeNode, segmentationNode, segmentIds, firstWins)
    for part in overlaps.parts():
        overlaps.add(*part)
    return overlaps.lost


class Overlaps:
    """What ``overlaps`` counts, some slices at a time.

    :ivar lost: as ``overlaps`` gives it, of the slices that were added.
    """

    def __init__(self, volumeNode, segmentationNode, segmentIds, firstWins=False):
        segmentation, self.lost = segmentationNode.GetSegmentation(), {}
        layers = LabelMaps.layers(segmentation, segmentIds)
        numbers = {segmentId: number for number, segmentId in enumerate(segmentIds, start=1)}
        self._names = [segmentation.GetSegment(segmentId).GetName() for segmentId in segmentIds]
        self._firstWins, dataType = firstWins, np.min_scalar_type(len(self._names))
        self._layers = [
            (LabelPlanes(volumeNode, segmentationNode, ids), np.array([0, *map(numbers.get, ids)], dataType))
            for ids in (layers if len(layers) > 1 else ())
        ]

    def parts(self):
        """As ``LabelPlanes.parts``; none where no two segments can overlap."""
        return self._layers[0][0].parts() if self._layers else []

    def add(self, start, stop):
        """Count the overlaps of some slices."""
        winning, losing = (np.minimum, np.maximum) if self._firstWins else (np.maximum, np.minimum)
        merged = 0
        for planes, table in self._layers:
            layer = table[planes.read(start, stop)]
            both = (merged > 0) & (layer > 0)
            for loser, winner, count in _pairs(losing(merged, layer)[both], winning(merged, layer)[both]):
                counts = self.lost.setdefault(self._names[loser - 1], {})
                counts[self._names[winner - 1]] = counts.get(self._names[winner - 1], 0) + count
            merged = np.where(both, winning(merged, layer), merged + layer)


def _pairs(losers, winners):
    """Each different pair of a loser and a winner at the same place, and how often it occurs."""
    base = int(winners.max(initial=0)) + 1
    codes, counts = np.unique(losers.astype(int) * base + winners, return_counts=True)
    return [(code // base, code % base, count) for code, count in zip(codes.tolist(), counts.tolist(), strict=True)]


def _requireSegments(segmentationNode, segmentIds):
    if not segmentIds:
        raise ClassesError(_("No segment was chosen."), _("Choose at least one segment."))
    for segmentId in segmentIds:
        if not segmentationNode.GetSegmentation().GetSegment(segmentId):
            raise ClassesError(
                _("'{name}' has no segment with the ID '{id}'.").format(name=segmentationNode.GetName(), id=segmentId),
                _("Choose segments that exist."),
            )


def _layersOn(grid, segmentationNode, segmentIds):
    """The label maps that store segments, each with the values that these have and the places of these in the list.

    None if one of them does not lie on the voxels of the grid.
    """
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetSourceRepresentationName() != LabelMaps.labelmapName():
        return None
    places, layers = {segmentId: place for place, segmentId in enumerate(segmentIds, start=1)}, []
    for ids in LabelMaps.layers(segmentation, segmentIds):
        segments = [segmentation.GetSegment(segmentId) for segmentId in ids]
        image = segments[0].GetRepresentation(LabelMaps.labelmapName())
        if not image or 0 in image.GetDimensions():
            continue  # nothing is drawn
        if not slicer.vtkOrientedImageDataResample.DoGeometriesMatch(image, grid):
            return None
        layers.append((image, [segment.GetLabelValue() for segment in segments], [places[one] for one in ids]))
    return layers


def _merged(segmentationNode, segmentIds, grid):
    """What Slicer's merging gives; the last of several segments in a voxel wins."""
    ids, values = vtk.vtkStringArray(), vtk.vtkIntArray()
    for value, segmentId in enumerate(segmentIds, start=1):
        ids.InsertNextValue(segmentId)
        values.InsertNextValue(value)
    merged = slicer.vtkOrientedImageData()
    source = LabelMaps.nodeWithLabelmaps(segmentationNode, grid)
    extent = slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY
    if not source.GenerateMergedLabelmapForAllSegments(merged, extent, grid, ids, values):
        raise RuntimeError(f"Slicer could not merge the segments of '{segmentationNode.GetName()}'")
    return LabelMaps.imageToArray(merged)
