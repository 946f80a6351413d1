"""Corrects a segment of one volume by gestures, and carries a correction to the slices beside it.

The slices are those of the model. A gesture is obeyed whatever the model says; what else changes is what ``spread``
finds around it. Voxels of earlier gestures stay as these wanted them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from scipy import ndimage

from ..imaging.volume import Volume
from ..segmenting.model import Model
from ..segmenting.slices import SliceStack
from ..shared.errors import SettingsError
from ..shared.slicing_axis import ARRAY_AXES
from .evidence import Evidence, stack_of
from .gestures import Gesture, read_gestures
from .neighbourhood import Slice, consistent
from .spread import Click, spread

_SPAN = 0.8  # of a box's height and width that its structure fills
_THRESHOLDS = np.arange(0, 12.5, 0.5)  # of the margin
_CORE = 0.6  # of the largest depth of a change: its middle, which is carried to the next slice
_SIMILAR = 0.1  # difference of grey levels up to which the next slice shows the same
_BESIDE = 1  # pixels by which a carried change may be larger


@dataclass
class Correction:
    """Result of a correction.

    :ivar masks: (K, J, I) bool, the structure in the slices that were sent.
    :ivar slices: indices of the slices that were corrected along the array axis across the slices, that of the first
        gesture first; ``carried``: those of them that a change was carried to.
    """

    masks: np.ndarray
    slices: list[int]
    carried: list[int]


class Corrector:
    """A volume and what a model says about it, kept between gestures.

    :param model: None: only grey levels and the segment itself help.
    """

    def __init__(self, volume: Volume, model: Model | None):
        self.stack: SliceStack = stack_of(volume, model)
        self.evidence = Evidence(self.stack, model)

    @property
    def axis(self) -> str:
        """The array axis across the slices."""
        return ARRAY_AXES[self.stack.array_axis]

    def prepare(self, region: tuple[slice, slice, slice]) -> None:
        """Compute what the first gesture in the slices of a region (K, J, I) would wait for."""
        for number in range(*self.stack.slice_range(region)):
            self.evidence.prepare(number)

    def correct(
        self,
        structure: str,
        masks: np.ndarray,
        region: tuple[slice, slice, slice],
        gestures: Sequence[dict[str, Any]],
        carry: int = 0,
        new: int = 1,
    ) -> Correction:
        """Carry out the last gestures.

        :param masks: (K, J, I) bool, the structure in the region (K, J, I) of the volume, which holds whole slices.
        :param gestures: of the request, in their order; the earlier ones stay obeyed where they still are.
        :param carry: to how many slices on either side a change is carried, unless a new gesture lies there.
        :param new: how many of the gestures are carried out, one after the other.
        :raises SettingsError: a gesture lies outside of the volume, or a new one outside of the region.
        """
        cut = read_gestures(gestures, self.stack)
        earlier, latest = cut[:-new], cut[-new:]
        masks = masks.copy()
        work = _Work(self, structure, masks, self.stack.slice_range(region)[0], [*chain(*earlier)])
        done, carried = [*dict.fromkeys(part.number for part in chain(*latest))], {}
        for parts in latest:
            before = {part.number: work.mask(part.number).copy() for part in parts}
            for part in parts:
                work.obey(part)
            for number, former in before.items() if carry else ():
                carried |= dict.fromkeys(work.carry(number, parts[0].positive, former, carry, done))
            work.keep(parts)
        done, carried = ([self.stack.array_slice(number) for number in numbers] for numbers in (done, carried))
        return Correction(masks, done + carried, carried)


class _Work:
    """One correction on its way.

    :param masks: (K, J, I) bool, changed in place; ``first``: its first slice in the stack.
    """

    def __init__(self, corrector: Corrector, structure: str, masks: np.ndarray, first: int, earlier: list[Gesture]):
        self._evidence, self._class = corrector.evidence, corrector.evidence.class_of(structure)
        self._view, self._first, self._earlier = corrector.stack.oriented(masks), first, earlier
        if self._view.shape[1:] != tuple(corrector.stack.native_size):
            raise SettingsError(
                f"The part that was sent has {self._view.shape[1:]} pixels a slice, and the volume"
                f" {corrector.stack.native_size}.",
                "Send whole slices.",
                setting="roi",
            )

    def mask(self, number: int) -> np.ndarray:
        """The structure in a slice (H, W), a view.

        :raises SettingsError: the slice was not sent.
        """
        if not 0 <= number - self._first < len(self._view):
            raise SettingsError(
                f"The click lies in slice {number}; {self._first} to {self._first + len(self._view) - 1} were sent.",
                "Send the slice of the click.",
                setting="roi",
            )
        return self._view[number - self._first]

    def obey(self, gesture: Gesture) -> None:
        """Carry out a gesture in its slice."""
        part = self._slice(gesture.number, [gesture])
        changed = _boxed(part, gesture) if gesture.is_box else spread(part, Click(gesture.pixels, gesture.positive))
        self._put(gesture.number, changed)
        if gesture.is_box and not gesture.positive:
            self.mask(gesture.number)[gesture.corners] = False
        elif not gesture.is_box:
            self.mask(gesture.number)[tuple(gesture.pixels.T)] = gesture.positive

    def keep(self, gestures: list[Gesture]) -> None:
        """Let the gestures that follow leave the voxels of these as these want them."""
        self._earlier += gestures

    def carry(self, number: int, positive: bool, before: np.ndarray, most: int, done: list[int]) -> list[int]:
        """Carry the change of a slice to the slices beside it, as far as they look alike; returns these.

        :param before: (H, W) the slice before its change.
        :param done: slices that are not to be changed.
        """
        carried = []
        for step in (-1, 1):
            here, change = self._slice(number, []), self.mask(number) != before
            for beside in range(number + step, number + (most + 1) * step, step):
                if beside in done or not 0 <= beside - self._first < len(self._view) or not change.any():
                    break
                there, former = self._slice(beside, []), self.mask(beside).copy()
                seed = _seed(change, here, there, positive)
                if seed is None:
                    break
                near = ndimage.binary_dilation(change, iterations=_BESIDE)
                after = spread(there, Click(seed, positive))
                self._put(beside, np.where(near, after, former))
                here, change = there, self.mask(beside) != former
                carried.append(beside)
        return carried

    def _slice(self, number: int, latest: list[Gesture]) -> Slice:
        gestures = [one for one in self._earlier if one.number == number] + latest
        return self._evidence.slice(number, self._class, self.mask(number).copy(), gestures)

    def _put(self, number: int, changed: np.ndarray) -> None:
        """Replace the mask of a slice, except where an earlier gesture is obeyed."""
        mask = self.mask(number)
        for gesture in self._earlier:
            if gesture.number == number and not gesture.is_box:
                at = tuple(gesture.pixels.T)
                kept = mask[at] == gesture.positive
                changed[at] = np.where(kept, gesture.positive, changed[at])
        mask[...] = changed


def _boxed(part: Slice, gesture: Gesture) -> np.ndarray:
    """The mask (H, W) after a box: cleared if it is negative, else grown in it until it spans the box."""
    changed, box = part.mask.copy(), gesture.corners
    if not gesture.positive:
        changed[box] = False
        return changed
    margin = consistent(part.margin, part.mask)[box]
    if not part.is_known and not part.mask[box].any():
        changed[box] |= _ellipse(margin.shape)
        return changed
    for threshold in _THRESHOLDS:
        if _spans(margin > -threshold):
            break
    changed[box] |= margin > -threshold
    return changed


def _spans(mask: np.ndarray) -> bool:
    return all(mask.any(axis).sum() >= _SPAN * mask.shape[1 - axis] for axis in (0, 1))


def _ellipse(shape: tuple[int, int]) -> np.ndarray:
    rows, columns = (np.linspace(-1, 1, 2 * n + 1)[1::2] for n in shape)
    return rows[:, None] ** 2 + columns**2 <= 1


def _seed(change: np.ndarray, here: Slice, there: Slice, positive: bool) -> np.ndarray | None:
    """Where a change goes on in the next slice: (1, 2) row and column; None if it does not.

    It must look as the slice before does there, and the model must not speak against it more than it did there.
    """
    depth = ndimage.distance_transform_edt(np.pad(change, 1))[1:-1, 1:-1]
    sign = 1 if positive else -1
    alike = np.abs(here.smoothed() - there.smoothed()).max(0) <= _SIMILAR
    doubted = there.is_known & (sign * (there.margin - here.margin) < 0)
    places = (depth >= _CORE * depth.max()) & (there.mask != positive) & alike & ~doubted
    if not places.any():
        return None
    return np.array([np.unravel_index(np.where(places, depth, 0).argmax(), depth.shape)])
