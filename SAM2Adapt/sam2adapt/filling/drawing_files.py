"""Drawings from files, and fillings into files."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..imaging.dicom import Grid, is_dicom
from ..imaging.image_files import read_image, suffix_of
from ..imaging.segmentation_file import segment_tags
from ..imaging.terminology import Structure, describe, name_key
from ..imaging.volume import (
    Volume,
    read_labels,
    read_segments,
    read_structures,
    same_geometry,
    write_labels,
    write_segments,
)
from ..shared import paths
from ..shared.annotation import IGNORE
from ..shared.errors import DrawingError, GeometryError, InputFileError
from ..shared.labels.drawn_slices import DRAWN, NOT_ANNOTATED, slice_states, write_drawn_slices
from ..shared.labels.slice_tags import EMPTY, empty_slices
from ..shared.slicing_axis import ARRAY_AXES
from .drawings import Drawings, drawings_from_labels, drawings_from_masks
from .filler import Filling

_OVERLAP = "Structures overlap; in the file, a voxel belongs to the last of them. Write .seg.nrrd to keep all."
_Segments = list[tuple[Structure, np.ndarray]]  # masks (K, J, I) bool


def read_drawings(
    path: str | os.PathLike, volume: Volume, names: Sequence[str] | None = None, axis: int | None = None,
    empty: Mapping[str, Sequence[int]] = {},
) -> tuple[Drawings, list[Structure]]:  # fmt: skip
    """Drawings on a volume's grid: a label map with 255 where nothing is drawn, or segments.

    The segments of a ``.seg.nrrd``, DICOM SEG or RT structure set are drawn where they have voxels, and in a
    ``.seg.nrrd`` also where Slicer's effect declared them empty.

    :param names: of the label values 1, 2, … in order; of segments those to take.
    :param axis, empty: as :func:`drawings.drawings_from_labels`.
    :return: the drawings and what their structures are.
    :raises InputFileError: the file cannot be read; ``GeometryError``: another voxel grid.
    :raises DrawingError: nothing can be filled from them.
    """
    path = Path(path)
    if suffix_of(path) == ".seg.nrrd":
        return _from_segments(*_slicer_segments(path, volume, names), axis, empty)
    if paths.is_dir(path) or is_dicom(path):
        segments = [
            (one, read_labels(path, volume, [one]).array[0] == one.id)
            for one in _chosen(read_structures(path), names, path)
        ]
        return _from_segments(segments, {}, axis, empty)
    labels = read_labels(path)
    if not same_geometry(labels, volume):
        raise _other_grid(path, Grid(labels.size, labels.origin, labels.spacing, labels.direction), volume)
    values = [int(value) for value in np.unique(labels.array) if value not in (0, IGNORE)]
    titles = {value: names[value - 1] if names and value <= len(names) else f"structure {value}" for value in values}
    structures = [describe(value, title) for value, title in titles.items()]
    return drawings_from_labels(labels.array[0], titles, axis, empty), structures


def _from_segments(
    segments: _Segments, declared: Mapping[str, Mapping[int, Sequence[int]]], axis: int | None,
    empty: Mapping[str, Sequence[int]],
) -> tuple[Drawings, list[Structure]]:  # fmt: skip
    """
    :param declared: by name and array axis the slices that a file declares empty.
    """
    structures = [structure for structure, _ in segments]
    masks = np.stack([mask for _, mask in segments])
    drawings = drawings_from_masks(masks, [one.name for one in structures], axis, empty, declared)
    return drawings, structures


def _slicer_segments(
    path: Path, volume: Volume, names: Sequence[str] | None
) -> tuple[_Segments, dict[str, dict[int, list[int]]]]:
    stored = read_image(path)
    grid = Grid(stored.array.shape[2::-1], stored.origin, stored.spacing, stored.direction)
    place = _place(grid, volume)
    if place is None:
        raise _other_grid(path, grid, volume)
    found = dict(read_segments(path))
    segments, declared = [], {}
    tags = segment_tags(stored.keys)
    for structure in _chosen(list(found), names, path):
        whole = np.zeros(volume.array.shape[1:], bool)
        whole[place] = found[structure]
        segments.append((structure, whole))
        if text := tags.get(structure.name, {}).get(EMPTY):
            declared[structure.name] = _declared(text, path)
    return segments, declared


def _declared(text: str, path: Path) -> dict[int, list[int]]:
    try:
        pairs = empty_slices(text)
    except ValueError as error:
        raise InputFileError(
            f"{path} declares slices empty as '{error}', which is none.", "Save the segmentation again from Slicer."
        ) from error
    return {
        number: sorted(place for own, place in pairs if own in (axis, None)) for number, axis in enumerate(ARRAY_AXES)
    }


def write_filling(path: Path, filling: Filling, structures: Sequence[Structure], volume: Volume) -> None:
    """Write a filling; a ``.seg.nrrd`` keeps structures that overlap, in other formats the later one is written.

    :raises OutputError: as ``volume.write_labels``.
    """
    if suffix_of(path) == ".seg.nrrd":
        write_segments(path, filling.masks, structures, volume)
        return
    labels = _flattened(filling, structures)
    write_labels(path, volume.with_array(labels), structures, volume)


def write_training_labels(
    path: Path, filling: Filling, drawings: Drawings, structures: Sequence[Structure], volume: Volume
) -> None:
    """Write a filling as a training reads it: 255 where nothing is known, and beside it which slices were drawn.

    :raises OutputError: as ``volume.write_labels``.
    """
    labels = _flattened(filling, structures)
    states = _states(filling, drawings)
    known = np.zeros(labels.shape, bool)
    np.moveaxis(known, filling.axis, 0)[states != NOT_ANNOTATED] = True
    labels[~(known & drawings.inside() | drawings.drawn_voxels())] = IGNORE
    unknown = Structure(IGNORE, "not annotated")
    write_labels(path, volume.with_array(labels), [*structures, unknown], volume)
    drawn = {filling.axis: np.flatnonzero(states == DRAWN).tolist()}
    for axis in drawings.axes():
        drawn.setdefault(axis, sorted({place for own in drawings.slices for place in own[axis]}))
    write_drawn_slices(path, {ARRAY_AXES[axis]: places for axis, places in drawn.items()})


def _states(filling: Filling, drawings: Drawings) -> np.ndarray:
    """(slices,) along the axis of a filling, as of ``slice_states``."""
    view = np.moveaxis(drawings.masks, filling.axis + 1, 1)
    present = view.any((2, 3))
    drawn, filled = np.zeros_like(present), np.zeros_like(present)
    for index, (own, places) in enumerate(zip(drawings.slices, filling.filled, strict=True)):
        drawn[index, list(own[filling.axis])] = True
        filled[index, places] = True
    return slice_states(present, drawn, filled)


def _flattened(filling: Filling, structures: Sequence[Structure]) -> np.ndarray:
    """Labels (K, J, I); where structures overlap, a warning is added."""
    labels = np.zeros(filling.masks.shape[1:], np.uint8)
    for structure, mask in zip(structures, filling.masks, strict=True):
        labels[mask] = structure.id
    if filling.masks.sum() > np.count_nonzero(labels):
        filling.warnings.append(_OVERLAP)
    return labels


def _place(grid: Grid, volume: Volume) -> tuple[slice, ...] | None:
    """Where in a volume (K, J, I) a segmentation lies that covers a part of its voxel grid, as Slicer crops them.

    None for another grid.
    """
    start = np.linalg.solve(volume.affine, np.append(grid.origin, 1))[:3]
    first = np.rint(start).astype(int)
    same = np.allclose(grid.spacing, volume.spacing, atol=1e-3) and np.allclose(
        grid.direction, volume.direction, atol=1e-3
    )
    inside = (first >= 0).all() and (first + grid.size <= volume.size).all()
    if not (same and inside and np.allclose(start, first, atol=0.02)):
        return None
    return tuple(slice(a, a + n) for a, n in zip(first[::-1], grid.size[::-1], strict=True))


def _chosen(structures: list[Structure], names: Sequence[str] | None, path: Path) -> list[Structure]:
    if not structures:
        raise DrawingError(f"{path} has no segment.", "Draw one in Slicer's Segment Editor.")
    if names is None:
        return structures
    known = {name_key(structure.name): structure for structure in structures}
    for name in names:
        if name_key(name) not in known:
            raise DrawingError(
                f"{path} has no segment '{name}'.",
                f"Choose among {', '.join(one.name for one in structures)}.",
                setting="structures",
            )
    return [known[name_key(name)] for name in names]


def _other_grid(path: Path, grid: Grid, volume: Volume) -> GeometryError:
    def said(one: Grid | Volume) -> str:
        spacing = " x ".join(f"{mm:g}" for mm in one.spacing)
        return f"{' x '.join(map(str, one.size))} voxels of {spacing} mm from {np.round(one.origin, 2).tolist()}"

    return GeometryError(
        f"{path} has {said(grid)}, and {volume.name or 'the volume'} {said(volume)}.",
        "Draw on this volume, or resample the drawings onto it.",
    )
