"""The surfaces of a segmentation as STL or OBJ files."""

import os
from pathlib import Path

import slicer
import vtk
from sam2adapt.shared.errors import ClassesError, OutputError
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import asEngineErrors
from SAM2AdaptLib.Engine.PrivateFolder import PrivateFolder
from SAM2AdaptLib.Report import Export
from SAM2AdaptLib.Scene import LabelMaps

STL, OBJ = "STL", "OBJ"
_LEAST_KEPT = 0.9  # of the volume of a structure's voxels, for its smoothed surface to be written


def surfaces(segmentationNode, folder, fileFormat=STL):
    """Write the surface of each segment that is not empty, in millimetres and LPS, as other programs expect it.

    Surfaces are those that Slicer shows, but for structures of which its smoothing leaves less than nine tenths: a
    lesion of three voxels across would be a shell around nothing. Theirs follow the voxels.

    :param folder: existing files in it are never replaced.
    :param fileFormat: "STL", a file for each segment, or "OBJ", one file with its colours beside it.
    :return: paths of the files, and sentences about structures that are too thin for Slicer's smoothing.
    :raises EngineError: there is no segment with a surface, or a file exists or cannot be written.
    """
    with asEngineErrors(), PrivateFolder() as temporary:
        folder, ids = Path(folder), Export.requireSegments(segmentationNode)
        copy, notes = _copy(segmentationNode, ids)
        if not copy.GetSegmentation().GetNumberOfSegments():
            raise ClassesError(
                _("All segments of '{name}' are empty.").format(name=segmentationNode.GetName()),
                _("Draw or segment something first."),
            )
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        logic.ExportSegmentsClosedSurfaceRepresentationToFiles(str(temporary.path), copy, None, fileFormat, True)
        written = sorted(temporary.path.iterdir())
        expected = copy.GetSegmentation().GetNumberOfSegments() if fileFormat == STL else 2
        if len(written) != expected or not all(file.stat().st_size for file in written):
            raise OutputError(_("Slicer could not make all surfaces."), _("Show the segmentation in 3D to see which."))
        targets = [folder / file.name for file in written]
        if existing := next((target for target in targets if os.path.lexists(target)), None):
            raise OutputError(_("'{path}' exists already.").format(path=existing), _("Choose an empty folder."))
        for file, target in zip(written, targets, strict=True):
            Export.move(file, target)
        return targets, notes


def _copy(segmentationNode, ids):
    """A node outside the scene with all surfaces in world coordinates, under names for files; and notes.

    Slicer makes file names of the segments' names: two that are equal replace each other, and one with a slash is lost.
    """
    copy = slicer.vtkMRMLSegmentationNode()
    copy.SetName(Export.fileName(segmentationNode.GetName()))
    segmentation = slicer.vtkSegmentation()
    segmentation.DeepCopy(segmentationNode.GetSegmentation())
    copy.SetAndObserveSegmentation(segmentation)
    if not copy.CreateClosedSurfaceRepresentation():
        raise OutputError(_("Slicer could not make the surfaces."), _("Show the segmentation in 3D to see which."))
    notes, taken = _restoreThin(copy), set()
    for segmentId in ids:
        segment = segmentation.GetSegment(segmentId)
        if _surface(segment) is None:
            segmentation.RemoveSegment(segmentId)
            continue
        segment.SetName(Export.fileName(segment.GetName(), taken))
        taken.add(segment.GetName().casefold())
    if segmentationNode.GetParentTransformNode():
        toWorld = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(segmentationNode.GetParentTransformNode(), None, toWorld)
        copy.ApplyTransform(toWorld)
    return copy, notes


def _restoreThin(segmentationNode):
    """Give structures that smoothing would take away a surface that follows their voxels; sentences about them."""
    segmentation, name = segmentationNode.GetSegmentation(), LabelMaps.surfaceName()
    if segmentation.GetSourceRepresentationName() != LabelMaps.labelmapName():
        return []
    shares = {
        segmentId: _volume(segmentation.GetSegment(segmentId)) / (LabelMaps.CUBIC_MILLIMETRES_PER_MILLILITRE * volume)
        for segmentId, volume in LabelMaps.segmentVolumes(segmentationNode).items()
        if volume
    }
    rough, notes = slicer.vtkSegmentation(), []
    rough.SetSourceRepresentationName(LabelMaps.labelmapName())
    rough.SetConversionParameter(_smoothing(), "0")
    for segmentId, share in shares.items():
        if share < _LEAST_KEPT:
            rough.CopySegmentFromSegmentation(segmentation, segmentId)
            rough.GetSegment(segmentId).RemoveRepresentation(name)
    if rough.GetNumberOfSegments():
        rough.CreateRepresentation(name, True)
    for segmentId in rough.GetSegmentIDs():
        segment = segmentation.GetSegment(segmentId)
        segment.AddRepresentation(name, rough.GetSegment(segmentId).GetRepresentation(name))
        notes.append(
            _("'{name}' is thin: its surface is not smoothed, which would leave {share} % of its volume.").format(
                name=segment.GetName(), share=round(100 * shares[segmentId])
            )
        )
    return notes


def _smoothing():
    return slicer.vtkBinaryLabelmapToClosedSurfaceConversionRule.GetSmoothingFactorParameterName()


def _surface(segment):
    """The surface of a segment; None if there is nothing of it."""
    surface = segment.GetRepresentation(LabelMaps.surfaceName())
    return surface if surface and surface.GetNumberOfPoints() else None


def _volume(segment):
    """What the surface of a segment encloses, mm^3; 0 if it has none."""
    if (surface := _surface(segment)) is None:
        return 0.0
    triangles, properties = vtk.vtkTriangleFilter(), vtk.vtkMassProperties()
    triangles.SetInputData(surface)
    properties.SetInputConnection(triangles.GetOutputPort())
    properties.Update()
    return properties.GetVolume()
