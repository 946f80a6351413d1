"""Label files with other values: structures merged, or left out."""

from pathlib import Path

import numpy as np
import SimpleITK as sitk
from sam2adapt.evaluation.cases import Case

SPINE = {**dict.fromkeys(range(1, 8), 1), 8: 2, **dict.fromkeys(range(10, 17), 3)}  # vertebra, canal, disc of spider2d


def remap(cases: list[Case], table: dict[int, int], folder: Path) -> list[Case]:
    """Copy label files with other values; values that the table lacks become background."""
    folder.mkdir(parents=True, exist_ok=True)
    lookup = np.zeros(256, np.uint8)
    for old, new in table.items():
        lookup[old] = new
    out = []
    for case in cases:
        label = sitk.ReadImage(str(case.label))
        mapped = sitk.GetImageFromArray(lookup[sitk.GetArrayFromImage(label)])
        mapped.CopyInformation(label)
        path = folder / f"{case.id}.{'png' if case.label.suffix == '.png' else 'nii.gz'}"
        sitk.WriteImage(mapped, str(path))
        out.append(Case(case.id, case.image, path))
    return out
