"""Read and check one labelled case, for training, splitting and evaluation."""

from dataclasses import replace

import numpy as np

from ..imaging.terminology import Structure
from ..imaging.volume import Volume, check_on_grid, check_voxels, read_volume
from ..shared.errors import ClassesError
from ..shared.labels.annotation import IGNORE
from ..shared.labels.drawn_slices import drawn_voxels
from .cases import Case, case_labels


def load_case(case: Case, structures: list[Structure], filled: bool = False) -> tuple[Volume, np.ndarray]:
    """Read an image and its label values (K, J, I), and check that they belong together.

    :param filled: with slices that were filled, not drawn; they are fit to train on, and otherwise not annotated.

    :raises GeometryError, ClassesError, VolumeError: they do not, or hold values that no class has.
    :raises TrainingDataError: a slice that counts as drawn is not there.
    """
    volume = read_volume(case.image, case.series or None)
    labels = case_labels(case, structures, volume)
    check_voxels(volume)
    check_on_grid(volume.grid, labels.grid)
    values = labels.array[0]
    known = {0, IGNORE, *(s.id for s in structures)}
    strange = sorted(set(np.unique(values).tolist()) - known)
    if strange:
        raise ClassesError(
            f"'{case.label}' holds label value {strange[0]}, which is not among the classes"
            f" ({', '.join(f'{s.id}={s.name}' for s in structures)}).",
            "Set it to 0 in the file, or add it to the classes.",
            setting="classes",
        )
    if case.drawn is not None and not filled:
        values = np.where(drawn_voxels(values.shape, case.drawn, case.label.name), values, IGNORE).astype(values.dtype)
    return replace(volume, notes=(*volume.notes, *labels.notes)), values
