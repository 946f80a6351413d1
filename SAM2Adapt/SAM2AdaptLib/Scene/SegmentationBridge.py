"""Between MRML nodes and numpy arrays: a volume goes out to the engine, labels come back as named segments.

Needs neither Qt nor torch, so it works in Slicer, in a batch script and on PyPI's slicer-core alike. Arrays are indexed
(K, J, I) as ``slicer.util`` does. Node names, segment names and file names may hold any character.
"""

from contextlib import contextmanager

import numpy as np
import slicer
import vtk
from sam2adapt.shared.errors import ClassesError, GeometryError, VolumeError
from sam2adapt.shared.label_runs import count_labels
from vtk.util.numpy_support import vtk_to_numpy

from SAM2AdaptLib.Scene import Volumes

try:
    from slicer.i18n import tr as _
except ImportError:  # PyPI's slicer-core has no translations

    def _(text):
        return text


REPLACE = "replace"
ADD = "add"

MAXIMUM_STRUCTURES = 255  # label maps cross the process wall as uint8, and 0 is background
CUBIC_MILLIMETRES_PER_MILLILITRE = 1000.0


def volumeToArrays(volumeNode):
    """Voxels and geometry of a volume node, in the engine's conventions.

    The geometry is that of the node; a parent transform is not applied, because results go under the same transform.

    :param volumeNode: vtkMRMLScalarVolumeNode, or vtkMRMLVectorVolumeNode for colour images.
    :return: (array, origin, spacing, direction). array (C, K, J, I) is a view of the node's voxels, not to be written
      to; origin (3,) in mm and direction (3, 3), whose columns are the directions of I, J and K, are LPS;
      spacing (3,) in mm is in the order I, J, K.
    :raises VolumeError: the node holds no voxels.
    """
    requireVoxels(volumeNode)
    voxels = slicer.util.arrayFromVolume(volumeNode)
    channels = voxels[np.newaxis] if voxels.ndim == 3 else np.moveaxis(voxels, -1, 0)
    ijkToLPS = np.diag([-1.0, -1.0, 1.0, 1.0]) @ ijkToRAS(volumeNode)
    spacing = np.array(volumeNode.GetSpacing())
    return channels, ijkToLPS[:3, 3].copy(), spacing, ijkToLPS[:3, :3] / spacing


def importLabels(volumeNode, labels, structures, segmentationNode=None, existing=REPLACE):
    """Make segments out of an array of labels, all structures in one step.

    Each structure becomes one segment with its name, terminology and colour, with the status "in progress", empty if
    its label does not occur. All other segments stay as they are, even where they overlap. Everything is checked
    before the scene changes, and the voxels that arrived are counted afterwards.

    :param volumeNode: volume that was segmented; gives the grid.
    :param labels: (K, J, I) uint8 array on the grid of the volume; 0 is background.
    :param structures: list of dicts with "id" (label value, 1 to 255), "name", and optionally "terminology" (Slicer's
      serialized entry) and "color" (three numbers of 0 to 1).
    :param segmentationNode: where to put the segments; without it a new node named after the volume is made, under
      the parent transform of the volume and beside it in the subject hierarchy.
    :param existing: "replace" puts a structure in the place of the segment that has its name; "add" always adds, under
      a name of its own.
    :return: the vtkMRMLSegmentationNode.
    :raises VolumeError: the volume holds no voxels.
    :raises GeometryError: labels are not on the grid of the volume, or the segmentation cannot take label maps.
    :raises ClassesError: labels and structures disagree, or a name does not say which segment to replace.
    """
    if existing not in (REPLACE, ADD):
        raise ValueError(f"existing must be '{REPLACE}' or '{ADD}', not {existing!r}")
    contiguous = _contiguousLabels(volumeNode, labels, structures)
    isNew = segmentationNode is None
    replaced = {} if isNew or existing == ADD else _segmentsToReplace(segmentationNode, structures)
    if isNew:
        segmentationNode = createSegmentationNode(volumeNode)
    else:
        requireUsable(segmentationNode, volumeNode)
    try:
        _fillSegments(volumeNode, contiguous, structures, segmentationNode, replaced)
    except Exception:
        if isNew:
            slicer.mrmlScene.RemoveNode(segmentationNode.GetDisplayNode())
            slicer.mrmlScene.RemoveNode(segmentationNode)
        raise
    return segmentationNode


