"""A segmented volume as a page shows it: the image, and the voxels of each structure, which may overlap."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from ..imaging.terminology import Structure
from ..imaging.volume import Volume
from ..shared.labels.label_runs import count_labels


@dataclass(frozen=True)
class Size:
    """How large a structure is.

    :ivar ml: volume; None in pictures, which have no spacing.
    :ivar cut: whether the structure reaches an edge of the image, so that a part of it may lie outside.
    """

    structure: Structure
    voxels: int
    ml: float | None
    cut: bool


@dataclass(eq=False)
class Case:
    """An image with its structures.

    :ivar layers: label maps (K, J, I) on the voxels of the image, in each of which a structure has its ``id``.
        Structures that overlap need several.
    """

    volume: Volume
    layers: Sequence[np.ndarray]
    structures: Sequence[Structure]
    notes: Sequence[str] = field(default_factory=tuple)

    @cached_property
    def sizes(self) -> list[Size]:
        """The size of each structure, in their order."""
        last = max((structure.id for structure in self.structures), default=0)
        counts, at_edge = np.zeros(last + 1, np.int64), np.zeros(last + 1, bool)
        for layer in self.layers:
            found = count_labels(layer)[: last + 1]
            counts[: len(found)] += found
            for axis in range(3):
                if layer.shape[axis] > 1:
                    for end in (0, -1):
                        values = np.unique(np.take(layer, end, axis))
                        at_edge[values[values <= last]] = True
        physical = self.volume.physical
        return [
            Size(s, int(counts[s.id]), counts[s.id] * self.volume.voxel_ml if physical else None, bool(at_edge[s.id]))
            for s in self.structures
        ]  # fmt: skip


def case_of_masks(volume: Volume, pairs: Sequence[tuple[Structure, np.ndarray]], notes: Sequence[str] = ()) -> Case:
    """A case from masks (K, J, I), which may overlap."""
    layers: list[np.ndarray] = []
    structures = []
    for number, (structure, mask) in enumerate(pairs, 1):
        layer = next((layer for layer in layers if not layer[mask].any()), None)
        if layer is None:
            layer = np.zeros(mask.shape, np.min_scalar_type(len(pairs)))
            layers.append(layer)
        layer[mask] = number
        structures.append(Structure(number, structure.name, structure.terminology, structure.color))
    return Case(volume, layers, structures, notes)
