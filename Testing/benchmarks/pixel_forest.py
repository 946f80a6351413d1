"""A random forest on grey levels: what a tool without any network learns from a few cases."""

import time
from collections.abc import Iterator

import numpy as np
from sam2adapt.evaluation.cases import Case
from sam2adapt.evaluation.load_case import load_case
from sam2adapt.evaluation.metrics import case_metrics
from sam2adapt.filling.grey import features_across, pixel_features, scale_grey
from sam2adapt.imaging.cleaning import clean
from sam2adapt.imaging.terminology import Structure
from sam2adapt.segmenting.slices import SliceSettings, SliceStack
from sam2adapt.shared.labels.annotation import IGNORE
from sklearn.ensemble import RandomForestClassifier

_PIXELS = 300_000  # to learn from, all classes alike where they have as many
_TREES = 20  # added at a time, while there is time
_MOST_TREES = 200
_LEAF = 4  # pixels of the smallest leaf


class PixelForest:
    """Tells the class of each pixel from the features that filling uses, without what the drawings say.

    :param slices: axis of the slices; :param threads: of the forest.
    """

    def __init__(self, structures: list[Structure], slices: SliceSettings, threads: int, seed: int):
        self._structures, self._slices, self._seed = structures, slices, seed
        self._forest = RandomForestClassifier(
            0, min_samples_leaf=_LEAF, n_jobs=threads, random_state=seed, warm_start=True
        )

    def fit(self, cases: list[Case], minutes: float) -> int:
        """Learn until the time is over, reading included; the number of trees."""
        end = time.perf_counter() + 60 * minutes
        random = np.random.default_rng(self._seed)
        share = _PIXELS // len(cases) // (len(self._structures) + 1)
        features, classes = [], []
        for case in cases:
            images, truth, _ = self._read(case)
            for value in (0, *(structure.id for structure in self._structures)):
                places = np.argwhere(truth == value)
                chosen = places[random.permutation(len(places))[:share]]
                for slice_ in np.unique(chosen[:, 0]):
                    rows, columns = chosen[chosen[:, 0] == slice_, 1:].T
                    features.append(_features(images, slice_, self._step)[:, rows, columns].T)
                    classes.append(np.full(len(rows), value))
        x, y = np.concatenate(features), np.concatenate(classes)
        took = 0.0
        while self._forest.n_estimators < _MOST_TREES and time.perf_counter() + took < end:
            started = time.perf_counter()
            self._forest.set_params(n_estimators=self._forest.n_estimators + _TREES).fit(x, y)
            took = time.perf_counter() - started
        return self._forest.n_estimators

    def evaluate(self, cases: list[Case], steps: dict[str, list[int]] | None = None) -> dict[str, float]:
        """Mean Dice of each structure over cases, and their mean as "mean".

        :param steps: of ``cleaning.clean``; the result is that with them or without, whichever is better.
        """
        ids = [structure.id for structure in self._structures]
        as_found, cleaned = [], []
        for case in cases:
            images, truth, spacing = self._read(case)
            labels, annotated = np.stack([*self._labels(images, truth.dtype)]), truth != IGNORE
            truth = np.where(annotated, truth, 0)
            as_found.append(case_metrics(labels * annotated, truth, ids, spacing))
            if steps:
                clean(labels, {"largest_component": [], "fill_holes": [], "minimum_ml": 0.0} | steps, np.nan)
                cleaned.append(case_metrics(labels * annotated, truth, ids, spacing))
        return max((self._means(found) for found in (as_found, cleaned) if found), key=lambda means: means["mean"])

    def _means(self, found: list[dict]) -> dict[str, float]:
        scores = {s.name: float(np.nanmean([own[s.id]["dice"] for own in found])) for s in self._structures}
        return {"mean": float(np.mean([*scores.values()])), **scores}

    def _read(self, case: Case) -> tuple[np.ndarray, np.ndarray, list[float]]:
        """Grey levels and labels (N, H, W), and the spacing in this order."""
        volume, truth = load_case(case, self._structures)
        stack = SliceStack(volume, self._slices)
        images = scale_grey(np.ascontiguousarray(stack.array.mean(0)))
        across = float(volume.spacing[::-1][stack.array_axis])
        self._step = across / min(stack.native_spacing)
        return images, np.ascontiguousarray(stack.oriented(truth)), [across, *stack.native_spacing]

    def _labels(self, images: np.ndarray, kind: np.dtype) -> Iterator[np.ndarray]:
        for slice_ in range(len(images)):
            features = _features(images, slice_, self._step)
            found = self._forest.predict(features.reshape(len(features), -1).T)
            yield found.reshape(images.shape[1:]).astype(kind)


def _features(images: np.ndarray, slice_: int, step: float) -> np.ndarray:
    return np.concatenate([pixel_features(images, slice_), features_across(images, slice_, step)])
