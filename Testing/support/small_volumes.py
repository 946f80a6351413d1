"""Small volumes of noise, at an odd place."""

from typing import Any

import numpy as np
from sam2adapt.imaging.volume import Volume


def volume_of(array: np.ndarray, **changes: Any) -> Volume:
    """A volume of (K, J, I) or (C, K, J, I) voxels.

    :param changes: of its place, and further arguments of ``Volume``.
    """
    given = {"origin": (10.5, -20.25, 1 / 3), "spacing": (0.7, 0.9, 3.3), "direction": np.eye(3), **changes}
    return Volume(array if array.ndim == 4 else array[np.newaxis], **given)


def noise(*shape: int, kind: type = np.int16, seed: int = 0) -> np.ndarray:
    """Whole numbers from 0 to 199, the same each time."""
    return np.random.default_rng(seed).integers(0, 200, shape).astype(kind)
