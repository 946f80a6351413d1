"""One label map from segments that may overlap, where a voxel can have one label only."""

from collections.abc import Iterable

import numpy as np

from ..shared.errors import ClassesError
from ..shared.labels.overlaps import FIRST, LAST, REFUSE, overlap_notes
from .terminology import Structure


def flatten(
    segments: Iterable[tuple[Structure, np.ndarray]],
    shape: tuple[int, ...],
    largest: int,
    name: str,
    overlap: str = LAST,
    disjoint: bool = False,
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Put segments one after the other into a label map.

    :param segments: what each is, with the label value as its id, and its mask (K, J, I). Only one mask at a time is
        held.
    :param shape: (K, J, I). :param largest: the largest label value. :param name: the file, for messages.
    :param overlap: which of two segments a voxel of both gets: the "first" or the "last" in the order of ``segments``.
    :param disjoint: whether the masks are known not to overlap, which saves the comparison.
    :return: labels (K, J, I) of the smallest unsigned type; sentences that say which segment lost how many voxels.
    :raises ClassesError: segments overlap, and ``overlap`` is "refuse".
    """
    labels = np.zeros(shape, np.min_scalar_type(largest))
    names: dict[int, str] = {}
    lost: dict[str, dict[str, int]] = {}
    sizes: dict[str, int] = {}
    for structure, mask in segments:
        if not disjoint:
            sizes[structure.name] = sizes.get(structure.name, 0) + int(np.count_nonzero(mask))
            for other, count in _covered(labels, mask, structure.id):
                loser, winner = (
                    (structure.name, names[other]) if overlap == FIRST else (names[other], structure.name)
                )  # fmt: skip
                losses = lost.setdefault(loser, {})
                losses[winner] = losses.get(winner, 0) + count
        labels[mask & (labels == 0) if overlap == FIRST else mask] = structure.id
        names[structure.id] = structure.name
    notes = overlap_notes(name, lost, sizes)
    if notes and overlap == REFUSE:
        raise ClassesError(
            " ".join(notes), "Choose the first or the last segment for these voxels.", setting="overlap", value=LAST
        )
    return labels, notes


def _covered(labels: np.ndarray, mask: np.ndarray, label: int) -> Iterable[tuple[int, int]]:
    """Label values of other segments in a mask, and how many voxels of each."""
    there = labels[mask]
    values, counts = np.unique(there[(there != 0) & (there != label)], return_counts=True)
    return zip(values.tolist(), counts.tolist(), strict=True)
