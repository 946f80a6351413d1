"""How long a model will take, from what it took on this computer before; never a guess."""

import qt

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


def expectedSeconds(model, sliceCount, device, testTimeAugmentation=False):
    """Seconds that a model will take for so many slices; None when it was never measured."""
    stored = qt.QSettings().value(_key(model.digest, device, testTimeAugmentation))
    return None if stored is None else float(stored) * sliceCount


def _key(digest, device, testTimeAugmentation):
    suffix = "-tta" if testTimeAugmentation else ""
    return f"{SETTINGS_GROUP}/{digest.removeprefix('sha256:')[:16]}-{device}{suffix}"
