"""Find the volumes and slices that are best to correct next: those where the model is least sure (our choice).

There are two measures, from 0 (sure) to 1: the mean entropy of the class probabilities in and around the predicted
structures; and the disagreement, 1 - Dice, between the labels at one scale and those averaged over three scales.
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

MARGIN = 2  # voxels around the predicted structures, because models are unsure at borders
_APART = 3  # slices; neighbours look alike, so that a correction of both teaches little


@dataclass(frozen=True)
class RankedSlice:
    """A slice to correct.

    :param axis: voxel axis across the slice (0 = I, 1 = J, 2 = K); ``index``: its index along this axis.
    :param position: centre of the uncertain area, mm, LPS.
    :param uncertainty: sum of the entropy over the voxels, about the number of uncertain voxels.
    """

    axis: int
    index: int
    position: tuple[float, float, float]
    uncertainty: float


@dataclass(frozen=True)
class Ranked:
    """How sure a model is of one volume; ``found``: whether it has labelled any voxel."""

    name: str
    uncertainty: float
    disagreement: float
    found: bool
    slices: list[RankedSlice] = field(default_factory=list)

    @property
    def score(self) -> float:
        """0 to 1; the larger, the more the model can learn from a correction."""
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

    :param slices: the largest number of slices to name.
    :param progress: called with (steps done, all steps); a step is a slice at one scale.
    :raises UserError: as ``predict.segment``.
    """
    scales = len(SCALES)

    def of_all(first: int, weight: int) -> Callable[[int, int], None] | None:
        # The averaged run counts once for each scale.
        return progress and (lambda done, total: progress(first * total + done * weight, (1 + scales) * total))

    options = {"any_modality": any_modality}
    plain = segment(volume, model, Options(uncertainty=True, **options), of_all(0, 1), cancelled)
    averaged = segment(volume, model, Options(tta=True, **options), of_all(1, scales), cancelled).labels.array[0]
    labels, entropy = plain.labels.array[0], plain.uncertainty.array[0]
    found = bool(labels.any())
    doubt = entropy * ndimage.binary_dilation(labels > 0, iterations=MARGIN) if found else entropy
    inside = np.count_nonzero(doubt) or 1
    axis = orientation_axes(volume.direction, model.slices.orientation)[0][SliceStack(volume, model.slices).axis]
    return Ranked(
        name=volume.name,
        uncertainty=float(doubt.sum(dtype=np.float64) / inside),
        disagreement=disagreement(labels, averaged),
        found=found,
        slices=_worst_slices(doubt, volume, axis, slices),
    )


def disagreement(labels: np.ndarray, others: np.ndarray) -> float:
    """1 - mean Dice over the labels that occur in either array; 0 if none does.

    scikit-image counts all pairs of labels at once and needs 24 bytes for each voxel, so it only gets voxels with a
    label. Its time does not matter here, because the network takes minutes.
    """
    either = (labels > 0) | (others > 0)
    if not either.any():
        return 0.0
    table = contingency_table(labels[either], others[either]).toarray()
    # Each side of the table ends at its last label.
    table = np.pad(table, [(0, max(table.shape) - length) for length in table.shape])
    sizes = table.sum(axis=0) + table.sum(axis=1)
    present = np.flatnonzero(sizes[1:]) + 1
    return 1 - float(np.mean(2 * table.diagonal()[present] / sizes[present]))


def _worst_slices(doubt: np.ndarray, volume: Volume, axis: int, count: int) -> list[RankedSlice]:
    """The slices with the largest sums of doubt (K, J, I), but never two close neighbours."""
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
    """As plain data."""
    return {**asdict(ranked), "score": ranked.score}