def exportLabels(volumeNode, segmentationNode, segmentIds, firstWins=False):
    """Segments as one array of labels on the grid of a volume; scene, segmentation and volume stay as they are.

    :param volumeNode: volume that gives the grid.
    :param segmentationNode: any segmentation; one that stores surfaces or contours is converted in a private copy.
    :param segmentIds: list of segment IDs; the n-th gets the label n + 1.
    :param firstWins: whether of two that overlap the one earlier in the list wins, not the later one.
    :return: (K, J, I) array, uint8, or uint16 for more than 255 segments.
    :raises VolumeError: the volume holds no voxels.
    :raises ClassesError: the list is empty or names a segment that is not there.
    :raises GeometryError: a non-linear transform lies between volume and segmentation.
    """
    if firstWins:
        labels = exportLabels(volumeNode, segmentationNode, list(segmentIds)[::-1])
        return np.arange(len(segmentIds) + 1, 0, -1, labels.dtype)[labels] * (labels > 0)
    requireVoxels(volumeNode)
    segmentIds = list(segmentIds)
    if not segmentIds:
        raise ClassesError(_("No segment was chosen."), _("Choose at least one segment."))
    missing = [segmentId for segmentId in segmentIds if not segmentationNode.GetSegmentation().GetSegment(segmentId)]
    if missing:
        raise ClassesError(
            _("'{name}' has no segment with the ID '{id}'.").format(name=segmentationNode.GetName(), id=missing[0]),
            _("Choose segments that exist."),
        )
    reference = slicer.vtkOrientedImageData()
    reference.SetDimensions(volumeNode.GetImageData().GetDimensions())
    ijkToSegmentation = volumeToSegmentation(volumeNode, segmentationNode) @ ijkToRAS(volumeNode)
    reference.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ijkToSegmentation))
    dataType = np.uint8 if len(segmentIds) <= MAXIMUM_STRUCTURES else np.uint16
    shared = _sharedLabelmap(segmentationNode, segmentIds)
    if shared and slicer.vtkOrientedImageDataResample.DoGeometriesMatch(shared, reference):
        return _relabelled(segmentationNode, segmentIds, shared, reference, dataType)
    ids, values = vtk.vtkStringArray(), vtk.vtkIntArray()
    for value, segmentId in enumerate(segmentIds, start=1):
        ids.InsertNextValue(segmentId)
        values.InsertNextValue(value)
    merged = slicer.vtkOrientedImageData()
    source = _nodeWithLabelmaps(segmentationNode, reference)
    if not source.GenerateMergedLabelmapForAllSegments(
        merged, slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY, reference, ids, values
    ):
        raise RuntimeError(f"Slicer could not merge the segments of '{segmentationNode.GetName()}'")
    return imageToArray(merged).astype(dataType)


def overlaps(volumeNode, segmentationNode, segmentIds, firstWins=False):
    """Voxels that segments lose to others in ``exportLabels``.

    :return: dict from the name of a segment that loses to a dict from the winner's name to the number of voxels; empty
      if no two segments overlap.
    """
    segmentation = segmentationNode.GetSegmentation()
    layers = {}  # segments that share a label map cannot overlap
    for segmentId in segmentIds:
        data = segmentation.GetSegment(segmentId).GetRepresentation(segmentation.GetSourceRepresentationName())
        layers.setdefault(data.GetAddressAsString("") if data else segmentId, []).append(segmentId)
    if len(layers) < 2:
        return {}
    names = [segmentation.GetSegment(segmentId).GetName() for segmentId in segmentIds]
    numbers = {segmentId: number for number, segmentId in enumerate(segmentIds)}
    merged, lost = None, {}
    for ids in layers.values():
        table = np.array([0, *(numbers[segmentId] + 1 for segmentId in ids)])
        layer = table[exportLabels(volumeNode, segmentationNode, ids)]
        if merged is None:
            merged = layer
            continue
        both = (merged > 0) & (layer > 0)
        for one, other in np.unique(np.stack([merged[both], layer[both]]), axis=1).T if both.any() else ():
            count = np.count_nonzero((merged == one) & (layer == other))
            winner, loser = (min, max)[not firstWins](one, other), (max, min)[not firstWins](one, other)
            found = lost.setdefault(names[loser - 1], {})
            found[names[winner - 1]] = found.get(names[winner - 1], 0) + count
        better = np.minimum(merged, layer) if firstWins else np.maximum(merged, layer)
        merged = np.where(both, better, merged + layer)
    return lost


