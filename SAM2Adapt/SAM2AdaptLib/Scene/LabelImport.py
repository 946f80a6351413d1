"""An array of labels becomes named segments of a segmentation node, in one step.

Node names and segment names may hold any character.
"""

import numpy as np
import slicer
import vtk
from sam2adapt.shared.errors import ClassesError, GeometryError
from sam2adapt.shared.labels.label_runs import count_labels
from slicer.i18n import tr as _

from SAM2AdaptLib.Scene import Geometry, LabelMaps, NewNodes, Volumes

REPLACE = "replace"
ADD = "add"

_MAXIMUM_LABEL = 255  # label maps cross the process wall as uint8


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
    :param existing: "replace" puts a structure in the place of the segment that has its name; "add" always adds a
      segment, with a number after a name that is taken.
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
        segmentationNode = NewNodes.createSegmentationNode(volumeNode)
    else:
        LabelMaps.requireLabelmaps(segmentationNode, volumeNode)
    try:
        _fillSegments(volumeNode, contiguous, structures, segmentationNode, replaced)
    except Exception:
        if isNew:
            slicer.mrmlScene.RemoveNode(segmentationNode.GetDisplayNode())
            slicer.mrmlScene.RemoveNode(segmentationNode)
        raise
    return segmentationNode


def _contiguousLabels(volumeNode, labels, structures):
    """Check labels against volume and structures; return them with the values 1..N in the order of the structures."""
    labels = np.asarray(labels)
    values = [structure["id"] for structure in structures]
    _checkArray(volumeNode, labels)
    _checkStructures(labels, structures, values)
    if values == list(range(1, len(values) + 1)):
        return labels
    contiguous = np.zeros(_MAXIMUM_LABEL + 1, np.uint8)
    contiguous[values] = np.arange(1, len(values) + 1)
    return contiguous[labels]


def _checkArray(volumeNode, labels):
    Volumes.requireVoxels(volumeNode)
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    if labels.shape != shape:
        raise GeometryError(
            _("Labels of shape {labels} do not fit volume '{name}' of shape {shape}.").format(
                labels=labels.shape, name=volumeNode.GetName(), shape=shape
            ),
            _("Use labels that were made for this volume."),
        )
    if labels.dtype != np.uint8:
        raise ClassesError(_("Labels are of type {type}.").format(type=labels.dtype), _("Use labels of type uint8."))


def _checkStructures(labels, structures, values):
    names = [structure["name"] for structure in structures]
    if not structures or len(set(values)) != len(values) or len(set(names)) != len(names) or "" in names:
        raise ClassesError(
            _("Each structure needs its own label value and name."), _("Correct the list of structures.")
        )
    if min(values) < 1 or max(values) > _MAXIMUM_LABEL:
        raise ClassesError(
            _("Label values go from 1 to {limit}, not {lowest} to {highest}.").format(
                limit=_MAXIMUM_LABEL, lowest=min(values), highest=max(values)
            ),
            _("Correct the list of structures."),
        )
    unnamed = set(np.flatnonzero(count_labels(labels))) - {0, *values}
    if unnamed:
        raise ClassesError(
            _("Label {label} has no structure.").format(label=min(unnamed)), _("Name a structure for each label.")
        )


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


def _fillSegments(volumeNode, contiguous, structures, segmentationNode, replaced):
    """Write labels 1..N into the segments of the structures; a name in replaced says which segment to reuse."""
    segmentation = segmentationNode.GetSegmentation()
    with slicer.util.NodeModify(segmentationNode):
        if segmentation.GetNumberOfSegments() == 0:
            segmentation.SetSourceRepresentationName(LabelMaps.labelmapName())
        if len(replaced) == segmentation.GetNumberOfSegments() or not Volumes.volumeOf(segmentationNode):
            # Other segments may rely on a grid chosen earlier; it changes only when there are none.
            segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        hasSurfaces = segmentation.ContainsRepresentation(LabelMaps.surfaceName())
        segmentIds = [
            replaced.get(name) or segmentation.AddEmptySegment("", _freeName(segmentation, name))
            for name in (structure["name"] for structure in structures)
        ]
        with LabelMaps.keepingOthers(segmentation, segmentIds):
            _importLabelmap(volumeNode, contiguous, segmentationNode, segmentIds)
        for segmentId, structure in zip(segmentIds, structures, strict=True):
            _setUpSegment(segmentation.GetSegment(segmentId), structure)
            if hasSurfaces:
                _updateSurface(segmentation, segmentId)
    _verifyVoxelCounts(segmentation, segmentIds, contiguous)


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
        ijkToSegmentation = Geometry.voxelsToSegmentation(volumeNode, segmentationNode)
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
    """Update the closed surface of one segment, so that 3-D views do not show its old shape."""
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    surface = logic.CreateRepresentationForOneSegment(segmentation, segmentId, LabelMaps.surfaceName())
    segmentation.GetSegment(segmentId).AddRepresentation(LabelMaps.surfaceName(), surface)


def _verifyVoxelCounts(segmentation, segmentIds, contiguous):
    expected = count_labels(contiguous)
    counts = LabelMaps.voxelCounts(segmentation, segmentIds)
    for count, segmentId in zip(expected[1:].tolist(), segmentIds, strict=False):
        if counts[segmentId] != count:
            name = segmentation.GetSegment(segmentId).GetName()
            raise RuntimeError(f"Segment '{name}' received {counts[segmentId]} voxels instead of {count}")
