"""Hold out a part of the data for validation: whole volumes, or slices if there is only one volume."""

import dataclasses
import random
from collections import Counter

import numpy as np

from ..evaluation.cases import Case, case_labels
from ..evaluation.load_case import load_case
from ..imaging.terminology import Structure
from ..shared.errors import TrainingDataError
from ..shared.labels.annotation import IGNORE
from ..shared.protocol import HELD_OUT
from .prepare import PreparedCase

_FEWEST_SLICES = 5  # annotated slices of a volume before one of them is held out


def draw_split(
    cases: list[Case], structures: list[Structure], seed: int, groups: dict[str, str] | None = None
) -> dict[str, list[str]]:
    """Hold out a random fifth of the cases, at least one.

    Every class stays in the training part. A class that occurs in several groups is also in the validation part, if its
    size allows that. If there is only one group, it is for training; then use ``hold_out_slices``.

    :param groups: group of each case id, for example the patient; a group is not divided, and a case without a group
        forms one.
    """
    groups = groups or {}
    units: dict[str, list[str]] = {}
    for case in cases:
        units.setdefault(groups.get(case.id, f"case {case.id}"), []).append(case.id)
    classes = _classes(cases, structures)
    held = {unit: set().union(*(classes[name] for name in names)) for unit, names in units.items()}
    order = list(units)
    random.Random(seed).shuffle(order)
    needed = 0 if len(units) == 1 else max(1, len(cases) // HELD_OUT)
    chosen = _chosen(order, {unit: len(names) for unit, names in units.items()}, held, needed)
    val = sorted(name for unit in chosen for name in units[unit])
    return {"train": sorted(case.id for case in cases if case.id not in val), "val": val}


def _chosen(order: list[str], sizes: dict[str, int], held: dict[str, set[int]], needed: int) -> list[str]:
    """Groups to hold out: first those with classes that the part still lacks, but never the last one with a class."""
    counts = Counter(value for values in held.values() for value in values)
    chosen: list[str] = []
    seen: set[int] = set()
    while sum(sizes[unit] for unit in chosen) < needed:
        left = needed - sum(sizes[unit] for unit in chosen)
        free = [u for u in order if u not in chosen and all(counts[value] > 1 for value in held[u])]
        # The first group may be larger than a fifth, so that a few patients with many volumes can be validated, too.
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
    classes = {}
    for case in cases:
        values = np.unique(case_labels(case, structures).array)
        classes[case.id] = known & set(values.tolist())
    return classes


def hold_out_slices(prepared: list[PreparedCase]) -> dict[str, list[int]]:
    """Choose every fifth annotated slice, at least one, of each case with at least five of them.

    The last slice with a class and filled slices are never held out.

    :return: case id to slice indices along the model's slicing axis; cases without any are left out.
    """
    counts = Counter(value for case in prepared for k in case.annotated for value in _held(case, k))
    chosen: dict[str, list[int]] = {}
    for case in prepared:
        drawn = [k for k in case.annotated if k not in case.filled]
        if len(drawn) < _FEWEST_SLICES:
            continue
        for k in drawn[HELD_OUT // 2 :: HELD_OUT]:
            values = _held(case, k)
            if all(counts[value] > 1 for value in values):
                counts.subtract(values)
                chosen.setdefault(case.id, []).append(k)
    return chosen


def without_slices(prepared: list[PreparedCase], held: dict[str, list[int]]) -> list[PreparedCase]:
    """The cases without these slices."""
    return [
        dataclasses.replace(
            case,
            annotated=[k for k in case.annotated if k not in held.get(case.id, ())],
            foreground=[k for k in case.foreground if k not in held.get(case.id, ())],
        )
        for case in prepared
    ]


def only_slices(prepared: list[PreparedCase], held: dict[str, list[int]]) -> list[PreparedCase]:
    """The cases with slices that were held out, with only these slices."""
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
    """Refuse validation cases that cannot be measured, before the training begins.

    :raises TrainingDataError: a case has no annotated voxel, or no case has a structure.
    :raises GeometryError, ClassesError, VolumeError: as ``prepare.load_case``.
    """
    any_structure = False
    for case in cases:
        _, values = load_case(case, structures)
        if (values == IGNORE).all():
            raise TrainingDataError(
                f"Validation case '{case.id}' holds no annotated voxel.", "Annotate a slice of it, or leave it out."
            )
        any_structure = any_structure or bool(((values > 0) & (values != IGNORE)).any())
    if cases and not any_structure:
        raise TrainingDataError(
            "No validation case holds a voxel of any class.", "Put a case with structures into the validation part."
        )