def _sharedLabelmap(segmentationNode, segmentIds):
    """The label map in which all these segments are stored, None if there is no such one."""
    segmentation = segmentationNode.GetSegmentation()
    if segmentation.GetSourceRepresentationName() != labelmapName():
        return None
    images = [segmentation.GetSegment(segmentId).GetRepresentation(labelmapName()) for segmentId in segmentIds]
    return images[0] if all(image is images[0] for image in images) else None


def _relabelled(segmentationNode, segmentIds, labelmap, reference, dataType):
    """The n-th segment of a shared label map as label n + 1, on a grid that the label map lies in.

    What Slicer's merging gives, which goes over the volume once for each segment.
    """
    voxels = imageToArray(labelmap)
    labels = np.zeros(reference.GetDimensions()[::-1], dataType)
    extents = np.reshape(labelmap.GetExtent(), (3, 2))[::-1], np.reshape(reference.GetExtent(), (3, 2))[::-1]
    start = np.maximum(extents[0][:, 0], extents[1][:, 0])
    stop = np.minimum(extents[0][:, 1], extents[1][:, 1]) + 1
    if (start >= stop).any():
        return labels
    source, target = (tuple(map(slice, start - extent[:, 0], stop - extent[:, 0])) for extent in extents)
    values = [segmentationNode.GetSegmentation().GetSegment(segmentId).GetLabelValue() for segmentId in segmentIds]
    relabelled = np.zeros(max(int(voxels.max()), *values) + 1, dataType)
    relabelled[values] = np.arange(1, len(values) + 1)
    labels[target] = relabelled[voxels[source]]
    return labels


def segmentVolumes(segmentationNode):
    """Volume of each segment by counting voxels.

    :param segmentationNode: any segmentation; one that stores surfaces or contours is converted in a private copy.
    :return: dict from segment ID to mL, in the segmentation node's coordinates (a parent transform is not applied).
    """
    segmentation = _nodeWithLabelmaps(segmentationNode).GetSegmentation()
    counts = _segmentVoxelCounts(segmentation)
    volumes = {}
    for segmentId, count in counts.items():
        image = segmentation.GetSegment(segmentId).GetRepresentation(labelmapName())
        voxelVolume = float(np.prod(image.GetSpacing())) if image else 0.0
        volumes[segmentId] = count * voxelVolume / CUBIC_MILLIMETRES_PER_MILLILITRE
    return volumes


def requireVoxels(volumeNode):
    """Refuse a volume node that is None or holds no voxels.

    :raises VolumeError: in these cases.
    """
    if not volumeNode or not volumeNode.GetImageData() or 0 in volumeNode.GetImageData().GetDimensions():
        name = volumeNode.GetName() if volumeNode else ""
        raise VolumeError(
            _("Volume '{name}' holds no voxels.").format(name=name), _("Choose a volume that has been loaded.")
        )


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


def _contiguousLabels(volumeNode, labels, structures):
    """Check labels against volume and structures; return them with the values 1..N in the order of the structures."""
    requireVoxels(volumeNode)
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    labels = np.asarray(labels)
    if labels.shape != shape:
        raise GeometryError(
            _("Labels of shape {labels} do not fit volume '{name}' of shape {shape}.").format(
                labels=labels.shape, name=volumeNode.GetName(), shape=shape
            ),
            _("Use labels that were made for this volume."),
        )
    if labels.dtype != np.uint8:
        raise ClassesError(_("Labels are of type {type}.").format(type=labels.dtype), _("Use labels of type uint8."))
    values = [structure["id"] for structure in structures]
    names = [structure["name"] for structure in structures]
    if not structures or len(set(values)) != len(values) or len(set(names)) != len(names) or "" in names:
        raise ClassesError(
            _("Structures need a label value and a name of their own each."), _("Correct the list of structures.")
        )
    if min(values) < 1 or max(values) > MAXIMUM_STRUCTURES:
        raise ClassesError(
            _("Label values go from 1 to {limit}, not {lowest} to {highest}.").format(
                limit=MAXIMUM_STRUCTURES, lowest=min(values), highest=max(values)
            ),
            _("Correct the list of structures."),
        )
    unnamed = set(np.flatnonzero(count_labels(labels))) - {0, *values}
    if unnamed:
        raise ClassesError(
            _("Label {label} has no structure.").format(label=min(unnamed)), _("Name a structure for each label.")
        )
    if values == list(range(1, len(values) + 1)):
        return labels
    contiguous = np.zeros(MAXIMUM_STRUCTURES + 1, np.uint8)
    contiguous[values] = np.arange(1, len(values) + 1)
    return contiguous[labels]


