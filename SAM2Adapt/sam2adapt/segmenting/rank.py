"""Find the volume, and its slices, that are most worth correcting: where the model is least sure (our choice).

Two measures, both 0 (sure) to 1: the mean entropy of the class probabilities in and around the predicted structures,
and the disagreement, 1 - Dice, between the labels of one scale and those averaged over three (test-time augmentation).
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import numpy as np
from scipy import ndimage
from skimage.measure import centroid
from skimage.metrics import contingency_table

from ..imaging.volume import Volume
from .model import Model
from .predict import SCALES, Options, segment
from .slices import SliceStack, orientation_axes

_MARGIN = 2  # voxels around the predicted structures, because a model doubts at borders
_APART = 3  # slices: neighbours look alike, so correcting both teaches little


@dataclass(frozen=True)
class RankedSlice:
    """A slice worth correcting.

    :param axis: voxel axis across which the slice lies (0 = I, 1 = J, 2 = K); ``index``: its number along it.
    :param position: where the doubt lies, mm, LPS.
    :param uncertainty: sum of the entropy, in voxels: about how many are in doubt.
    """

    axis: int
    index: int
    position: tuple[float, float, float]
    uncertainty: float


@dataclass(frozen=True)
class Ranked:
    """How sure a model is of one volume; ``score`` is the mean of the two measures."""

    name: str
    uncertainty: float
    disagreement: float
    found: bool
    slices: list[RankedSlice] = field(default_factory=list)

    @property
    def score(self) -> float:
        """The larger, the more there is to learn from the volume, 0 to 1."""
        return (self.uncertainty + self.disagreement) / 2


def rank_volume(
    volume: Volume,
    model: Model,
    slices: int = 5,
    any_modality: bool = False,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Ranked:
    """Measure how sure a model is of a volume.

    :param slices: how many slices to name at most.
    :param progress: called with (steps done, steps in all); a step is a slice at one scale.
    :raises UserError: as ``predict.segment``.
    """
    scales = len(SCALES)

    def of_all(first: int, weight: int) -> Callable[[int, int], None] | None:
        # The averaged run takes as long as its scales.
        return progress and (lambda done, total: progress(first * total + done * weight, (1 + scales) * total))

    options = {"any_modality": any_modality}
    plain = segment(volume, model, Options(uncertainty=True, **options), of_all(0, 1), cancelled)
    averaged = segment(volume, model, Options(tta=True, **options), of_all(1, scales), cancelled).labels.array[0]
    labels, entropy = plain.labels.array[0], plain.uncertainty.array[0]
    found = bool(labels.any())
    doubt = entropy * ndimage.binary_dilation(labels > 0, iterations=_MARGIN) if found else entropy
    inside = np.count_nonzero(doubt) or 1
    axis = orientation_axes(volume.direction, model.slices.orientation)[0][SliceStack(volume, model.slices).axis]
    return Ranked(
        name=volume.name,
        uncertainty=float(doubt.sum(dtype=np.float64) / inside),
        disagreement=_disagreement(labels, averaged),
        found=found,
        slices=_worst_slices(doubt, volume, axis, slices),
    )


def _disagreement(labels: np.ndarray, others: np.ndarray) -> float:
    """1 - mean Dice of the labels that either has; 0 where neither has any.

    scikit-image counts all pairs of labels at once and needs 24 bytes a voxel, so it only gets voxels with a label. Its
    time does not matter here, after minutes of the network; ``cleaning``, which every result waits for, is faster.
    """
    either = (labels > 0) | (others > 0)
    if not either.any():
        return 0.0
    table = contingency_table(labels[either], others[either]).toarray()
    # Each side ends at its last label.
    table = np.pad(table, [(0, max(table.shape) - length) for length in table.shape])
    sizes = table.sum(axis=0) + table.sum(axis=1)
    present = np.flatnonzero(sizes[1:]) + 1
    return 1 - float(np.mean(2 * table.diagonal()[present] / sizes[present]))


def _worst_slices(doubt: np.ndarray, volume: Volume, axis: int, count: int) -> list[RankedSlice]:
    """Slices with the largest sum of doubt (K, J, I), never two close neighbours."""
    across = tuple(other for other in range(3) if other != 2 - axis)
    sums = doubt.sum(axis=across, dtype=np.float64)
    chosen: list[int] = []
    for index in np.argsort(-sums, kind="stable"):
        if len(chosen) == count or sums[index] <= 0:
            break
        if all(abs(int(index) - other) >= _APART for other in chosen):
            chosen.append(int(index))
    return [
        RankedSlice(axis, index, _position(np.take(doubt, index, axis=2 - axis), volume, axis, index), sums[index])
        for index in chosen
    ]


def _position(plane: np.ndarray, volume: Volume, axis: int, index: int) -> tuple[float, float, float]:
    """Centre of the doubt of one slice, mm, LPS."""
    rows, columns = centroid(plane.astype(np.float64))
    voxel = np.insert([columns, rows], axis, index)  # I, J, K
    return tuple(float(x) for x in volume.origin + volume.direction @ (voxel * volume.spacing))


def to_json(ranked: Ranked) -> dict:
    """All of it, as JSON can hold it."""
    return {**asdict(ranked), "score": ranked.score}
