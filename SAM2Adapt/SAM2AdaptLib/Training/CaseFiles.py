"""Training cases as files that the engine reads: images, label maps, and one name for each case."""

import re
from pathlib import Path

import numpy as np
import slicer
from sam2adapt.shared.errors import OutputError
from sam2adapt.shared.files import make_folder
from slicer.i18n import tr as _

from SAM2AdaptLib.Scene import NewNodes

IMAGES, LABELS = "images", "labels"
_LONGEST_NAME = 80  # Windows allows 260 characters for a whole path


def identifiers(cases):
    """A name for the files of each case, none of which differ by case only, from the names of the cases.

    :return: list of str, in the order of the cases.
    """
    taken, names = set(), []
    for number, case in enumerate(cases, start=1):
        base = re.sub(r"[^\w-]+", "_", case.name).strip("_")[:_LONGEST_NAME] or f"case_{number}"
        name, copy = base, 1
        while name.lower() in taken:
            copy += 1
            name = f"{base}_{copy}"
        taken.add(name.lower())
        names.append(name)
    return names


def write(cases, classes, folder):
    """Write all cases at once; ``TrainingJob`` writes one at a time with ``writeCase``.

    :param cases: list of ``Cases.TrainingCase``, all of which are to be used.
    :param classes: list of ``Classes.TrainingClass``.
    :param folder: existing folder.
    :return: names of the files of each case, in the order of the cases.
    :raises UserError: see ``writeCase``.
    """
    names = identifiers(cases)
    for case, name in zip(cases, names, strict=True):
        writeCase(case, name, classes, folder)
    return names


def writeCase(case, identifier, classes, folder):
    """Write the image and the label map of one case into the folders ``images`` and ``labels``.

    Label values are the ids of the classes; 255 marks what is not annotated. The nodes of the case stay as they are.

    :raises UserError: the case has a problem.
    :raises OutputError: a file cannot be written.
    """
    folder = Path(folder)
    for name in (IMAGES, LABELS):
        make_folder(folder / name)
    values = {
        segmentId: entry.id for entry in classes if entry.use for member, segmentId in entry.members if member is case
    }
    case.write(folder, identifier, values)


def writeVolumeNode(volumeNode, path):
    """Write the voxels of a volume node with its own geometry, without parent transform, not compressed.

    :param path: pathlib.Path ending in .nrrd.
    :raises OutputError: it cannot be written.
    """
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    storage.UseCompressionOff()
    storage.WriteData(volumeNode)
    # Neither a missing folder nor a full disk makes Slicer's writer say that it failed.
    if not path.is_file() or path.stat().st_size < slicer.util.arrayFromVolume(volumeNode).nbytes:
        path.unlink(missing_ok=True)
        raise OutputError(
            _("'{path}' could not be written.").format(path=path),
            _("Free space on the disk, or choose another folder with the environment variable SAM2ADAPT_HOME."),
        )


def writeLabels(labels, gridNode, path):
    """Write labels (K, J, I), uint8, on the grid of a volume node.

    :raises OutputError: they cannot be written.
    """
    node = slicer.vtkMRMLLabelMapVolumeNode()
    NewNodes.fillVolume(node, np.ascontiguousarray(labels, np.uint8), gridNode)
    writeVolumeNode(node, path)