def _segmentsToReplace(segmentationNode, structures):
    """Map the name of each structure that is already there to the ID of its segment."""
    names = {structure["name"] for structure in structures}
    segmentIds = {}
    segmentation = segmentationNode.GetSegmentation()
    for segmentId in segmentation.GetSegmentIDs():
        name = segmentation.GetSegment(segmentId).GetName()
        if name in names and name in segmentIds:
            raise ClassesError(
                _("Segmentation '{segmentation}' has several segments named '{name}'.").format(
                    segmentation=segmentationNode.GetName(), name=name
                ),
                _("Rename them, or choose to add new segments."),
            )
        if name in names:
            segmentIds[name] = segmentId
    return segmentIds


def requireUsable(segmentationNode, volumeNode):
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
    volumeToSegmentation(volumeNode, segmentationNode)


def createSegmentationNode(volumeNode):
    """New vtkMRMLSegmentationNode named after a volume, under its transform and beside it in the subject hierarchy."""
    name = freeNodeName(_("{name} segmentation").format(name=volumeNode.GetName()))
    segmentationNode = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    segmentationNode.CreateDefaultDisplayNodes()
    putBeside(volumeNode, segmentationNode)
    return segmentationNode


def freeNodeName(name):
    """The name, with a number if a node has it; Slicer's own way counts nodes that are gone, too, by undo perhaps."""
    return slicer.mrmlScene.GenerateUniqueName(name) if slicer.mrmlScene.GetFirstNodeByName(name) else name


def putBeside(volumeNode, node):
    """Put what was made from a volume under its parent transform and beside it in the subject hierarchy."""
    node.SetAndObserveTransformNodeID(volumeNode.GetTransformNodeID())
    # Without the subject hierarchy plugins of the application nodes have no item, and item 0 is "invalid".
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    volumeItem = hierarchy.GetItemByDataNode(volumeNode) if hierarchy else 0
    item = hierarchy.GetItemByDataNode(node) if hierarchy else 0
    if volumeItem and item:
        hierarchy.SetItemParent(item, hierarchy.GetItemParent(volumeItem))


def _fillSegments(volumeNode, contiguous, structures, segmentationNode, replaced):
    """Write labels 1..N into the segments of the structures; a name in replaced says which segment to reuse."""
    segmentation = segmentationNode.GetSegmentation()
    with slicer.util.NodeModify(segmentationNode):
        if segmentation.GetNumberOfSegments() == 0:
            segmentation.SetSourceRepresentationName(labelmapName())
        if len(replaced) == segmentation.GetNumberOfSegments() or not Volumes.volumeOf(segmentationNode):
            # Other segments may rely on a grid chosen earlier; it changes only when there are none.
            segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        hasSurfaces = segmentation.ContainsRepresentation(_surfaceName())
        segmentIds = [
            replaced.get(name) or segmentation.AddEmptySegment("", _freeName(segmentation, name))
            for name in (structure["name"] for structure in structures)
        ]
        with keepingOthers(segmentation, segmentIds):
            _importLabelmap(volumeNode, contiguous, segmentationNode, segmentIds)
        for segmentId, structure in zip(segmentIds, structures, strict=True):
            _setUpSegment(segmentation.GetSegment(segmentId), structure)
            if hasSurfaces:
                _updateSurface(segmentation, segmentId)
    _verifyVoxelCounts(segmentation, segmentIds, contiguous)


@contextmanager
def keepingOthers(segmentation, segmentIds):
    """Keep the surfaces of all other segments while these are changed.

    Slicer drops whatever was derived from a label map that is changed, although the shape of a segment that merely
    shares it stays, and a surface that was shown would vanish.
    """
    others = set(segmentation.GetSegmentIDs()) - set(segmentIds)
    surfaces = {other: segmentation.GetSegment(other).GetRepresentation(_surfaceName()) for other in others}
    yield
    for segmentId, surface in surfaces.items():
        segment = segmentation.GetSegment(segmentId)
        if surface and not segment.GetRepresentation(_surfaceName()):
            segment.AddRepresentation(_surfaceName(), surface)


