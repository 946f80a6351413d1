"""The DICOM series that a volume of the scene was loaded from."""

import os
import shutil

import slicer
from sam2adapt.shared.errors import SeriesError
from slicer.i18n import tr as _

_INSTANCES = "DICOM.instanceUIDs"  # attribute that Slicer's DICOM module gives a volume


def files(volumeNode):
    """The files of the series, by Slicer's DICOM database.

    :raises SeriesError: the volume was not loaded from DICOM, or a file is gone.
    """
    name, instances = volumeNode.GetName(), (volumeNode.GetAttribute(_INSTANCES) or "").split()
    remedy = _("Load the series with the DICOM module and segment that, or export the segmentation as NIfTI.")
    if not instances:
        raise SeriesError(
            _("'{name}' was not loaded from DICOM, and a DICOM segmentation refers to a series.").format(name=name),
            remedy,
        )
    database = getattr(slicer, "dicomDatabase", None)
    paths = [database.fileForInstance(instance) if database else "" for instance in instances]
    missing = sum(not path or not os.path.isfile(path) for path in paths)
    if missing:
        raise SeriesError(
            _("{missing} of the {count} DICOM files of '{name}' are not in Slicer's DICOM database.").format(
                missing=missing, count=len(paths), name=name
            ),
            _("Import the series again with the DICOM module."),
        )
    return paths


def gather(paths, folder):
    """Put the files of a series into an empty folder of their own, as links where the disk allows it."""
    folder.mkdir()
    for number, path in enumerate(paths):
        target = folder / f"{number:06}.dcm"
        try:
            os.link(path, target)
        except OSError:
            shutil.copyfile(path, target)
