"""What kind of image this is: the one rule of training, segmenting and Slicer's panels.

Needs NumPy only, so that Slicer can ask before anything of the engine is loaded.
"""

import numpy as np

_CT_REACHES, _CT_ALWAYS_REACHES = -500, -50  # Hounsfield units: lung or air, and fat


def modality_of(array: np.ndarray, tag: str = "", colour: bool = False, physical: bool = True) -> str:
    """Kind of an image: colour, or what DICOM says, or what the grey levels look like.

    :param array: voxels of any shape, for the grey levels.
    :param tag: "CT" or "MR" from DICOM, else "".
    :param physical: as ``looks_like`` has it.
    :return: "RGB", "CT", "MR", or "" where nothing says.
    """
    return "RGB" if colour else tag or looks_like(array, physical)


def looks_like(array: np.ndarray, physical: bool = True) -> str:
    """CT or MR by the lowest grey level: Hounsfield units go to fat and air, magnitude images of MR have no sign.

    :param array: one-channel voxels of any shape; every tenth voxel along each axis tells it nearly as well as all.
    :param physical: False for pictures, whose grey levels look like those of MR.
    :return: "CT", "MR", or "" where the grey levels do not say (also for an empty array or one with NaN).
    """
    if not array.size:
        return ""
    lowest = array.min()
    if lowest < _CT_REACHES:
        return "CT"
    return "MR" if physical and lowest > _CT_ALWAYS_REACHES else ""


def is_hounsfield(array: np.ndarray) -> bool:
    """False for voxels that cannot be CT in Hounsfield units: neither fat nor air, as in 0..4094 without intercept.

    :param array: one-channel voxels of a whole CT. An empty array and one with NaN pass: other checks refuse them.
    """
    return not array.size or not array.min() > _CT_ALWAYS_REACHES
