"""The binary label maps in which a segmentation stores its segments: their voxels, counts and volumes.

Arrays are indexed (K, J, I), as ``slicer.util`` does it. Several segments may share one label map.
"""

from contextlib import contextmanager

import numpy as np
import slicer
import vtk
from sam2adapt.shared.errors import GeometryError
from sam2adapt.shared.labels.label_runs import count_labels
from slicer.i18n import tr as _
from vtk.util.numpy_support import vtk_to_numpy

from SAM2AdaptLib.Scene import Geometry

CUBIC_MILLIMETRES_PER_MILLILITRE = 1000.0


def labelmapName():
    """Slicer's name of binary label maps among the representations of a segment."""
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def surfaceName():
    """Slicer's name of closed surfaces among the representations of a segment."""
    return slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()


def requireLabelmaps(segmentationNode, volumeNode):
    """Refuse a segmentation that cannot take labels on the grid of a volume.

    :raises GeometryError: it stores no label maps, or a non-linear transform lies between the two.
    """
    segmentation = segmentationNode.GetSegmentation()
    stored = segmentation.GetSourceRepresentationName()
    if segmentation.GetNumberOfSegments() > 0 and stored != labelmapName():
        raise GeometryError(
            _("Segmentation '{name}' stores {stored}, not label maps.").format(
                name=segmentationNode.GetName(), stored=stored.lower()
            ),
            _(
                "Choose a new segmentation, or make binary labelmap the source representation in the Segmentations"
                " module."
            ),
        )
    Geometry.nodeToNode(volumeNode, segmentationNode)


def imageToArray(image):
    """The voxels of a label map, (K, J, I); of size 0 if it has none."""
    scalars = image.GetPointData().GetScalars()
    if scalars is None or 0 in image.GetDimensions():
        return np.zeros((0, 0, 0), np.uint8)
    return vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1])


def copyInto(target, source, start):
    """Copy an array into another, of which it begins at ``start``; what does not fit is left out."""
    first = np.maximum(start, 0)
    stop = np.minimum(start + source.shape, target.shape)
    if (first < stop).all():
        inner = tuple(map(slice, first - start, stop - start))
        target[tuple(map(slice, first, stop))] = source[inner]


def layers(segmentation, segmentIds):
    """Lists of segment IDs that share a label map, in the order given; segments of one list cannot overlap."""
    shared = {}
    for segmentId in segmentIds:
        segment = segmentation.GetSegment(segmentId)
        data = segment.GetRepresentation(segmentation.GetSourceRepresentationName()) if segment else None
        shared.setdefault(data.GetAddressAsString("") if data else segmentId, []).append(segmentId)
    return list(shared.values())


def stamps(segmentation):
    """Numbers that change with each change of a segment or of its voxels."""
    segments = [segmentation.GetSegment(segmentId) for segmentId in segmentation.GetSegmentIDs()]
    images = [segment.GetRepresentation(segmentation.GetSourceRepresentationName()) for segment in segments]
    return [item.GetMTime() for item in (*segments, *images) if item]


def voxelCounts(segmentation, segmentIds=None):
    """Dict from segment ID to its number of voxels; a label map that several share is counted once."""
    images, counts = {}, {}
    for segmentId in segmentIds if segmentIds is not None else segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        image = segment.GetRepresentation(labelmapName())
        address = image.GetAddressAsString("") if image else None
        if address not in images:
            images[address] = count_labels(imageToArray(image) if image else np.zeros((0, 0, 0), np.uint8))
        value = segment.GetLabelValue()
        counts[segmentId] = int(images[address][value]) if value < len(images[address]) else 0
    return counts


def contents(segmentation, segmentIds):
    """Numbers that tell whether the voxels of segments are still the same, wherever their label maps begin and end.

    :return: dict from segment ID to text: the number of voxels, and the sum of a number that each place has.
    """
    sums = {}
    for ids in layers(segmentation, segmentIds):
        image = segmentation.GetSegment(ids[0]).GetRepresentation(labelmapName())
        values = [segmentation.GetSegment(segmentId).GetLabelValue() for segmentId in ids]
        counts, totals = np.zeros(max(values) + 1, np.int64), np.zeros(max(values) + 1, np.int64)
        for plane, places in _planes(image) if image else ():
            labels = np.where(plane <= max(values), plane, 0)
            counts += np.bincount(labels, minlength=len(counts))
            totals += np.bincount(labels, places, minlength=len(counts)).astype(np.int64)
        sums |= {i: f"{counts[value]}:{totals[value]}" for i, value in zip(ids, values, strict=True)}
    return sums


def _planes(image):
    """For each slice of a label map the labels that are not 0, and a number of each voxel's place up to 2^20."""
    voxels, (i0, _i1, j0, _j1, k0, _k1) = imageToArray(image), image.GetExtent()
    j, i = np.ogrid[j0 : j0 + voxels.shape[1], i0 : i0 + voxels.shape[2]]
    inPlane = j * 7919 + i * 104729
    for k, plane in enumerate(voxels, start=k0):
        drawn = plane > 0
        # Squared, because moves of two voxels in opposite directions would leave a linear sum as it is.
        yield plane[drawn], (inPlane[drawn] + k * 1299709) ** 2 >> 8 & 0xFFFFF


def segmentVolumes(segmentationNode):
    """Volume of each segment by counting voxels.

    :param segmentationNode: any segmentation; one that stores surfaces or contours is converted in a private copy.
    :return: dict from segment ID to mL, in the segmentation node's coordinates (a parent transform is not applied).
    """
    segmentation = nodeWithLabelmaps(segmentationNode).GetSegmentation()
    counts = voxelCounts(segmentation)
    volumes = {}
    for segmentId, count in counts.items():
        image = segmentation.GetSegment(segmentId).GetRepresentation(labelmapName())
        voxelVolume = float(np.prod(image.GetSpacing())) if image else 0.0
        volumes[segmentId] = count * voxelVolume / CUBIC_MILLIMETRES_PER_MILLILITRE
    return volumes


def tag(segment, name):
    """Text of a tag of a segment, "" if it has no such tag."""
    text = vtk.reference("")
    return str(text) if segment.GetTag(name, text) else ""


def nodeWithLabelmaps(segmentationNode, reference=None):
    """The node itself if it stores label maps, else a copy outside the scene, converted on the reference grid."""
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0 or segmentation.GetSourceRepresentationName() == labelmapName():
        return segmentationNode
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentation)
    copy.RemoveRepresentation(labelmapName())
    if reference is not None:
        geometry = slicer.vtkSegmentationConverter.SerializeImageGeometry(reference)
        copy.SetConversionParameter(slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName(), geometry)
    if not copy.CreateRepresentation(labelmapName()):
        raise RuntimeError(f"Slicer could not convert '{segmentationNode.GetName()}' to label maps")
    copy.SetSourceRepresentationName(labelmapName())
    node = slicer.vtkMRMLSegmentationNode()
    node.SetAndObserveSegmentation(copy)
    return node


@contextmanager
def keepingOthers(segmentation, segmentIds):
    """Keep the surfaces of all other segments while these are changed.

    Slicer drops whatever was derived from a label map that is changed, although the shape of a segment that merely
    shares it stays, and a surface that was shown would vanish.
    """
    others = set(segmentation.GetSegmentIDs()) - set(segmentIds)
    surfaces = {other: segmentation.GetSegment(other).GetRepresentation(surfaceName()) for other in others}
    yield
    for segmentId, surface in surfaces.items():
        segment = segmentation.GetSegment(segmentId)
        if surface and not segment.GetRepresentation(surfaceName()):
            segment.AddRepresentation(surfaceName(), surface)
