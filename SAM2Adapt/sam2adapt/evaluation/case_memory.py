"""Keep cases in memory that are read again and again."""

import numpy as np

from ..imaging.terminology import Structure
from ..imaging.volume import Volume
from .cases import Case
from .load_case import load_case

_MOST_BYTES = 1 << 28  # a tenth of what a training takes; sixty volumes of cardiac MR, or two of CT


class CaseMemory:
    """``load_case`` for a training, which validates on the same cases after each epoch.

    Cases stay in memory as they were read first, up to a number of bytes; the others are read each time.
    """

    def __init__(self, most_bytes: int = _MOST_BYTES):
        self._left = most_bytes
        self._kept: dict[Case, tuple[Volume, np.ndarray]] = {}

    def __call__(self, case: Case, structures: list[Structure]) -> tuple[Volume, np.ndarray]:
        """As ``load_case``; the arrays must not be changed."""
        if case in self._kept:
            return self._kept[case]
        volume, values = load_case(case, structures)
        size = volume.array.nbytes + values.nbytes
        if size <= self._left:
            self._left -= size
            self._kept[case] = volume, values
        return volume, values
