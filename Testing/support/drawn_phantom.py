"""A small volume with one structure, of which a few slices are drawn: what tests of ``fill`` give to it."""

import numpy as np
from sam2adapt.imaging.volume import Volume
from sam2adapt.shared.labels.annotation import IGNORE

DRAWN = [0, 4, 8]


def phantom() -> tuple[Volume, np.ndarray]:
    """A volume (9, 32, 36) with noise, and the mask (K, J, I) of the ball in it, which slices 1 to 7 hold."""
    k, j, i = np.indices((9, 32, 36)).astype(float)
    truth = ((k - 4) * 2) ** 2 + (j - 16) ** 2 + (i - 18) ** 2 < 100
    grey = (100 * truth + np.random.default_rng(0).normal(0, 9, truth.shape)).astype(np.float32)
    return Volume(grey[None], np.array([5.0, 6, 7]), np.array([1.0, 1, 3]), np.eye(3), "phantom"), truth


def drawn_labels(truth: np.ndarray, slices: list[int] = DRAWN) -> np.ndarray:
    """Labels (K, J, I) uint8: 1 and 0 in drawn slices along K, 255 elsewhere."""
    labels = np.full(truth.shape, IGNORE, np.uint8)
    labels[slices] = truth[slices]
    return labels


def dice(a: np.ndarray, b: np.ndarray) -> float:
    """Of two masks."""
    return 2 * (a & b).sum() / (a.sum() + b.sum())
