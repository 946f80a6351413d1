"""Whether a model fits an image: first by what its card says, then by how a trial on three slices went.

This needs only the standard library, so that Slicer can ask without the engine. All limits are our choice; the counts
of right and wrong proposals behind them come from ``Testing/benchmarks/proposals.py``.
"""

from dataclasses import dataclass

TRIAL_SLICES = 3
# Score of a trial from which a model is proposed, see ``trial_score``.
PLAUSIBLE = 0.35
# Longest side of a slice, as a share of that of a typical slice in the training.
_SMALLEST, _LARGEST = 0.5, 2.0
# Voxels in plane, as a multiple of the pixels that the network gets: larger ones show no detail that it needs.
_COARSEST = 4.0


@dataclass(frozen=True)
class SliceShape:
    """The slices of a volume along the axis of a model.

    :param extent: mm of the longest side; ``spacing``: mm of a voxel in plane, the larger of both directions.
    """

    extent: float
    spacing: float


def fits_shape(pixel: float | None, typical: int | None, shape: SliceShape) -> bool:
    """Whether the extent and the voxels of slices are near those that a model was trained on.

    :param pixel: mm of a pixel of the model's grid; None: it scales every slice to one size, so nothing is known.
    :param typical: longest side of a typical slice in the training, pixels; None: unknown.

    >>> fits_shape(0.39, 128, SliceShape(50.0, 1.0)), fits_shape(0.39, 128, SliceShape(256.0, 1.0))
    (True, False)
    """
    if not pixel:
        return True
    if shape.spacing > _COARSEST * pixel:
        return False
    return not typical or _SMALLEST <= shape.extent / (typical * pixel) <= _LARGEST


def trial_slices(count: int) -> list[int]:
    """Indices of the slices that are tried out: the middles of the thirds of a stack of ``count`` slices.

    >>> trial_slices(1), trial_slices(9), trial_slices(30)
    ([0], [1, 4, 7], [5, 15, 25])
    """
    return sorted({(2 * third + 1) * count // (2 * TRIAL_SLICES) for third in range(TRIAL_SLICES)})


def slices_to_send(count: int) -> list[int]:
    """Indices of the slices that a trial needs: those that are tried out, with their neighbours.

    The slices tried out of the stack that they make are the same again.

    >>> slices_to_send(4), slices_to_send(30)
    ([0, 1, 2, 3], [4, 5, 6, 14, 15, 16, 24, 25, 26])
    """
    if count <= 3 * TRIAL_SLICES:
        return list(range(count))
    return [index + offset for index in trial_slices(count) for offset in (-1, 0, 1)]


def trial_score(uncertainty: float, disagreement: float) -> float:
    """How plausible the result of a trial is, 0 to 1, from the two measures of ``segmenting/rank.py``."""
    return (1 - uncertainty) * (1 - disagreement)
