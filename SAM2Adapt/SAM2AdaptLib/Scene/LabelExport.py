"""Segments become one array of labels on the grid of a volume; the scene stays as it is."""

import numpy as np
import slicer
import vtk
from sam2adapt.shared.errors import ClassesError
from slicer.i18n import tr as _

from SAM2AdaptLib.Scene import Geometry, LabelMaps, Volumes


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
    segmentIds = list(segmentIds)
    if firstWins:
        labels = exportLabels(volumeNode, segmentationNode, segmentIds[::-1])
        return np.arange(len(segmentIds) + 1, 0, -1, labels.dtype)[labels] * (labels > 0)
    Volumes.requireVoxels(volumeNode)
    _requireSegments(segmentationNode, segmentIds)
    grid = Geometry.volumeGrid(volumeNode, segmentationNode)
    dataType = np.min_scalar_type(len(segmentIds))
    shared = _sharedLabelmap(segmentationNode, segmentIds)
    if shared and slicer.vtkOrientedImageDataResample.DoGeometriesMatch(shared, grid):
        return _renumbered(segmentationNode, segmentIds, shared, grid, dataType)
    return _merged(segmentationNode, segmentIds, grid).astype(dataType)


def overlaps(volumeNode, segmentationNode, segmentIds, firstWins=False):
    """Count the voxels that segments lose to others in ``exportLabels``.

    :return: dict from the name of a segment that loses to a dict from the winner's name to the number of voxels; empty
      if no two segments overlap.
    """
    segmentation = segmentationNode.GetSegmentation()
    layers = LabelMaps.layers(segmentation, segmentIds)
    if len(layers) < 2:
        return {}
    names = [segmentation.GetSegment(segmentId).GetName() for segmentId in segmentIds]
    numbers = {segmentId: number for number, segmentId in enumerate(segmentIds, start=1)}
    winning, losing = (np.minimum, np.maximum) if firstWins else (np.maximum, np.minimum)
    merged, lost = 0, {}
    for ids in layers:
        table = np.array([0, *(numbers[segmentId] for segmentId in ids)])
        layer = table[exportLabels(volumeNode, segmentationNode, ids)]
        both = (merged > 0) & (layer > 0)
        for loser, winner, count in _pairs(losing(merged, layer)[both], winning(merged, layer)[both]):
            counts = lost.setdefault(names[loser - 1], {})
            counts[names[winner - 1]] = counts.get(names[winner - 1], 0) + count
        merged = np.where(both, winning(merged, layer), merged + layer)
    return lost


def _pairs(losers, winners):
    """Each different pair of a loser and a winner at the same place, and how often it occurs."""
    base = int(winners.max(initial=0)) + 1
    codes, counts = np.unique(losers * base + winners, return_counts=True)
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


def _sharedLabelmap(segmentationNode, segmentIds):
    """The label map that stores all these segments, None if they lie in several."""
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetSourceRepresentationName() != LabelMaps.labelmapName():
        return None
    images = [
        segmentation.GetSegment(segmentId).GetRepresentation(LabelMaps.labelmapName()) for segmentId in segmentIds
    ]
    return images[0] if all(image is images[0] for image in images) else None


def _renumbered(segmentationNode, segmentIds, labelmap, grid, dataType):
    """The labels of a shared label map on a grid whose voxels it has; the n-th segment gets the label n + 1.

    Slicer's own merging gives the same, but goes over the volume once for each segment.
    """
    voxels = LabelMaps.imageToArray(labelmap)
    values = [segmentationNode.GetSegmentation().GetSegment(segmentId).GetLabelValue() for segmentId in segmentIds]
    numbers = np.zeros(max(int(voxels.max(initial=0)), *values) + 1, dataType)
    numbers[values] = np.arange(1, len(values) + 1)
    labels = np.zeros(grid.GetDimensions()[::-1], dataType)
    isSame = np.array_equal(numbers, np.arange(len(numbers)))  # as results of a model are; then a copy is enough
    LabelMaps.copyInto(labels, voxels if isSame else numbers[voxels], np.array(labelmap.GetExtent()[::2])[::-1])
    return labels


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
