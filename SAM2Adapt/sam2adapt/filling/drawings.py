"""What a user has drawn: for each structure its voxels, and in which slices of which direction it is drawn.

Being drawn is a fact of a structure and a slice: it holds voxels there, or was declared to have none. In a label map it
is one of the slice: where no voxel is 255 (not annotated), everything is drawn.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import ndimage

from ..imaging.terminology import name_key
from ..shared.errors import DrawingError
from ..shared.labels.annotation import IGNORE
from ..shared.slicing_axis import ARRAY_AXES as AXES


@dataclass(eq=False)
class Drawings:
    """Sparse drawings on the grid of a volume.

    :ivar names: of the S structures.
    :ivar masks: (S, K, J, I) bool, what is drawn of each.
    :ivar slices: for each structure and array axis the slices in which it is drawn, in order.
    :ivar fixed: (K, J, I) bool, voxels outside these slices that keep their value, too (single strokes); or None.
    :ivar region: array ranges (K, J, I) outside which nothing is filled; None: no limit.
    :ivar warnings: sentences about drawings that are not used.
    """

    names: list[str]
    masks: np.ndarray
    slices: list[tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]]
    fixed: np.ndarray | None = None
    warnings: list[str] = field(default_factory=list)
    region: tuple[slice, slice, slice] | None = None

    def axes(self) -> list[int]:
        """Array axes along which something can be filled, the one with the most drawn slices first."""
        counts = [max((len(own[axis]) for own in self.slices), default=0) for axis in range(3)]
        return sorted((axis for axis in range(3) if counts[axis] > 1), key=lambda axis: -counts[axis])

    def digest(self) -> str:
        """The same for the same drawings."""
        digest = hashlib.blake2b(repr((self.names, self.slices, self.region, self.masks.shape)).encode())
        for array in (self.masks, self.fixed):
            digest.update(b"" if array is None else np.packbits(array).data)
        return digest.hexdigest()

    def limit(self, region: tuple[slice, slice, slice] | None) -> None:
        """Fill in a part of the volume only; all drawings still say what belongs there.

        :param region: array ranges (K, J, I); None: the whole volume.
        :raises DrawingError: nothing that is to be filled lies in it.
        """
        self.region = region
        if region is None:
            return
        for own in self.slices:
            for axis, places in enumerate(own):
                between = range(places[0], places[-1]) if places else range(0)
                if {*range(region[axis].start, region[axis].stop)} & {*between} - {*places}:
                    return
        raise DrawingError(
            "The region holds no slice that lies between drawn ones and is to be filled.",
            "Choose a larger region, or none.", setting="roi",
        )  # fmt: skip

    def inside(self) -> np.ndarray:
        """(K, J, I) bool, what may be filled."""
        inside = np.ones(self.masks.shape[1:], bool)
        if self.region is not None:
            inside[:] = False
            inside[self.region] = True
        return inside

    def drawn_voxels(self) -> np.ndarray:
        """(K, J, I) bool, the slices that are drawn of any structure, in all directions, and single strokes."""
        drawn = self.masks.any(0) if self.fixed is None else self.masks.any(0) | self.fixed
        for own in self.slices:
            for axis in range(3):
                np.moveaxis(drawn, axis, 0)[list(own[axis])] = True
        return drawn


def drawings_from_labels(
    labels: np.ndarray, structures: Mapping[int, str], axis: int | None = None, empty: Mapping[str, Sequence[int]] = {},
) -> Drawings:  # fmt: skip
    """Drawings from a label map whose voxels are 255 where nothing is drawn.

    :param labels: (K, J, I); :param structures: names of label values.
    :param axis: array axis whose slices are drawn; None: every one in which whole slices are.
    :param empty: slices, by structure, that are drawn empty although they are 255.
    :raises DrawingError: nothing can be filled from them.
    """
    open_ = labels == IGNORE
    if not open_.any():
        raise DrawingError(
            "Everything is drawn already: no voxel of the drawings has the value 255.",
            "Set the voxels of the slices that are to be filled to 255.",
        )
    whole = [
        tuple(np.flatnonzero(~open_.any(tuple(k for k in range(3) if k != direction))).tolist())
        if axis in (None, direction) else ()
        for direction in range(3)
    ]  # fmt: skip
    masks = np.stack([labels == value for value in structures]) if structures else np.zeros((0, *labels.shape), bool)
    slices = [tuple(whole)] * len(structures)
    warnings = _strokes(~open_, whole)
    drawings = Drawings(list(structures.values()), masks, slices, ~open_, warnings)
    return _checked(_with_empty(drawings, axis, empty))


def drawings_from_masks(
    masks: np.ndarray, names: Sequence[str], axis: int | None = None, empty: Mapping[str, Sequence[int]] = {},
    declared: Mapping[str, Mapping[int, Sequence[int]]] = {},
) -> Drawings:  # fmt: skip
    """Drawings from one mask a structure, drawn in the slices in which it has voxels; masks may overlap.

    :param masks: (S, K, J, I) bool; :param axis, empty: as :func:`drawings_from_labels`.
    :param declared: as ``empty``, by array axis, and as it was said earlier: where something was drawn since, or along
        an axis across which nothing is drawn, it does not count.
    :raises DrawingError: nothing can be filled from them.
    """
    together = masks.any(0)
    axes = [axis] if axis is not None else _directions(together)
    warnings = []
    slices = []
    for name, mask in zip(names, masks, strict=True):
        own = [_occupied(mask, k, len(axes) > 1) if k in axes else () for k in range(3)]
        _check_crossings(name, mask, own)
        for k in axes:
            drawn = mask.any(tuple(other for other in range(3) if other != k))
            places = [place for place in declared.get(name, {}).get(k, ()) if place < len(drawn) and not drawn[place]]
            own[k] = tuple(sorted({*own[k], *places}))
        slices.append(tuple(own))
        warnings += _strokes(mask, own, f"'{name}'")
    return _checked(_with_empty(Drawings(list(names), masks, slices, None, warnings), axis, empty))


def _directions(mask: np.ndarray) -> list[int]:
    """The array axes along which slices were drawn.

    One axis will do if its slices with patches of 2 x 2 hold nearly all voxels and leave gaps. If slices of two
    directions are drawn, those of one leave lines without patches between the slices of the other.
    """
    patches = [_occupied(mask, axis, True) for axis in range(3)]
    gaps = [axis for axis in range(3) if _has_gap(patches[axis])]
    counts = [np.moveaxis(mask, axis, 0).sum((1, 2)) for axis in range(3)]
    alone = [axis for axis in gaps if counts[axis][list(patches[axis])].sum() > 0.95 * mask.sum()]
    if alone:
        return [max(alone, key=lambda axis: _gap_share(patches[axis]))]
    thin = [_occupied(mask, axis, False) for axis in range(3)]
    return gaps or [max(range(3), key=lambda axis: _gap_share(thin[axis]))]


def _occupied(mask: np.ndarray, axis: int, crossed: bool) -> tuple[int, ...]:
    """Slices in which a mask has voxels.

    :param crossed: only those with a patch of 2 x 2: a slice drawn in another direction leaves a line where it crosses.
    """
    view = np.moveaxis(mask, axis, 0)
    if crossed:
        view = view[:, 1:, 1:] & view[:, :-1, 1:] & view[:, 1:, :-1] & view[:, :-1, :-1]
    return tuple(np.flatnonzero(view.any((1, 2))).tolist())


def _has_gap(places: Sequence[int]) -> bool:
    return len(places) > 1 and places[-1] - places[0] + 1 > len(places)


def _gap_share(places: Sequence[int]) -> float:
    """Which share of the slices from the first to the last is not among these."""
    return 1 - len(places) / (places[-1] - places[0] + 1) if places else 0.0


def _strokes(known: np.ndarray, slices: Sequence[Sequence[int]], what: str = "The label map") -> list[str]:
    """A warning if voxels are drawn outside the drawn slices."""
    rest = known.copy()
    for axis in range(3):
        np.moveaxis(rest, axis, 0)[list(slices[axis])] = False
    count = int(rest.sum())
    if not count:
        return []
    return [f"{what} has {count} drawn voxels outside of whole drawn slices; they are kept, and not learnt from."]


def _check_crossings(name: str, mask: np.ndarray, slices: Sequence[Sequence[int]]) -> None:
    """Refuse slices of two directions that say different things where they cross.

    :raises DrawingError: a slice sticks out of the outline that is drawn in one that it crosses.
    """
    for axis in range(3):
        for other in range(3):
            if axis == other or not (slices[axis] and slices[other]):
                continue
            planes = np.moveaxis(mask, (axis, other), (0, 1))[list(slices[axis])]
            inner = [k for k in slices[other] if 0 < k < planes.shape[1] - 1]
            lines = planes[:, inner]
            alone = lines & ~planes[:, [k - 1 for k in inner]] & ~planes[:, [k + 1 for k in inner]]
            if alone.sum() > max(8, 0.2 * lines.sum()):
                raise DrawingError(
                    f"The drawings of '{name}' along {AXES[axis]} and along {AXES[other]} contradict each other in "
                    f"{int(alone.sum())} of {int(lines.sum())} voxels where they cross.",
                    "Correct the slices of one direction, or erase them.",
                )


def _with_empty(drawings: Drawings, axis: int | None, empty: Mapping[str, Sequence[int]]) -> Drawings:
    """Add the slices that were declared empty.

    :raises DrawingError: no such structure or slice, or it holds voxels.
    """
    keys = [name_key(name) for name in drawings.names]
    for name, places in empty.items():
        if name_key(name) not in keys:
            raise DrawingError(
                f"There is no structure '{name}' to be declared empty.",
                f"Choose among {', '.join(drawings.names) or 'structures that are drawn'}.",
                setting="empty",
            )
        index = keys.index(name_key(name))
        along = axis if axis is not None else (drawings.axes() or [0])[0]
        mask = np.moveaxis(drawings.masks[index], along, 0)
        for place in places:
            if not 0 <= place < len(mask):
                raise DrawingError(
                    f"'{name}' is declared empty in slice {place}, and the slices along {AXES[along]} are 0 to "
                    f"{len(mask) - 1}.", "Correct the number of the slice.", setting="empty",
                )  # fmt: skip
            if mask[place].any():
                raise DrawingError(
                    f"'{name}' is declared empty in slice {place}, where {int(mask[place].sum())} voxels of it are "
                    "drawn.", "Erase them, or do not declare the slice empty.", setting="empty",
                )  # fmt: skip
        own = list(drawings.slices[index])
        own[along] = tuple(sorted({*own[along], *places}))
        drawings.slices[index] = tuple(own)
    return drawings


def _checked(drawings: Drawings) -> Drawings:
    """:raises DrawingError: nothing is drawn, or nothing lies between what is."""
    if not drawings.names or not drawings.masks.any():
        raise DrawingError("No structure is drawn in any slice.", "Draw a structure in two slices or more.")
    if not any(any(own) for own in drawings.slices):
        raise DrawingError("No slice is drawn wholly.", "Draw every structure in at least two whole slices.")
    if not drawings.axes():
        raise DrawingError("Only one slice is drawn.", "Draw a second one, beyond those that are to be filled.")
    fillable = []
    for index, (name, own) in enumerate(zip(drawings.names, drawings.slices, strict=True)):
        if not drawings.masks[index].any():
            drawings.warnings.append(f"'{name}' is drawn in no slice and stays empty.")
        elif max(map(len, own)) < 2:
            drawings.warnings.append(f"'{name}' is drawn in one slice only and stays as it is; draw a second one.")
        elif any(_has_gap(places) for places in own):
            fillable.append(name)
    if not fillable:
        raise DrawingError(
            "No slice lies between two drawn ones of a structure: everything is drawn already.",
            "Draw slices that leave others between them, or erase those that are to be filled.",
        )
    return drawings


def smallest_box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """Rows and columns of a mask (H, W) that hold all of it."""
    found = ndimage.find_objects(mask.astype(np.uint8))
    return found[0] if found else None
