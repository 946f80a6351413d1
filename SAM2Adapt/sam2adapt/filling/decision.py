"""Which pixels are filled: where a structure is likely enough, and which wins; and how right that is expected to be."""

import numpy as np
from scipy.special import expit, logit

from .drawings import Drawings

# The logit of an expected Dice is that of the promised one times the first, plus the second times the logarithm of the
# number of drawn slices, plus the third; fitted by Testing/benchmarks/fill_calibration.py.
_CALIBRATION = (1.32, 0.3, -1.34)
_LOWEST = 0.05  # threshold: below it, all that a structure might be would be filled


def sums_of(probability: np.ndarray, filled: np.ndarray) -> np.ndarray:
    """What makes a Dice (S, 3): sums over (S, H, W) of probability where filled, of probability, and of filled."""
    return np.stack([(probability * filled).sum((1, 2)), probability.sum((1, 2)), filled.sum((1, 2))], 1)


def promised_dice(sums: np.ndarray) -> np.ndarray:
    """The Dice (S,) that probabilities of pixels promise; NaN where nothing was filled and nothing is likely.

    :param sums: (S, 3) as ``sums_of`` gives them, of all slices together.
    """
    hit, probability, size = sums.T
    with np.errstate(invalid="ignore"):
        return np.where(probability + size > 0, 2 * hit / (probability + size), np.nan)


def thresholds(sums: np.ndarray) -> np.ndarray:
    """Above which probability (S,) to fill a structure, so that the expected Dice is best: half of that Dice.

    A pixel that is filled adds twice its probability to the numerator and one to the denominator, which pays where the
    probability is above half of their ratio (Lipton, Elkan and Narayanaswamy 2014, "Optimal thresholding of
    classifiers to maximize F1 measure", theorem 1). A threshold of a half, which makes fewest pixels wrong, leaves out
    altogether what is nowhere more likely than not.

    :param sums: (S, 3) as ``sums_of`` gives them for what is more likely than not.
    """
    return np.clip(np.nan_to_num(promised_dice(sums), nan=1.0) / 2, _LOWEST, 0.5)


def expected_dice(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """The Dice (S,) to be expected of what was filled; NaN where nothing was.

    The Dice that the probabilities of pixels promise forgets that pixels err together, the more so the less there was
    to learn from.

    :param sums: (S, 3) as ``sums_of`` gives them.
    :param counts: (S,) in how many slices a structure is drawn and has voxels.
    """
    slope, gain, shift = _CALIBRATION
    return expit(slope * logit(np.minimum(promised_dice(sums), 1 - 1e-6)) + gain * np.log(counts + 0.5) + shift)


def exclusive(drawings: Drawings) -> np.ndarray:
    """(S, S) bool, which structures must not overlap in the result.

    Those that are drawn in the same slice, one or more, and overlap nowhere. Of structures that share no drawn slice,
    such as an organ and its lesion drawn between the organ's slices, nothing is known, and each is filled by itself.
    """
    masks, slices = drawings.masks, drawings.slices
    count = len(masks)
    result = np.zeros((count, count), bool)
    for a in range(count):
        for b in range(a):
            together = any(set(one) & set(other) for one, other in zip(slices[a], slices[b], strict=True))
            overlap = any((one & other).any() for one, other in zip(masks[a], masks[b], strict=True))  # slice by slice
            result[a, b] = result[b, a] = together and not overlap
    return result


def decide(logits: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Masks (S, H, W) from logits: of structures that must not overlap (S, S), the likeliest wins."""
    masks = logits > 0
    for a in range(len(logits)):
        for b in np.flatnonzero(apart[a]):
            # Of equals the first stays.
            masks[a] &= (logits[a] > logits[b]) if b < a else (logits[a] >= logits[b])
    return masks