def _freeName(segmentation, name):
    """The name, or the first of name_1, name_2 … that no segment has."""
    taken = {segmentation.GetSegment(segmentId).GetName() for segmentId in segmentation.GetSegmentIDs()}
    return next(free for free in (name, *(f"{name}_{n}" for n in range(1, len(taken) + 2))) if free not in taken)


def _importLabelmap(volumeNode, contiguous, segmentationNode, segmentIds):
    """Hand labels 1..N to the segments in one step, through a label map that lives in the scene for that moment.

    The label map is put under the transform of the segmentation: when the transforms differ, Slicer's import applies
    the difference twice (seen in 5.11 and 5.13, vtkSlicerSegmentationsModuleLogic.cxx).
    """
    labelmapNode = slicer.vtkMRMLLabelMapVolumeNode()
    labelmapNode.SetHideFromEditors(True)
    slicer.mrmlScene.AddNode(labelmapNode)
    try:
        labelmapNode.SetAndObserveTransformNodeID(segmentationNode.GetTransformNodeID())
        ijkToSegmentation = volumeToSegmentation(volumeNode, segmentationNode) @ ijkToRAS(volumeNode)
        labelmapNode.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijkToSegmentation))
        slicer.util.updateVolumeFromArray(labelmapNode, contiguous)
        ids = vtk.vtkStringArray()
        for segmentId in segmentIds:
            ids.InsertNextValue(segmentId)
        if not slicer.vtkSlicerSegmentationsModuleLogic.ImportLabelmapToSegmentationNode(
            labelmapNode, segmentationNode, ids
        ):
            raise RuntimeError(f"Slicer refused the label map for '{segmentationNode.GetName()}'")
    finally:
        slicer.mrmlScene.RemoveNode(labelmapNode)


def _setUpSegment(segment, structure):
    segment.NameAutoGeneratedOff()
    if structure.get("terminology"):
        segment.SetTerminology(structure["terminology"])
    if structure.get("color"):
        segment.SetColor(*(float(part) for part in structure["color"]))
        segment.ColorAutoGeneratedOff()
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    logic.SetSegmentStatus(segment, logic.InProgress)


def _updateSurface(segmentation, segmentId):
    """Make the closed surface of one segment anew, so that a 3-D view that shows it does not show the old shape."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    surface = logic.CreateRepresentationForOneSegment(segmentation, segmentId, _surfaceName())
    segmentation.GetSegment(segmentId).AddRepresentation(_surfaceName(), surface)


def _verifyVoxelCounts(segmentation, segmentIds, contiguous):
    expected = count_labels(contiguous)
    counts = _segmentVoxelCounts(segmentation, segmentIds)
    for count, segmentId in zip(expected[1:].tolist(), segmentIds, strict=False):
        if counts[segmentId] != count:
            name = segmentation.GetSegment(segmentId).GetName()
            raise RuntimeError(f"Segment '{name}' received {counts[segmentId]} voxels instead of {count}")


def _segmentVoxelCounts(segmentation, segmentIds=None):
    """Dict from segment ID to its voxels; segments that share a label map are counted in one pass."""
    images, voxelCounts = {}, {}
    for segmentId in segmentIds if segmentIds is not None else segmentation.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        image = segment.GetRepresentation(labelmapName())
        address = image.GetAddressAsString("") if image else None
        if address not in images:
            images[address] = count_labels(imageToArray(image) if image else np.zeros((0, 0, 0), np.uint8))
        value = segment.GetLabelValue()
        voxelCounts[segmentId] = int(images[address][value]) if value < len(images[address]) else 0
    return voxelCounts


def imageToArray(image):
    """The voxels of a label map, (K, J, I); of size 0 if it has none."""
    scalars = image.GetPointData().GetScalars()
    if scalars is None or 0 in image.GetDimensions():
        return np.zeros((0, 0, 0), np.uint8)
    return vtk_to_numpy(scalars).reshape(image.GetDimensions()[::-1])


def _nodeWithLabelmaps(segmentationNode, reference=None):
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


def labelmapName():
    """Slicer's name of binary label maps among the representations of a segment."""
    return slicer.vtkSegmentationConverter.GetSegmentationBinaryLabelmapRepresentationName()


def _surfaceName():
    return slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
