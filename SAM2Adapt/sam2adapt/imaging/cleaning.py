"""Cleaning of label volumes: the largest piece of a structure, small pieces away, holes filled."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..shared.errors import SettingsError
from ..shared.labels.label_runs import CORNERS, FACES, Runs, find_gaps, find_pieces, find_runs


def clean(labels: np.ndarray, settings: dict[str, Any], voxel_ml: float) -> None:
    """Clean a label volume in place, in this order: largest piece of several structures together, largest piece of
    each, smallest volume, holes.

    A piece is a set of voxels of one structure that touch at least at their corners. A hole is background that the
    structure encloses and that does not reach the volume's border by way of voxel faces; what belongs to another
    structure is never overwritten. Voxels taken away become background. A volume of one slice is cleaned in its plane.

    :param labels: (K, J, I) unsigned integers, 0 = background, in any order in memory.
    :param settings: the card's ``postprocessing``: ``largest_together`` (label values of structures that lie side by
        side, of which only the largest piece that they form together is kept; may be absent), ``largest_component`` and
        ``fill_holes`` (lists of label values) and ``minimum_ml`` (pieces of any structure below it are taken away; 0
        keeps all).
    :param voxel_ml: volume of a voxel in mL.
    :raises SettingsError: a smallest volume is asked for and the size of a voxel is not known.
    """
    minimum = _minimum_voxels(settings["minimum_ml"], voxel_ml)
    together, largest, fill = settings.get("largest_together"), settings["largest_component"], settings["fill_holes"]
    if not (together or largest or fill or minimum > 1):
        return
    runs = find_runs(labels)
    if together:
        # First: what lies apart from the others may be the largest piece of its own structure.
        runs = _only(_kept_together(runs, together), runs, labels)
    if largest or minimum > 1:
        runs = _only(_kept(runs, largest, minimum), runs, labels)
    # After all pieces are gone: a piece of another structure that is taken away may leave a hole.
    for value in sorted(fill):
        structure = runs[runs.label == value]
        if len(structure):
            _holes(structure, labels.shape).paint(labels, value, over=0)


def largest_shares(labels: np.ndarray, groups: Sequence[Sequence[int]]) -> list[float | None]:
    """Share of the voxels of each group of structures, taken as one, that are in its largest piece; None without any.

    :param labels: (K, J, I) unsigned integers. :param groups: label values.
    """
    runs = find_runs(labels)
    joined = [runs[np.isin(runs.label, list(group))].joined()[0] for group in groups]
    return [
        float(np.bincount(find_pieces(one, CORNERS), one.length).max() / one.length.sum()) if len(one) else None
        for one in joined
    ]


def _minimum_voxels(minimum_ml: float, voxel_ml: float) -> int:
    if minimum_ml <= 0:
        return 0
    if not (math.isfinite(voxel_ml) and voxel_ml > 0):
        raise SettingsError(
            "The smallest volume of a structure is set in mL, but the size of a voxel is not known.",
            "Set it to 0, or give the volume a voxel size.",
        )
    # A piece of exactly the smallest volume stays, whatever the rounding of the quotient.
    return math.ceil(minimum_ml / voxel_ml * (1 - 1e-9))


def _only(kept: np.ndarray, runs: Runs, labels: np.ndarray) -> Runs:
    """The runs that are kept; the others are taken out of the volume."""
    runs[~kept].paint(labels, 0)
    return runs[kept]


def _kept_together(runs: Runs, together: list[int]) -> np.ndarray:
    """(R,) whether a run is in the largest piece of these structures taken as one, or of another structure."""
    kept = ~np.isin(runs.label, together)
    chosen = runs[~kept]
    one, part = chosen.joined()
    if len(one):
        piece = find_pieces(one, CORNERS)
        # Of two equally large pieces the first in the order of voxels stays.
        largest = np.bincount(piece, one.length).argmax()
        kept[~kept] = (piece == largest)[part]
    return kept


def _kept(runs: Runs, largest: list[int], minimum: int) -> np.ndarray:
    """(R,) whether a run's piece is large enough, and the largest of its structure where only that one stays."""
    concerned = np.ones(len(runs), bool) if minimum > 1 else np.isin(runs.label, largest)
    chosen = runs[concerned]
    piece = find_pieces(chosen, CORNERS)
    sizes = np.bincount(piece, chosen.length, minlength=len(chosen))  # at the first run of each piece, 0 elsewhere
    stays = sizes >= minimum
    for value in largest:
        members = np.flatnonzero(chosen.label == value)
        if len(members):
            # Of two equally large ones the first in the order of voxels stays.
            stays[members] &= members == members[sizes[members].argmax()]
    kept = ~concerned
    kept[concerned] = stays[piece]
    return kept


def _holes(structure: Runs, shape: tuple[int, ...]) -> Runs:
    """Runs that a structure encloses."""
    gaps, at_border = find_gaps(structure)
    # Along an axis of one voxel everything would lie at the border; in a line nothing encloses anything.
    wide = [length > 1 for length in shape]
    if sum(wide) < 2:
        return gaps[np.zeros(len(gaps), bool)]
    piece = find_pieces(gaps, FACES)
    is_open = np.zeros(len(gaps), bool)
    is_open[piece[at_border[wide].any(axis=0)]] = True
    return gaps[~is_open[piece]]
