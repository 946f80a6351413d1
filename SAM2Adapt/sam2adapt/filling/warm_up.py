"""Load what filling needs before a user waits for it."""

import numpy as np

from ..imaging.volume import Volume
from .drawings import drawings_from_masks
from .filler import Filler


def warm_up() -> None:
    """Fill a made-up volume, so that libraries are loaded and the first filling takes as long as any other."""
    k, j, i = np.ogrid[:5, :24, :24]
    ball = (3 * (k - 2)) ** 2 + (j - 12) ** 2 + (i - 12) ** 2 < 64
    grey = np.random.default_rng(0).normal(size=ball.shape).astype(np.float32) + 5 * ball
    drawn = ball.copy()
    drawn[[1, 3]] = False
    volume = Volume(grey[np.newaxis], np.zeros(3), np.array([1.0, 1.0, 3.0]), np.eye(3))
    Filler(volume).fill(drawings_from_masks(drawn[np.newaxis], ["ball"]))
