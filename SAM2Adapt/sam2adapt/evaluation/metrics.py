"""Measure agreement of labels: Dice, IoU and surface distances of a case, confusion and ROC areas of a set.

Surface distances are those of MONAI (``monai.metrics``). The surface of a mask consists of its voxels that have a face
on the outside. HD95 is the larger of the two directed 95th percentiles, ASSD the mean over both surfaces.
"""

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np
import torch
from monai.metrics import get_mask_edges, get_surface_distance
from scipy.ndimage import find_objects

from ..imaging.terminology import Structure

MEASURES = ("dice", "iou", "hd95", "assd")
_NAN = float("nan")
_LOGIT_LIMIT = 40.0  # a softmax in float64 rounds to 1 at 37; below -40 the network is as sure as can be


def case_metrics(
    prediction: np.ndarray, truth: np.ndarray, ids: Sequence[int], spacing: Sequence[float] | None = None
) -> dict[int, dict[str, float]]:
    """Measure the agreement of two label volumes, class by class.

    :param prediction: (K, J, I) unsigned integers.
    :param truth: (K, J, I) unsigned integers.
    :param ids: the label values to compare.
    :param spacing: mm along K, J, I; distances are in mm, or in voxels if None.
    :return: for each id "dice", "iou", "hd95" and "assd". If neither volume has a class, all are NaN. If only one has
        it, Dice and IoU are 0, and the distances are NaN, because they are not defined.
    :raises ValueError: the shapes differ.
    """
    if prediction.shape != truth.shape or prediction.ndim != 3:
        raise ValueError(f"Two (K, J, I) arrays of one shape are needed, not {prediction.shape} and {truth.shape}.")
    steps = np.ones(3) if spacing is None else np.asarray(spacing, np.float64)
    boxes = [find_objects(array, max_label=max(ids, default=1)) for array in (prediction, truth)]
    return {
        number: _class_metrics(prediction, truth, number, [box[number - 1] for box in boxes], steps) for number in ids
    }


