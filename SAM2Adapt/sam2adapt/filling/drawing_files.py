"""Drawings from files, and fillings into files."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from ..imaging.dicom import Grid
from ..imaging.terminology import Structure, describe, name_key
from ..imaging.volume import (
    Volume,
    check_on_grid,
    holds_segments,
    read_labels,
    read_segments,
    write_labels,
    write_segments,
)
from ..shared.errors import DrawingError
from ..shared.labels.annotation import IGNORE
from ..shared.labels.drawn_slices import DRAWN, NOT_ANNOTATED, slice_states, write_drawn_slices
from ..shared.labels.image_names import SEGMENTATION, suffix_of
from ..shared.labels.slice_tags import EMPTY, FILLED, empty_slices, empty_text, filled_slices, filled_text
from ..shared.slicing_axis import ARRAY_AXES
from ..shared.tolerance import VOXEL_SHARE, displacement
from .drawings import Drawings, drawings_from_labels, drawings_from_masks
from .filler import Filling

_REFILLED = "Slices that were filled earlier are filled anew; those that were corrected count as drawn."


def read_drawings(
    path: str | os.PathLike, volume: Volume, names: Sequence[str] | None = None, axis: int | None = None,
    empty: Mapping[str, Sequence[int]] = {},
) -> tuple[Drawings, list[Structure]]:  # fmt: skip
    """Drawings on a volume's grid: a label map with 255 where nothing is drawn, or the segments of a ``.seg.nrrd``, a
    DICOM segmentation or an RT structure set.

    Segments are drawn where they have voxels, and in slices in which Slicer's effect declared them empty. What was
    filled earlier, in Slicer or here, and has not been corrected since, is not drawn.

    :param names: of the label values 1, 2, … in order; of segments those to take.
    :param axis, empty: as :func:`drawings.drawings_from_labels`.
    :return: the drawings and what their structures are.
    :raises InputFileError: the file cannot be read; ``GeometryError``: another voxel grid.
    :raises DrawingError: nothing can be filled from them.
    """
    if holds_segments(path):
        found = read_segments(path, volume)
        place = _place(found.grid, volume.grid)
        segments = _chosen(found.pairs, names, Path(path))
        structures = [structure for structure, _ in segments]
        masks = np.zeros((len(segments), *volume.array.shape[1:]), bool)
        filled_before = False
        for whole, (structure, mask) in zip(masks, segments, strict=True):
            whole[place] = mask
            filled_before |= _take_filled(whole, found.tags.get(structure.name, {}).get(FILLED, ""))
        declared = {name: _by_axis(tags[EMPTY]) for name, tags in found.tags.items() if EMPTY in tags}
        drawings = drawings_from_masks(masks, [one.name for one in structures], axis, empty, declared)
        drawings.warnings[:0] = [*found.notes, *([_REFILLED] if filled_before else [])]
        return drawings, structures
    labels = read_labels(path)
    check_on_grid(volume.grid, labels.grid)
    values = [int(value) for value in np.unique(labels.array) if value not in (0, IGNORE)]
    titles = {value: names[value - 1] if names and value <= len(names) else f"structure {value}" for value in values}
    structures = [describe(value, title) for value, title in titles.items()]
    drawings = drawings_from_labels(labels.array[0], titles, axis, empty)
    drawings.warnings[:0] = labels.notes
    return drawings, structures


def _take_filled(mask: np.ndarray, tag: str) -> bool:
    """Take the slices that were filled out of a mask (K, J, I); tells whether there were any."""
    axis, places = filled_slices(tag, mask)
    if places:
        np.moveaxis(mask, ARRAY_AXES.index(axis), 0)[places] = False
    return bool(places)


def _by_axis(text: str) -> dict[int, list[int]]:
    """The slices that a tag declares empty, by array axis."""
    pairs = empty_slices(text)
    return {number: [place for own, place in pairs if own == axis] for number, axis in enumerate(ARRAY_AXES)}


def write_filling(
    path: Path, filling: Filling, drawings: Drawings, structures: Sequence[Structure], volume: Volume
) -> None:
    """Write a filling; a ``.seg.nrrd`` keeps structures that overlap, and which slices were filled, so that they can be
    filled again; in other formats a warning is added where structures overlap.

    :raises OutputError: as ``volume.write_labels``.
    """
    if suffix_of(path) == SEGMENTATION:
        write_segments(path, filling.masks, structures, volume, _tags(filling, drawings))
        return
    write_labels(path, volume.with_array(_flattened(filling, structures)), structures, volume)


def write_training_labels(
    path: Path, filling: Filling, drawings: Drawings, structures: Sequence[Structure], volume: Volume
) -> None:
    """Write a filling as a training reads it: 255 where nothing is known, and beside it which slices were drawn.

    :raises OutputError: as ``volume.write_labels``.
    """
    labels, states = _flattened(filling, structures), _states(filling, drawings)
    known = np.zeros(labels.shape, bool)
    np.moveaxis(known, filling.axis, 0)[states != NOT_ANNOTATED] = True
    labels[~(known & drawings.inside() | drawings.drawn_voxels())] = IGNORE
    write_labels(path, volume.with_array(labels), [*structures, Structure(IGNORE, "not annotated")], volume)
    drawn = {filling.axis: np.flatnonzero(states == DRAWN).tolist()}
    for axis in drawings.axes():
        drawn.setdefault(axis, sorted({place for own in drawings.slices for place in own[axis]}))
    write_drawn_slices(path, {ARRAY_AXES[axis]: places for axis, places in drawn.items()})


def _tags(filling: Filling, drawings: Drawings) -> list[dict[str, str]]:
    """For each structure which slices were filled, and which are drawn without a voxel."""
    result = []
    for mask, own, places in zip(filling.masks, drawings.slices, filling.filled, strict=True):
        empty = [
            (ARRAY_AXES[axis], place) for axis, drawn in enumerate(own) for place in drawn
            if not np.moveaxis(mask, axis, 0)[place].any()
        ]  # fmt: skip
        tags = {FILLED: filled_text(ARRAY_AXES[filling.axis], places, mask), EMPTY: empty_text(empty)}
        result.append({name: text for name, text in tags.items() if text})
    return result


def _states(filling: Filling, drawings: Drawings) -> np.ndarray:
    """(slices,) along the axis of a filling, as of ``slice_states``."""
    present = np.moveaxis(drawings.masks, filling.axis + 1, 1).any((2, 3))
    drawn, filled = np.zeros_like(present), np.zeros_like(present)
    for index, (own, places) in enumerate(zip(drawings.slices, filling.filled, strict=True)):
        drawn[index, list(own[filling.axis])] = True
        filled[index, places] = True
    return slice_states(present, drawn, filled)


def _flattened(filling: Filling, structures: Sequence[Structure]) -> np.ndarray:
    """Labels (K, J, I), the last of the structures that overlap; then a warning is added."""
    labels = np.zeros(filling.masks.shape[1:], np.uint8)
    for structure, mask in zip(structures, filling.masks, strict=True):
        labels[mask] = structure.id
    if filling.masks.sum() > np.count_nonzero(labels):
        filling.warnings.append(
            "Structures overlap; in the file, a voxel belongs to the last of them. Write .seg.nrrd to keep all."
        )
    return labels


def _place(labels: Grid, image: Grid) -> tuple[slice, ...]:
    """Where in an image (K, J, I) a label map lies that may cover a part of its voxel grid, as Slicer crops them.

    :raises GeometryError: it lies on another grid.
    """
    start = np.linalg.solve(image.affine, np.append(labels.origin, 1))[:3]
    first = np.rint(start).astype(int)
    inside = (first >= 0).all() and (first + labels.size <= image.size).all()
    part = replace(image, origin=(image.affine @ np.append(first, 1))[:3])
    if not inside or displacement(labels.affine, part.affine, labels.size) > VOXEL_SHARE:
        check_on_grid(image, labels)
        return slice(None), slice(None), slice(None)
    return tuple(slice(a, a + n) for a, n in zip(first[::-1], labels.size[::-1], strict=True))


def _chosen(segments: list, names: Sequence[str] | None, path: Path) -> list:
    if not segments:
        raise DrawingError(f"{path} has no segment.", "Draw one in Slicer's Segment Editor.")
    if names is None:
        return segments
    known = {name_key(structure.name): (structure, mask) for structure, mask in segments}
    for name in names:
        if name_key(name) not in known:
            raise DrawingError(
                f"{path} has no segment '{name}'.",
                f"Choose among {', '.join(s.name for s, _ in segments)}.",
                setting="structures",
            )
    return [known[name_key(name)] for name in names]
