"""Segmentations as files that Slicer itself writes: a NIfTI label map, and surfaces as STL or OBJ."""

import os
import re
import shutil
from pathlib import Path

import slicer
import vtk
from sam2adapt.shared.errors import ClassesError, OutputError
from sam2adapt.shared.files import atomic_write
from sam2adapt.shared.labels.overlaps import overlap_notes
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import asEngineErrors
from SAM2AdaptLib.Engine.PrivateFolder import PrivateFolder
from SAM2AdaptLib.Scene import LabelExport, Volumes

SUFFIXES = (".nii.gz", ".nii")
STL, OBJ = "STL", "OBJ"
_LONGEST = 80  # characters of a name that becomes a file name
_NOT_IN_FILE_NAMES = re.compile(r'[<>:"/\\|?*\x00-\x1f]+')


def labelmap(volumeNode, segmentationNode, path):
    """Write a segmentation as a NIfTI label map on the voxels of a volume, with a table of its names beside it.

    The n-th segment has the value n. The table, ``NAME.tsv`` with the columns index, name and color, is that of BIDS;
    the training module reads it.

    :return: sentences about segments that overlap: a label map can show one at a place only.
    :raises EngineError: there is no segment, or the file cannot be written.
    """
    with asEngineErrors():
        path, ids = Path(path), requireSegments(segmentationNode)
        suffix = _suffix(path)
        if suffix is None:
            raise OutputError(_("'{name}' is not the name of a NIfTI file.").format(name=path.name), _("Add .nii.gz."))
        Volumes.requireVoxels(volumeNode)
        with PrivateFolder() as folder:
            logic = slicer.vtkSlicerSegmentationsModuleLogic
            arguments = segmentationNode, _strings(ids), suffix.removeprefix("."), True, volumeNode
            if not logic.ExportSegmentsBinaryLabelmapRepresentationToFiles(str(folder.path), *arguments):
                raise OutputError(_("Slicer could not write '{path}'.").format(path=path), _("Look into its log."))
            (written,) = [file for file in folder.path.iterdir() if file.name.endswith(suffix)]
            _move(written, path)
        _write(tableOf(path), _table(segmentationNode, ids))
        lost = LabelExport.overlaps(volumeNode, segmentationNode, ids)
        return list(overlap_notes(segmentationNode.GetName(), lost))


def tableOf(path):
    """The table of names that ``labelmap`` writes beside a file."""
    path = Path(path)
    return path.with_name(f"{path.name[: -len(_suffix(path))]}.tsv")


def _suffix(path):
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


def surfaces(segmentationNode, folder, fileFormat=STL):
    """Write the surface of each segment that is not empty, in millimetres and LPS, as other programs expect it.

    :param folder: existing files in it are never replaced.
    :param fileFormat: "STL", a file for each segment, or "OBJ", one file with its colours beside it.
    :return: paths of the files.
    :raises EngineError: there is no segment with a surface, or a file exists or cannot be written.
    """
    with asEngineErrors(), PrivateFolder() as temporary:
        folder, ids = Path(folder), requireSegments(segmentationNode)
        copy = _copy(segmentationNode, ids)
        logic = slicer.vtkSlicerSegmentationsModuleLogic
        logic.ExportSegmentsClosedSurfaceRepresentationToFiles(str(temporary.path), copy, None, fileFormat, True)
        written = sorted(temporary.path.iterdir())
        expected = copy.GetSegmentation().GetNumberOfSegments() if fileFormat == STL else 2
        if not expected or len(written) != expected or not all(file.stat().st_size for file in written):
            raise OutputError(_("Slicer could not make all surfaces."), _("Show the segmentation in 3D to see which."))
        targets = [folder / file.name for file in written]
        if existing := next((target for target in targets if os.path.lexists(target)), None):
            raise OutputError(_("'{path}' exists already.").format(path=existing), _("Choose an empty folder."))
        for file, target in zip(written, targets, strict=True):
            _move(file, target)
        return targets


def requireSegments(segmentationNode):
    """The IDs of all segments.

    :raises ClassesError: there are none.
    """
    ids = list(segmentationNode.GetSegmentation().GetSegmentIDs())
    if not ids:
        raise ClassesError(
            _("'{name}' has no segments.").format(name=segmentationNode.GetName()), _("Segment something first.")
        )
    return ids


def fileName(name, taken=()):
    """A name that every file system accepts, unlike those that are taken, whose upper and lower case do not matter."""
    plain = _NOT_IN_FILE_NAMES.sub("_", name).strip(" .")[:_LONGEST].strip() or "segment"
    number, unique = 1, plain
    while unique.casefold() in taken:
        number += 1
        unique = f"{plain} {number}"
    return unique


def _copy(segmentationNode, ids):
    """A node outside the scene with the surfaces of the segments, in world coordinates, under names for files.

    Slicer makes file names of the segments' names: two that are equal replace each other, and one with a slash is lost.
    """
    copy = slicer.vtkMRMLSegmentationNode()
    copy.SetName(fileName(segmentationNode.GetName()))
    segmentation = slicer.vtkSegmentation()
    segmentation.DeepCopy(segmentationNode.GetSegmentation())
    copy.SetAndObserveSegmentation(segmentation)
    if not copy.CreateClosedSurfaceRepresentation():
        raise OutputError(_("Slicer could not make the surfaces."), _("Show the segmentation in 3D to see which."))
    taken = set()
    for segmentId in ids:
        segment = segmentation.GetSegment(segmentId)
        surface = segment.GetRepresentation(slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName())
        if surface is None or not surface.GetNumberOfPoints():
            segmentation.RemoveSegment(segmentId)
            continue
        segment.SetName(fileName(segment.GetName(), taken))
        taken.add(segment.GetName().casefold())
    if segmentationNode.GetParentTransformNode():
        toWorld = vtk.vtkGeneralTransform()
        slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(segmentationNode.GetParentTransformNode(), None, toWorld)
        copy.ApplyTransform(toWorld)
    return copy


def _table(segmentationNode, ids):
    lines = ["index\tname\tcolor"]
    for value, segmentId in enumerate(ids, start=1):
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
        colour = "".join(f"{round(255 * part):02X}" for part in segment.GetColor())
        lines.append(f"{value}\t{' '.join((segment.GetName() or '').split())}\t#{colour}")
    return "\n".join(lines) + "\n"


def _strings(texts):
    strings = vtk.vtkStringArray()
    for text in texts:
        strings.InsertNextValue(text)
    return strings


def _move(source, target):
    """Move a file onto another disk perhaps, so that it is complete or not there."""
    with source.open("rb") as file, atomic_write(target) as copy:
        shutil.copyfileobj(file, copy)


def _write(path, text):
    with atomic_write(path) as file:
        file.write(text.encode())
