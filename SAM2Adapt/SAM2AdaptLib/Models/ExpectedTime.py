"""How long a model will take, from what it took on this computer before; never a guess."""

import qt
from sam2adapt.shared import slicing_axis

from SAM2AdaptLib.Scene import Geometry

SETTINGS_GROUP = "SAM2Adapt/SecondsPerSlice"


def remember(result, device, testTimeAugmentation=False):
    """Keep the speed of a finished run.

    :param result: the engine's answer.
    :param device: the device that was asked for, for instance ``auto`` or ``cpu``.
    """
    if result["slices"] > 0:
        seconds = result["seconds"]["total"] - result["seconds"]["load"]
        key = _key(result["model"]["digest"], device, testTimeAugmentation)
        qt.QSettings().setValue(key, seconds / result["slices"])


def expectedSeconds(model, volumeNode, device, testTimeAugmentation=False):
    """Seconds that a model is going to take for the whole of a volume with voxels; None when it was never measured."""
    stored = qt.QSettings().value(_key(model.digest, device, testTimeAugmentation))
    if stored is None:
        return None
    return float(stored) * sliceCount(volumeNode, model.axis)


def sliceCount(volumeNode, axis):
    """How many slices a volume has for a model.

    :param axis: ``axial``, ``coronal``, ``sagittal``, or ``acquisition`` for the axis of the largest spacing.
    """
    dimensions = volumeNode.GetImageData().GetDimensions()
    axes = slicing_axis.anatomical_axes(Geometry.directions(volumeNode))
    sizes = [dimensions[number] for number in axes]
    if axis == slicing_axis.ACQUISITION:
        return sizes[slicing_axis.acquisition_axis(sizes, [volumeNode.GetSpacing()[number] for number in axes])]
    return sizes[slicing_axis.NUMBERS[axis]]


def _key(digest, device, testTimeAugmentation):
    suffix = "-tta" if testTimeAugmentation else ""
    return f"{SETTINGS_GROUP}/{digest.removeprefix('sha256:')[:16]}-{device}{suffix}"
