"""Fit how a structure is told from its opinions to its drawn slices, each hidden in turn.

Two things are learnt of a structure, few enough for few slices: how much larger or smaller it is drawn than the
combiner says, and whether one opinion alone was right where the combiner was not. Opinions that follow the grey levels
are right by themselves where the structure was made by such a tool.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

_PULL = 0.05  # of the shift, towards 0; more hidden slices pull harder away from it
_PULL_OF_ONE = 0.3  # the same, where a single slice was hidden
_NEAR = 6.0  # logit: surer pixels that are right teach nothing
_SURE = 10.0  # logit: no shift changes a surer pixel
# No farther: where most hidden slices are told badly, their Dice asks for shifts that double a structure everywhere.
_SHIFTS = np.linspace(-1, 1, 11, dtype=np.float32)
_TINY = 1.005  # keeps a Dice of 1 from an infinite gain
_REST = 0.3  # of the combiner's logits, where one opinion is better
_OPINION = 2.0  # the largest logit of an opinion by itself
_GAIN = 0.1  # the share of the error, 1 - Dice, that an opinion alone must save, beyond one standard error


@dataclass(frozen=True)
class Adaptation:
    """How the parts of a structure's logits make its logits.

    :ivar shift: is added to their sum. :ivar opinion: which part was better than the sum on the hidden slices, if any.
    """

    shift: float = 0.0
    opinion: int | None = None

    def logits(self, parts: np.ndarray) -> np.ndarray:
        """Logits (H, W) of parts (P, H, W), the last of which is no opinion but a correction."""
        whole = parts.sum(0) + np.float32(self.shift)
        return whole if self.opinion is None else _REST * whole + _alone(parts[self.opinion])


def adapt(parts: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> Adaptation:
    """Fit to hidden slices.

    :param parts: (P, H, W) of each hidden slice; :param masks: (H, W) what was drawn in it.
    """
    logits = [own.sum(0) for own in parts]
    shift = _shift_of_one(logits[0], masks[0]) if len(parts) == 1 else _shift(logits, masks)
    whole = np.array([_dice(own + shift, mask) for own, mask in zip(logits, masks, strict=True)])
    alone = np.array([[_dice(opinion, mask) for opinion in own[:-1]] for own, mask in zip(parts, masks, strict=True)])
    best = int(alone.mean(0).argmax())
    gain = np.log((_TINY - whole) / (_TINY - alone[:, best]))
    # Of a single slice nothing says how sure the gain is.
    sure = len(gain) > 1 and gain.mean() > _GAIN + gain.std() / np.sqrt(len(gain))
    return Adaptation(shift, best if sure else None)


def _shift(logits: Sequence[np.ndarray], masks: Sequence[np.ndarray]) -> float:
    """What to add, so that the soft Dice of the hidden slices is best: of most of them, whatever a single one wants.

    A structure is missed altogether where it ends between slices; such a slice must not decide about all others.
    """
    gains = []
    for own, mask in zip(logits, masks, strict=True):
        open_ = np.abs(own) < _SURE
        shares = 1 / (1 + np.exp(-(own[open_] + _SHIFTS[:, None])))
        size = shares.sum(1) + (own >= _SURE).sum()
        dice = (2 * (shares[:, mask[open_]].sum(1) + (mask & (own >= _SURE)).sum()) + 1) / (size + mask.sum() + 1)
        gains.append(-np.log(_TINY - dice))
    gains = np.array(gains) - np.array(gains)[:, [len(_SHIFTS) // 2]]
    return float(_SHIFTS[(len(gains) * np.median(gains, axis=0) - _PULL * _SHIFTS**2).argmax()])


def _shift_of_one(logits: np.ndarray, mask: np.ndarray) -> float:
    """The same of a single hidden slice, from the cross entropy of its pixels that are wrong or not sure."""
    near = (np.abs(logits) < _NEAR) | (mask != (logits > 0))
    z, y = logits[near].astype(np.float64), mask[near]
    if not len(y):
        return 0.0

    def loss(shift: float) -> float:
        return float((np.logaddexp(0, z + shift) - y * (z + shift)).mean()) + _PULL_OF_ONE * shift**2

    return float(minimize_scalar(loss, bounds=(-4, 4), method="bounded").x)


def _alone(opinion: np.ndarray) -> np.ndarray:
    return _OPINION * np.tanh(_OPINION * opinion)


def _dice(logits: np.ndarray, mask: np.ndarray) -> float:
    said = logits > 0
    return (2 * (said & mask).sum() + 1) / (said.sum() + mask.sum() + 1)
