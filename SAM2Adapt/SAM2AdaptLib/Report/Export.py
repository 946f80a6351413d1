"""Segmentations as label maps that Slicer itself writes, and what exports have in common."""

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
            arguments = segmentationNode, strings(ids), suffix.removeprefix("."), True, volumeNode
            if not logic.ExportSegmentsBinaryLabelmapRepresentationToFiles(str(folder.path), *arguments):
                raise OutputError(_("Slicer could not write '{path}'.").format(path=path), _("Look into its log."))
            (written,) = [file for file in folder.path.iterdir() if file.name.endswith(suffix)]
            move(written, path)
        _write(tableOf(path), _table(segmentationNode, ids))
        lost = LabelExport.overlaps(volumeNode, segmentationNode, ids)
        return list(overlap_notes(segmentationNode.GetName(), lost))


def tableOf(path):
    """The table of names that ``labelmap`` writes beside a file."""
    path = Path(path)
    return path.with_name(f"{path.name[: -len(_suffix(path))]}.tsv")


def _suffix(path):
    return next((suffix for suffix in SUFFIXES if path.name.lower().endswith(suffix)), None)


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


def _table(segmentationNode, ids):
    lines = ["index\tname\tcolor"]
    for value, segmentId in enumerate(ids, start=1):
        segment = segmentationNode.GetSegmentation().GetSegment(segmentId)
        colour = "".join(f"{round(255 * part):02X}" for part in segment.GetColor())
        lines.append(f"{value}\t{' '.join((segment.GetName() or '').split())}\t#{colour}")
    return "\n".join(lines) + "\n"


def strings(texts):
    """Texts as VTK takes them."""
    strings = vtk.vtkStringArray()
    for text in texts:
        strings.InsertNextValue(text)
    return strings


def move(source, target):
    """Move a file onto another disk perhaps, so that it is complete or not there."""
    with source.open("rb") as file, atomic_write(target) as copy:
        shutil.copyfileobj(file, copy)


def _write(path, text):
    with atomic_write(path) as file:
        file.write(text.encode())
