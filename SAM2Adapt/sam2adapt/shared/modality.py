"""Decide the modality of an image: one rule for training, segmenting and Slicer's panels.

This needs only NumPy, so that Slicer can ask without the engine.
"""

import numpy as np

_CT_REACHES, _CT_ALWAYS_REACHES = -500, -50  # Hounsfield units: lung or air, and fat


def modality_of(array: np.ndarray, tag: str = "", colour: bool = False, physical: bool = True) -> str:
    """Modality of an image: from its channels, its DICOM tag or, failing these, its grey levels.

    :param array: voxels of any shape, for the grey levels.
    :param tag: "CT" or "MR" from DICOM, else "".
    :param physical: see ``looks_like``.
    :return: "RGB", "CT", "MR", or "" if it is unknown.
    """
    return "RGB" if colour else tag or looks_like(array, physical)


def looks_like(array: np.ndarray, physical: bool = True) -> str:
    """Tell CT from MR by the lowest grey level: CT reaches the negative values of fat and air, MR has none.

    :param array: one-channel voxels of any shape; every tenth voxel along each axis does nearly as well as all.
    :param physical: False for pictures, whose grey levels look like those of MR.
    :return: "CT", "MR", or "" if the grey levels do not tell (or the array is empty or holds NaN).
    """
    if not array.size:
        return ""
    lowest = array.min()
    if lowest < _CT_REACHES:
        return "CT"
    return "MR" if physical and lowest > _CT_ALWAYS_REACHES else ""


def is_hounsfield(array: np.ndarray) -> bool:
    """Whether the voxels of a CT can be Hounsfield units; values from 0 to 4094, with neither fat nor air, cannot.

    :param array: one-channel voxels of a whole CT. True for an empty array and for NaN, which other checks refuse.
    """
    return not array.size or not array.min() > _CT_ALWAYS_REACHES
