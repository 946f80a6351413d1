"""What is held out for validation: whole volumes, or slices where there is only one."""

import dataclasses
import random
from collections import Counter

import numpy as np

from ..evaluation.cases import Case
from ..evaluation.load_case import load_case
from ..imaging.terminology import Structure
from ..imaging.volume import read_labels
from ..shared.annotation import IGNORE
from ..shared.errors import TrainingDataError
from .prepare import PreparedCase

_SHARE = 5  # every fifth volume or annotated slice is held out
_FEWEST_SLICES = 5  # that must be annotated before one of them is held out


def draw_split(
    cases: list[Case], structures: list[Structure], seed: int, groups: dict[str, str] | None = None
) -> dict[str, list[str]]:
    """Hold out a fifth of the cases, at least one, drawn with the seed.

    Every class stays in the training part, and those in several groups are in the validation part too where its size
    allows. A single group is for training only; ``hold_out_slices`` is for it.

    :param groups: of case ids that belong together, of one patient for instance; a case without one is its own.
    """
    groups = groups or {}
    units: dict[str, list[str]] = {}
    for case in cases:
        units.setdefault(groups.get(case.id, f"case {case.id}"), []).append(case.id)
    classes = _classes(cases, structures)
    held = {unit: set().union(*(classes[name] for name in names)) for unit, names in units.items()}
    order = list(units)
    random.Random(seed).shuffle(order)
    wanted = 0 if len(units) == 1 else max(1, len(cases) // _SHARE)
    chosen = _chosen(order, {unit: len(names) for unit, names in units.items()}, held, wanted)
    val = sorted(name for unit in chosen for name in units[unit])
    return {"train": sorted(case.id for case in cases if case.id not in val), "val": val}


def _chosen(order: list[str], sizes: dict[str, int], held: dict[str, set[int]], wanted: int) -> list[str]:
    """Units to hold out: those with classes that the part still lacks first, never the last one with a class."""
    counts = Counter(value for values in held.values() for value in values)
    chosen: list[str] = []
    seen: set[int] = set()
    while sum(sizes[unit] for unit in chosen) < wanted:
        left = wanted - sum(sizes[unit] for unit in chosen)
        free = [u for u in order if u not in chosen and all(counts[value] > 1 for value in held[u])]
        # The first unit may be larger than a fifth: a few patients with many volumes each are validated all the same.
        free = [u for u in free if sizes[u] <= left] or ([] if chosen else free)
        if not free or len(chosen) + 1 == len(order):
            break
        unit = max(free, key=lambda u: (len(held[u] - seen), -order.index(u)))
        chosen.append(unit)
        seen |= held[unit]
        counts.subtract(held[unit])
    return chosen


def _classes(cases: list[Case], structures: list[Structure]) -> dict[str, set[int]]:
    known = {structure.id for structure in structures}
    return {case.id: known & set(np.unique(read_labels(case.label).array).tolist()) for case in cases}


def hold_out_slices(prepared: list[PreparedCase]) -> dict[str, list[int]]:
    """Choose every fifth annotated slice, at least one, of each case with at least five of them.

    A slice without which a class would no longer be in the training is not taken.

    :return: case id to slice indices along the model's slicing axis; cases without any are left out.
    """
    counts = Counter(value for case in prepared for k in case.annotated for value in _held(case, k))
    chosen: dict[str, list[int]] = {}
    for case in prepared:
        if len(case.annotated) < _FEWEST_SLICES:
            continue
        for k in case.annotated[_SHARE // 2 :: _SHARE]:
            values = _held(case, k)
            if all(counts[value] > 1 for value in values):
                counts.subtract(values)
                chosen.setdefault(case.id, []).append(k)
    return chosen


def without_slices(prepared: list[PreparedCase], held: dict[str, list[int]]) -> list[PreparedCase]:
    """Give the cases with these slices taken out of the training."""
    return [
        dataclasses.replace(
            case,
            annotated=[k for k in case.annotated if k not in held.get(case.id, ())],
            foreground=[k for k in case.foreground if k not in held.get(case.id, ())],
        )
        for case in prepared
    ]


def only_slices(prepared: list[PreparedCase], held: dict[str, list[int]]) -> list[PreparedCase]:
    """Give the cases of which slices were held out, with these alone."""
    return [
        dataclasses.replace(
            case, annotated=held[case.id], foreground=[k for k in held[case.id] if k in case.foreground]
        )
        for case in prepared
        if case.id in held
    ]


def _held(case: PreparedCase, k: int) -> set[int]:
    return set(np.unique(case.target[k]).tolist()) - {0, IGNORE}


def check_validation(cases: list[Case], structures: list[Structure]) -> None:
    """Refuse validation cases with which nothing can be measured, before the training and not after an epoch of it.

    :raises TrainingDataError: a case without an annotated voxel, or no structure in any of them.
    :raises GeometryError, ClassesError, VolumeError: as ``prepare.load_case``.
    """
    found = False
    for case in cases:
        _, values = load_case(case, structures)
        if (values == IGNORE).all():
            raise TrainingDataError(
                f"Validation case '{case.id}' holds no annotated voxel.", "Annotate a slice of it, or leave it out."
            )
        found = found or bool(((values > 0) & (values != IGNORE)).any())
    if cases and not found:
        raise TrainingDataError(
            "No validation case holds a voxel of any class.", "Put a case with structures into the validation part."
        )