def dice_counts(prediction: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Numerator and denominator of the Dice of two masks, (2,) int64; sums over many masks give that of all together.

    >>> dice_counts(np.array([True, True, False]), np.array([False, True, False])).tolist()
    [2, 3]
    """
    common = np.count_nonzero(prediction & truth)
    return np.array([2 * common, np.count_nonzero(prediction) + np.count_nonzero(truth)], np.int64)


def _class_metrics(prediction: np.ndarray, truth: np.ndarray, number: int, boxes: list, steps: np.ndarray) -> dict:
    present = [box for box in boxes if box is not None]
    if not present:
        return dict.fromkeys(MEASURES, _NAN)
    if len(present) == 1:
        return {"dice": 0.0, "iou": 0.0, "hd95": _NAN, "assd": _NAN}
    # Nothing outside the joint box counts, and distance maps of a whole CT would take minutes.
    joint = tuple(slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(*present, strict=True))
    masks = [torch.from_numpy(array[joint] == number) for array in (prediction, truth)]
    twice_common, both = dice_counts(*(mask.numpy() for mask in masks)).tolist()
    # Leave out axes of one voxel, along which every voxel would be on the surface.
    thick = [axis for axis in range(3) if truth.shape[axis] > 1] or [2]
    flat = [mask.reshape([mask.shape[axis] for axis in thick]) for mask in masks]
    surfaces = get_mask_edges(*flat)
    there, back = (
        np.asarray(get_surface_distance(*pair, spacing=steps[thick].tolist()), np.float64)
        for pair in (surfaces, surfaces[::-1])
    )
    return {
        "dice": twice_common / both,
        "iou": twice_common / (2 * both - twice_common),
        "hd95": float(max(np.percentile(there, 95), np.percentile(back, 95))),
        "assd": float(np.concatenate([there, back]).mean()),
    }


class ConfusionMatrix:
    """Voxel counts over a whole set, for the mean IoU that papers on 2-D data report.

    One matrix is summed over all cases, and the IoU, including the background, is computed at the end (as in G-SAM and
    the SAM2 adapter papers). So large cases count more.

    :param ids: label values of the classes; every other value counts as background.
    """

    def __init__(self, ids: Sequence[int]):
        self.ids = list(ids)
        self.counts = np.zeros((len(self.ids) + 1, len(self.ids) + 1), np.int64)
        self._index = np.zeros(max(self.ids, default=0) + 2, np.int64)
        self._index[self.ids] = np.arange(1, len(self.ids) + 1)

    def update(self, prediction: np.ndarray, truth: np.ndarray) -> None:
        """Add labels of one shape; rows of ``counts`` are the truth, columns the prediction, background first."""
        if prediction.shape != truth.shape:
            raise ValueError(f"The shapes {prediction.shape} and {truth.shape} differ.")
        classes = len(self.counts)
        last = len(self._index) - 1
        for predicted, true in zip(np.atleast_2d(prediction), np.atleast_2d(truth), strict=True):  # slices fit caches
            rows, columns = (self._index[np.minimum(array, last)].ravel() for array in (true, predicted))
            counts = np.bincount(rows * classes + columns, minlength=classes**2)
            self.counts += counts.reshape(classes, classes)

    def iou(self) -> np.ndarray:
        """(1 + classes,) IoU of background and classes; NaN for a class that never occurred."""
        hits = np.diag(self.counts)
        union = self.counts.sum(0) + self.counts.sum(1) - hits
        return np.divide(hits, union, out=np.full(len(hits), _NAN), where=union > 0)

    def miou(self) -> float:
        """Mean over background and the classes that occurred; NaN before the first update."""
        values = self.iou()
        return float(np.nanmean(values)) if np.isfinite(values).any() else _NAN


class HistogramAUC:
    """Area under the ROC curve of each class over a set, from histograms instead of stored probabilities.

    Bins are equal in logit, because networks give most voxels a probability near 0 or 1. Voxels in one bin count as
    ties (half), as in the Mann-Whitney statistic.

    :param ids: label values of the classes, in the order of the probabilities.
    :param bins: number of bins; with 4096 the area is right to 1e-3.
    """

    def __init__(self, ids: Sequence[int], bins: int = 4096):
        self.ids = list(ids)
        self.bins = bins
        self.positive = np.zeros((len(self.ids), bins), np.int64)
        self.negative = np.zeros((len(self.ids), bins), np.int64)

    def update(self, probabilities: np.ndarray, truth: np.ndarray) -> None:
        """Add voxels.

        :param probabilities: (classes, …) from 0 to 1, without background.
        :param truth: (…) label values.
        """
        if probabilities.shape != (len(self.ids), *truth.shape):
            raise ValueError(f"Probabilities {probabilities.shape} do not fit {len(self.ids)} x {truth.shape}.")
        for index, number in enumerate(self.ids):
            share = np.asarray(probabilities[index], np.float64)
            with np.errstate(divide="ignore"):
                logit = np.log(share) - np.log1p(-share)
            place = (logit + _LOGIT_LIMIT) * (self.bins / (2 * _LOGIT_LIMIT))
            place = np.clip(place, 0, self.bins - 1).astype(np.int64)
            hit = truth == number
            self.positive[index] += np.bincount(place[hit], minlength=self.bins)
            self.negative[index] += np.bincount(place[~hit], minlength=self.bins)

    def auc(self) -> dict[int, float]:
        """Area of each class against all others; NaN if the set has no voxel of it, or no other voxel."""
        result = {}
        for index, number in enumerate(self.ids):
            positive, negative = self.positive[index], self.negative[index]
            pairs = int(positive.sum()) * int(negative.sum())
            below = np.cumsum(negative) - negative
            won = float(np.sum(positive * (below + negative / 2.0)))
            result[number] = won / pairs if pairs else _NAN
        return result


def aggregate(
    cases: Mapping[str, Mapping[int, Mapping[str, float]]],
    structures: Sequence[Structure],
    miou: float | None = None,
    auc: Mapping[int, float] | None = None,
    distance_unit: str = "mm",
) -> dict:
    """Summarise the measurements of all cases, as ``evaluate --json`` writes them.

    :param cases: for each name of a case, the result of :func:`case_metrics`.
    :param structures: the classes; their names become the keys.
    :param miou: :meth:`ConfusionMatrix.miou` of the set.
    :param auc: :meth:`HistogramAUC.auc` of the set.
    :param distance_unit: "mm" or "voxel", of HD95 and ASSD.
    :return: for each measure, the mean over cases for each class, and under "mean" their mean over classes. Undefined
        values do not count in means and are None, because JSON has no NaN. "left_out" has, for each class and "mean",
        the number of cases without distances, because only the labels or only the prediction show the class.
    """
    result: dict = {}
    for measure in MEASURES:
        classes = {
            structure.name: _mean(case[structure.id][measure] for case in cases.values() if structure.id in case)
            for structure in structures
        }
        result[measure] = {"mean": _mean(classes.values()), **classes}
    areas = {structure.name: (auc or {}).get(structure.id, _NAN) for structure in structures}
    result["auc"] = {"mean": _mean(areas.values()), **areas}
    result["miou_with_background"] = _NAN if miou is None else miou
    result["distance_unit"] = distance_unit
    result["left_out"] = _without_distances(cases.values(), structures)
    result["cases"] = [{"id": name, **_by_measure(case, structures)} for name, case in cases.items()]
    return _without_nan(result)


def _by_measure(
    case: Mapping[int, Mapping[str, float]], structures: Sequence[Structure]
) -> dict[str, dict[str, float]]:
    """``{"dice": {"liver": 0.9, …}, …}`` of one case from ``{1: {"dice": 0.9, …}, …}``."""
    measured = [structure for structure in structures if structure.id in case]
    return {measure: {s.name: case[s.id][measure] for s in measured} for measure in MEASURES}


def _without_distances(cases: Collection[Mapping[int, Mapping[str, float]]], structures: Sequence[Structure]) -> dict:
    def one_sided(case: Mapping[int, Mapping[str, float]], number: int) -> bool:
        return number in case and case[number]["dice"] == 0 and math.isnan(case[number]["hd95"])

    ids = [structure.id for structure in structures]
    counts = {s.name: sum(one_sided(case, s.id) for case in cases) for s in structures}
    return {"mean": sum(any(one_sided(case, number) for number in ids) for case in cases), **counts}


def _mean(values) -> float:
    defined = [value for value in values if not math.isnan(value)]
    return sum(defined) / len(defined) if defined else _NAN


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
