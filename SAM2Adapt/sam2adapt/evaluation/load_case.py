"""One labelled case, read and checked; training, splitting and evaluation all read cases here."""

import numpy as np

from ..imaging.terminology import Structure
from ..imaging.volume import Volume, check_voxels, read_labels, read_volume, same_geometry
from ..shared.annotation import IGNORE
from ..shared.errors import ClassesError, GeometryError
from .cases import Case


def load_case(case: Case, structures: list[Structure]) -> tuple[Volume, np.ndarray]:
    """Read an image and its label values (K, J, I), and check that they belong together.

    :raises GeometryError, ClassesError, VolumeError: they do not, or hold values that no class has.
    """
    volume, labels = read_volume(case.image), read_labels(case.label)
    check_voxels(volume)
    if not same_geometry(volume, labels):
        raise GeometryError(
            f"'{case.label.name}' does not lie on the voxel grid of '{case.image.name}' ({labels.size} against"
            f" {volume.size} voxels, or another origin, spacing or direction).",
            "Resample the labels onto the image, or export them again with the image as reference.",
        )
    values = labels.array[0]
    known = {0, IGNORE, *(s.id for s in structures)}
    strange = sorted(set(np.unique(values).tolist()) - known)
    if strange:
        raise ClassesError(
            f"'{case.label.name}' holds label value {strange[0]}, which is not among the classes"
            f" ({', '.join(f'{s.id}={s.name}' for s in structures)}).",
            "Set it to 0 in the file, or add it to the classes.",
            setting="classes",
        )
    return volume, values
