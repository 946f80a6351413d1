"""Boosted trees that learn from the drawn slices, beside the networks: the two err in different pixels.

A small network follows smooth relations in few pixels, trees follow thresholds of grey levels; their mean is better
than either. Trees answer slowly, so they are asked only about pixels in which the networks are in doubt.
"""

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier

_ROUNDS = 60
_LEAVES = 15
_RATE = 0.1


class Trees:
    """One classifier for each fold and structure.

    :param seed: of the classifiers.
    """

    def __init__(self, seed: int):
        self._seed = seed
        self._models: list[list[HistGradientBoostingClassifier | None]] = []
        self._left: deque[tuple[int, int]] = deque()  # fold and structure of the classifiers that nobody trains yet

    def plan(self, folds: int, structures: int) -> None:
        """Begin anew: no classifier is trained yet."""
        self._models = [[None] * structures for _ in range(folds)]
        self._left = deque((fold, index) for fold in range(folds) for index in range(structures))

    def fit(
        self, inputs: np.ndarray, targets: np.ndarray, known: np.ndarray, seen: Sequence[np.ndarray],
        stopped: Callable[[], bool],
    ) -> None:  # fmt: skip
        """Train on pixels, as :meth:`learner.PixelLearner.fit`, what was planned; threads that call it share the work.

        :param seen: for each fold the pixels that its classifiers see.
        :param stopped: whether nobody waits for them any longer.
        """
        while not stopped():
            try:
                fold, index = self._left.popleft()
            except IndexError:
                return
            own = seen[fold][known[seen[fold], index]]
            # Of a single class there is nothing to tell apart.
            if len(own) and 0 < targets[own, index].sum() < len(own):
                self._models[fold][index] = self._model().fit(inputs[own], targets[own, index])

    def _model(self) -> HistGradientBoostingClassifier:
        return HistGradientBoostingClassifier(
            max_iter=_ROUNDS, max_leaf_nodes=_LEAVES, learning_rate=_RATE, l2_regularization=1.0, early_stopping=False,
            random_state=self._seed,
        )  # fmt: skip

    def predict(self, pixels: np.ndarray, index: int, fold: int | None) -> np.ndarray | None:
        """Logits (P,) of a structure in pixels (P, inputs): the mean over folds, or one's; None if nothing was learnt.

        :param index: of the structure.
        """
        models = [own[index] for own in (self._models if fold is None else [self._models[fold]])]
        said = [model.decision_function(pixels) for model in models if model is not None]
        return np.mean(said, axis=0) if said else None
