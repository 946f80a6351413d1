"""The chest CT of 3D Slicer that the Python package slicerio carries, with its segmentation.

The engine's reader and writer do the files; nothing here needs torch or Slicer.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import slicerio
from sam2adapt.imaging.terminology import Structure, describe
from sam2adapt.imaging.volume import (
    Volume,
    read_labels,
    read_structures,
    read_volume,
    same_geometry,
    write_labels,
    write_volume,
)

NOT_DRAWN = 255  # what `sam2adapt fill` fills and `sam2adapt train` leaves out

#: The structures that are drawn in the second part, and which segments of the sample make up each.
DRAWN = {
    "right lung": ("right lung",),
    "left lung": ("left lung",),
    "vertebral column": ("cervical vertebral column", "thoracic vertebral column", "lumbar vertebral column"),
}


@dataclass
class Segments:
    """Named masks on one grid: `labels` holds the grid, `structures` name the values in it."""

    labels: Volume
    structures: list[Structure]

    @classmethod
    def read(cls, path: Path) -> "Segments":
        """From a segmentation file."""
        return cls(read_labels(path), read_structures(path))

    @property
    def array(self) -> np.ndarray:
        """(K, J, I) label values."""
        return self.labels.array[0]

    def mask(self, *names: str) -> np.ndarray:
        """(K, J, I) bool: the voxels of the structures with these names; KeyError for a name that is not there."""
        values = {structure.name: structure.id for structure in self.structures}
        return np.isin(self.array, [values[name] for name in names])

    def dice(self, other: "Segments", name: str, slices: np.ndarray | None = None) -> float:
        """2|A and B| / (|A| + |B|) of one structure, on all slices or on those of index `slices` only.

        Two empty masks have no Dice: NaN.
        """
        if not same_geometry(self.labels, other.labels):
            raise ValueError("The segmentations are not on one grid")
        chosen = slice(None) if slices is None else slices
        first, second = self.mask(name)[chosen], other.mask(name)[chosen]
        total = first.sum() + second.sum()
        return float(2 * (first & second).sum() / total) if total else float("nan")


def volumePath() -> Path:
    """The CT, .nrrd."""
    return Path(slicerio.get_testdata_file("CTChest4.nrrd"))


def reference() -> Segments:
    """The segmentation that comes with the CT."""
    return Segments.read(Path(slicerio.get_testdata_file("Segmentation.seg.nrrd")))


def merged(segments: Segments) -> Segments:
    """The structures of DRAWN with the label values 1, 2, ... in the order of that table."""
    labels = np.zeros(segments.array.shape, np.uint8)
    for value, names in enumerate(DRAWN.values(), start=1):
        labels[segments.mask(*names)] = value
    structures = [describe(value, name) for value, name in enumerate(DRAWN, start=1)]
    return Segments(segments.labels.with_array(labels), structures)


def drawnSlices(segments: Segments, every: int) -> tuple[np.ndarray, np.ndarray]:
    """Index of the axial slices that are drawn, one in `every`, and of those between the first and the last of them."""
    drawn = np.arange(0, segments.array.shape[0], every)
    return drawn, np.setdiff1d(np.arange(drawn[-1]), drawn)


def sparse(segments: Segments, drawn: np.ndarray, rest: int) -> Segments:
    """The same segmentation with the value `rest` on every slice that is not in `drawn`."""
    labels = np.full_like(segments.array, rest)
    labels[drawn] = segments.array[drawn]
    return Segments(segments.labels.with_array(labels), segments.structures)


def writeDrawings(folder: Path, drawings: Segments) -> tuple[Path, Path]:
    """The CT and what is drawn of it, NOT_DRAWN elsewhere, as files of one name in the folders images and labels.

    `sam2adapt fill` takes the files, `sam2adapt train` the folders.
    """
    paths = folder / "images" / "chest.nii.gz", folder / "labels" / "chest.nii.gz"
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(paths[0], read_volume(volumePath()))
    write_labels(paths[1], drawings.labels, [*drawings.structures, Structure(NOT_DRAWN, "not drawn")])
    return paths


#: What the model torso-ct finds in the CT: voxels of each structure. Which arithmetic a processor has moves them a bit.
TORSO_SIZES = {"right lung": 30850, "left lung": 30008}
_TOLERANCE = 0.01
#: How it refuses a structure that it does not know, and the CT without its negative values.
TORSO_REFUSALS = {
    "unknown structure": "Model 'torso-ct' does not segment 'Spleen'. It segments: right lung, left lung.",
    "MR": "'magnitude' has the grey levels of MR and model 'torso-ct' was trained on CT. If it is CT whose values are"
    " not in Hounsfield units (HU), convert them first: values from 0 to 4095 usually need 1024 subtracted. Choose a"
    " model for MR, or allow any modality to try it anyway.",
}


def assertTorsoSizes(sizes: list[tuple[str, int, float]]) -> None:
    """Check name, voxels and millilitres of each structure that was found in the CT."""
    voxelMl = float(np.prod(read_volume(volumePath()).spacing)) / 1000
    assert [name for name, _, _ in sizes] == list(TORSO_SIZES), sizes
    for name, voxels, ml in sizes:
        assert abs(voxels - TORSO_SIZES[name]) <= _TOLERANCE * TORSO_SIZES[name], (name, voxels)
        assert ml == round(voxels * voxelMl, 3), (name, voxels, ml)
