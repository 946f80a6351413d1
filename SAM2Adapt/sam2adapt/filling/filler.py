"""Fill a volume from a few drawn slices, and again as more are drawn."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path

import numpy as np
from scipy import ndimage
from scipy.special import expit, logit

from ..imaging.volume import Volume, check_voxels
from ..machine.allocation import return_freed_memory
from ..shared.errors import CancelledError, DrawingError, VolumeError
from .combiner import load_combiner
from .decision import decide, exclusive, expected_dice, sums_of, thresholds
from .drawings import Drawings
from .grey import scale_grey
from .next_slice import doubt_about_ends, next_slice
from .opinions.shape import interpolated_slices
from .plane_grid import PlaneGrid, make_grid
from .stack_filler import StackFiller
from .threads import Team

START = Path(__file__).parent / "start.safetensors"  # of the combiner, trained beforehand


@dataclass(eq=False)
class Filling:
    """A filled volume.

    :ivar names: of the S structures.
    :ivar masks: (S, K, J, I) bool.
    :ivar expected_dice: of each structure on the slices that were filled; NaN where none was.
    :ivar uncertainty: (slices,) along ``axis`` expected share of wrong voxels, 0 to 1; 0 where drawn.
    :ivar axis: array axis that most slices were drawn along.
    :ivar filled: for each structure the slices along ``axis`` that were filled wholly.
    :ivar next_slice: which to draw next, along ``axis``; None where nothing is left to fill.
    :ivar warnings: sentences that the user must see.
    :ivar seconds: time of each stage.
    """

    names: list[str]
    masks: np.ndarray
    axis: int
    expected_dice: list[float]
    uncertainty: np.ndarray
    next_slice: int | None
    filled: list[list[int]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def mean_dice(self) -> float:
        """Mean of the expected Dice over the structures that were filled."""
        known = [dice for dice in self.expected_dice if not np.isnan(dice)]
        return float(np.mean(known)) if known else float("nan")


class Filler:
    """Fills one volume; keeps what depends on the image alone, so that filling again is quicker.

    After a change of the drawings it also starts from what was learnt before, so that its answer may differ a little
    from that of a new filler. The same drawings again get the same answer.

    :param volume: (1, K, J, I), any spacing.
    :param seed: the same seed, volume and drawings give the same result.
    :param start: weights of the combiner.
    :raises VolumeError: colour, NaN, constant, or a single slice.
    """

    def __init__(self, volume: Volume, seed: int = 0, start: Path = START):
        check_voxels(volume)
        if volume.channels != 1:
            raise VolumeError(
                f"{volume.title} has {volume.channels} values a voxel.",
                "Choose a volume of grey levels, or one of its channels.",
            )
        self.volume, self._seed = volume, seed
        self.team = Team()
        self._combiner = load_combiner(start)
        self._stacks: dict[int, tuple[PlaneGrid, StackFiller]] = {}
        self._last: tuple[str, Filling, np.ndarray] | None = None  # its masks as bits, an eighth of their size

    def fill(
        self,
        drawings: Drawings,
        progress: Callable[[float], None] | None = None,
        preview: Callable[[np.ndarray], None] | None = None,
        cancelled: Callable[[], bool] | None = None,
    ) -> Filling:
        """Fill all slices between drawn ones; what is drawn stays as it is.

        :param progress: is told the share that is done, 0 to 1.
        :param preview: is given a first answer, masks (S, K, J, I) from interpolated distances alone.
        :param cancelled: is asked often whether to stop.
        :raises DrawingError: drawings of another grid; ``CancelledError``: it was asked to stop.
        """
        if drawings.masks.shape[1:] != self.volume.array.shape[1:]:
            raise DrawingError(
                f"The drawings have {_size(drawings.masks)} voxels and the volume has {_size(self.volume.array)}.",
                "Draw on the volume that is to be filled, or resample the drawings onto it.",
            )

        def tell(share: float) -> None:
            if cancelled and cancelled():
                raise CancelledError("Filling was cancelled.", "Nothing was changed.")
            if progress:
                progress(min(1.0, share))

        key = drawings.digest() if self._last is not None else None  # the first preview does not wait for it
        if self._last is not None and self._last[0] == key:
            _, filling, bits = self._last
            masks = np.unpackbits(bits, count=drawings.masks.size).view(bool).reshape(drawings.masks.shape)
            if preview:
                preview(masks)
            return replace(filling, masks=masks, warnings=list(drawings.warnings))
        with self.team.at_work():
            filling = _Work(self, drawings, tell).run(preview)
        self._last = (key or drawings.digest(), replace(filling, masks=np.zeros(0, bool)), np.packbits(filling.masks))
        return replace(filling, warnings=list(drawings.warnings))

    def grid(self, axis: int, drawings: Drawings) -> PlaneGrid:
        """Where the slices along an array axis are filled; the former grid, unless the drawings leave it."""
        drawn = np.moveaxis(drawings.masks, axis + 1, 1).any((0, 1))
        if axis in self._stacks and self._stacks[axis][0].holds(drawn):
            return self._stacks[axis][0]
        across = [mm for k, mm in enumerate(self.volume.spacing[::-1]) if k != axis]
        return make_grid(drawn, (across[0], across[1]))

    def stack(self, axis: int, grid: PlaneGrid) -> StackFiller:
        """What fills the slices along an array axis, made anew for another grid."""
        if axis not in self._stacks or self._stacks[axis][0] is not grid:
            grey = np.moveaxis(scale_grey(self.volume.array[0]), axis, 0)
            images = np.stack(list(self.team.map(grid.to_work, grey)))
            step = float(self.volume.spacing[::-1][axis]) / grid.pixel
            self._stacks[axis] = grid, StackFiller(images, step, self._combiner, self.team, self._seed)
        return self._stacks[axis][1]


class _Work:
    """One filling."""

    def __init__(self, filler: Filler, drawings: Drawings, tell: Callable[[float], None]):
        self.filler, self.drawings, self.tell = filler, drawings, tell
        self.axes = drawings.axes()
        self.apart = exclusive(drawings)
        self.seconds: dict[str, float] = {}
        count = len(drawings.names)
        self.sums = np.zeros((count, 3))  # of probability in the mask, of probability, of the mask

    def run(self, preview: Callable[[np.ndarray], None] | None) -> Filling:
        started = time.perf_counter()
        grids = {axis: self.filler.grid(axis, self.drawings) for axis in self.axes}
        if preview:  # before anything that takes long
            preview(self._preview(grids[self.axes[0]]))
            self._note("preview", started)
        before = time.perf_counter()
        # Only now: the preview need not wait for copies of a large volume.
        self.masks = self.drawings.masks.copy()
        self.inside = self.drawings.inside()
        stacks = {axis: (grid, self.filler.stack(axis, grid)) for axis, grid in grids.items()}
        self._note("prepare", before)
        before = time.perf_counter()
        for number, axis in enumerate(self.axes):
            grid, stack = stacks[axis]
            start, width = 0.6 * number / len(self.axes), 0.6 / len(self.axes)
            stack.learn(self._drawn(axis, grid), lambda share, a=start, b=width: self.tell(a + b * share))
        self._note("learn", before)
        before = time.perf_counter()
        wrong = self._fill(stacks)
        for _, stack in stacks.values():
            stack.rest()
        return_freed_memory()
        self._drop_loose_pieces()
        self._limit(self.masks)
        self._note("fill", before)
        self.seconds["total"] = time.perf_counter() - started
        return self._filling(wrong)

    def _note(self, stage: str, started: float) -> None:
        self.seconds[stage] = time.perf_counter() - started

    def _drawn(self, axis: int, grid: PlaneGrid) -> list[dict[int, np.ndarray]]:
        """For each structure its masks on the working grid by slice."""
        return [
            {k: grid.to_work(np.moveaxis(mask, axis, 0)[k]) for k in own[axis]}
            for mask, own in zip(self.drawings.masks, self.drawings.slices, strict=True)
        ]

    def _preview(self, grid: PlaneGrid) -> np.ndarray:
        axis = self.axes[0]
        masks = self.drawings.masks.copy()
        opinions = interpolated_slices(self._drawn(axis, grid), masks.shape[axis + 1], self.filler.team)
        decided = self.filler.team.map(
            lambda pair: (pair[0], self._decide(grid.to_volume(pair[1]), axis, pair[0], grid)), opinions
        )
        for place, filled in decided:
            self._paint(masks, axis, place, grid, filled)
        self._limit(masks)
        return masks

    def _fill(self, stacks) -> np.ndarray:
        """Fill along the main axis, with what the others say.

        :return: for each slice how many voxels are expected to be wrong, of how many, and as shares of the structures.
        """
        axis = self.axes[0]
        grid, stack = stacks[axis]
        others = [self._other_axis(other, *stacks[other], axis, grid) for other in self.axes[1:]]
        length = self.masks.shape[axis + 1]
        wrong = np.zeros((length, 3))
        ends = doubt_about_ends(self.drawings, self.axes)
        # Every structure counts the same, however large it is drawn.
        sizes = np.array(
            [
                max(1.0, mask.sum() / max(1, len(own[axis])))
                for mask, own in zip(self.drawings.masks, self.drawings.slices, strict=True)
            ]
        )
        places = [k for k in range(length) if any(self._is_open(index, k) for index in range(len(self.masks)))]
        stack.prepare(places, lambda share: self.tell(0.6 + 0.3 * share))
        needed = logit(self._thresholds(stack, places))[:, None, None].astype(np.float32)
        answers = self.filler.team.map(lambda place: grid.to_volume(stack.logits(place)), places)
        for number, (place, own) in enumerate(zip(places, answers, strict=True)):
            self.tell(0.9 + 0.1 * number / len(places))
            open_ = np.array([self._is_open(index, place) for index in range(len(self.masks))])
            logits = reduce(lambda one, other: _merge(one, other, place), others, own)
            known = np.moveaxis(self.drawings.masks, axis + 1, 1)[:, place]
            filled = self._decide(logits - needed, axis, place, grid)
            self._paint(self.masks, axis, place, grid, filled)
            probability = expit(logits)
            inside = np.moveaxis(self.inside, axis, 0)[place][grid.box]
            probability[~open_] = probability[:, ~inside] = 0
            filled &= open_[:, None, None] & inside
            self.sums += sums_of(probability, filled)
            doubt = np.maximum(np.abs(filled - probability).sum((1, 2)), ends[:, place] * open_)
            wrong[place] = doubt.sum(), max(filled.sum(), known.sum(), 1), (doubt / sizes).sum()
        return wrong

    def _thresholds(self, stack: StackFiller, places: list[int]) -> np.ndarray:
        """Above which probability each structure (S,) is filled.

        From the main axis alone, on its working grid: what other axes and the region change of it is not known yet.
        """

        def sums(place: int) -> np.ndarray:
            probability = expit(stack.logits(place))
            probability[[not self._is_open(index, place) for index in range(len(probability))]] = 0
            return sums_of(probability, probability > 0.5)

        return thresholds(sum(self.filler.team.map(sums, places), np.zeros((len(self.masks), 3))))

    def _drop_loose_pieces(self) -> None:
        """Take away what was filled and hangs together with no drawn voxel of its structure."""

        def drop(mask: np.ndarray, drawn: np.ndarray) -> None:
            box = ndimage.find_objects(mask.view(np.uint8))
            if not box or np.array_equal(mask, drawn):
                return
            part = mask[box[0]]
            pieces, count = _pieces(part)
            held = np.zeros(count + 1, bool)
            held[np.unique(pieces[drawn[box[0]]])] = True
            part &= held[pieces]

        pairs = zip(self.masks, self.drawings.masks, strict=True)
        list(self.filler.team.map(lambda pair: drop(*pair), pairs))

    def _counts(self) -> np.ndarray:
        """In how many slices each structure is drawn and has voxels."""
        return np.array(
            [
                sum(int(np.moveaxis(mask, axis, 0)[list(own[axis])].any((1, 2)).sum()) for axis in self.axes)
                for mask, own in zip(self.drawings.masks, self.drawings.slices, strict=True)
            ]
        )

    def _filled_slices(self) -> list[list[int]]:
        whole = np.moveaxis(self.inside, self.axes[0], 0).all((1, 2))
        return [
            [k for k in np.flatnonzero(whole).tolist() if self._is_open(index, k)] for index in range(len(self.masks))
        ]

    def _limit(self, masks: np.ndarray) -> None:
        """Leave everything outside the region as it was drawn."""
        if self.drawings.region is not None:
            np.copyto(masks, self.drawings.masks, where=~self.drawings.inside())

    def _is_open(self, index: int, place: int) -> bool:
        """Whether a structure is to be filled in a slice of the main axis."""
        own = self.drawings.slices[index]
        places = own[self.axes[0]]
        if place in places:
            return False
        return bool(len(places) > 1 and places[0] < place < places[-1]) or any(len(own[k]) > 1 for k in self.axes[1:])

    def _other_axis(self, axis: int, grid: PlaneGrid, stack: StackFiller, main: int, frame: PlaneGrid):
        """Logits of a second direction as (S, N, H, W) of the main one, in the box of its grid."""
        whole = np.full(self.masks.shape, -np.inf, np.float16)
        view = np.moveaxis(whole, axis + 1, 1)
        places = range(view.shape[1])
        stack.prepare(places, lambda _: self.tell(0.6))
        answers = self.filler.team.map(lambda place: grid.to_volume(stack.logits(place)), places)
        for place, own in zip(places, answers, strict=True):
            self.tell(0.6)
            view[(slice(None), place, *grid.box)] = own
        return np.moveaxis(whole, main + 1, 1)[(slice(None), slice(None), *frame.box)]

    def _decide(self, logits: np.ndarray, axis: int, place: int, grid: PlaneGrid) -> np.ndarray:
        """Masks (S, H, W) in the box of a grid; what is drawn of a structure is beyond doubt to the others, too."""
        certain = logits.copy()
        for index in range(len(logits)):
            mask = np.moveaxis(self.drawings.masks[index], axis, 0)[place][grid.box]
            if place in self.drawings.slices[index][axis]:
                certain[index] = -np.inf
            certain[index][mask] = np.inf
        return decide(certain, self.apart)

    def _paint(self, masks: np.ndarray, axis: int, place: int, grid: PlaneGrid, filled: np.ndarray) -> None:
        """Put a filled slice into masks, except where it is drawn."""
        for index in range(len(masks)):
            if not self._is_open(index, place):
                continue
            target = np.moveaxis(masks[index], axis, 0)[place][grid.box]
            known = self._known(index, axis, place)[grid.box]
            target[~known] = filled[index][~known]

    def _known(self, index: int, axis: int, place: int) -> np.ndarray:
        """(H, W) where a structure is drawn in a slice of an axis."""
        known = np.moveaxis(self.drawings.masks[index], axis, 0)[place].copy()
        if self.drawings.fixed is not None:
            known |= np.moveaxis(self.drawings.fixed, axis, 0)[place]
        rest = [k for k in range(3) if k != axis]
        for position, other in enumerate(rest):
            np.moveaxis(known, position, 0)[list(self.drawings.slices[index][other])] = True
        return known

    def _filling(self, wrong: np.ndarray) -> Filling:
        dice = expected_dice(self.sums, self._counts())
        uncertainty = np.clip(wrong[:, 0] / np.maximum(wrong[:, 1], 1), 0, 1)
        drawn = sorted({k for own in self.drawings.slices for k in own[self.axes[0]]})
        return Filling(
            self.drawings.names, self.masks, self.axes[0], dice.tolist(), uncertainty, next_slice(wrong[:, 2], drawn),
            self._filled_slices(), self.drawings.warnings, self.seconds,
        )  # fmt: skip


def _pieces(mask: np.ndarray) -> tuple[np.ndarray, int]:
    """Number what hangs together in a mask (K, J, I), by its corners too; in half the memory where 16 bits suffice."""
    touching = np.ones((3, 3, 3))
    try:
        return ndimage.label(mask, touching, output=np.uint16)
    except RuntimeError:  # more pieces than that
        return ndimage.label(mask, touching)


def _merge(logits: np.ndarray, other: np.ndarray, place: int) -> np.ndarray:
    """The mean of two directions where both say something."""
    second = other[:, place].astype(np.float32)
    both = np.isfinite(logits) & np.isfinite(second)
    return np.where(both, (np.where(both, logits, 0) + np.where(both, second, 0)) / 2, np.maximum(logits, second))


def _size(array: np.ndarray) -> str:
    return " x ".join(map(str, array.shape[:0:-1]))
