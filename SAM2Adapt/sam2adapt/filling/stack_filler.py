"""Fill the slices between drawn ones of a stack: evidence, what the drawn slices teach, and both weighed."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from .combiner import Combiner, channels
from .evidence import Evidence, Slice
from .grey import edges_of, pixel_features
from .learner import OPINIONS, PixelLearner
from .shape import interpolated, signed_distance
from .threads import Team

_PIXELS = 60_000  # to learn from, all slices together
_BAND = 12  # pixels: what is farther from every outline is mostly left out
_FAR_SHARE = 0.1

Drawn = Sequence[dict[int, np.ndarray]]  # for each structure masks (H, W) by slice


class StackFiller:
    """Fill one stack of slices, again and again as more of them are drawn.

    :param images: (N, H, W) grey levels scaled to about -1 to 1.
    :param step: distance of the slices in pixels.
    :param combiner: weighs the opinions; None: what the learner says is the answer.
    :param team: computes slices side by side; :param seed: of the learner.
    """

    def __init__(self, images: np.ndarray, step: float, combiner: Combiner | None, team: Team, seed: int = 0):
        self.images, self.step, self.seed = images, step, seed
        self.evidence = Evidence(images, step, team)
        self._combiner, self._learner = combiner, PixelLearner(seed)
        self._features: dict[int, np.ndarray] = {}
        self._edges: dict[int, np.ndarray] = {}

    def learn(self, drawn: Drawn, tell: Callable[[float], None]) -> None:
        """Carry the drawings to their neighbours and learn from the drawn slices.

        :param tell: is told the share that is done; may raise to stop.
        """
        self.evidence.carry(drawn, lambda share: tell(0.6 * share))
        self.trust = np.stack([self._hidden_dice(index) for index in range(len(drawn))])
        self._learner.fit(*self._pixels(), lambda share: tell(0.6 + 0.4 * share))

    def first_answer(self, drawn: Drawn) -> Iterator[tuple[int, np.ndarray]]:
        """Interpolated signed distances (S, H, W) of each slice between drawn ones; nothing is learnt."""
        distances = [{k: signed_distance(mask) for k, mask in sorted(masks.items())} for masks in drawn]
        for slice_ in range(len(self.images)):
            found = [interpolated(own, slice_) for own in distances]
            if any(own is not None for own in found):
                nothing = np.full(self.images.shape[1:], -np.inf, np.float32)
                yield slice_, np.stack([nothing if own is None else own for own in found])

    def logits(self, slice_: int) -> np.ndarray:
        """Logits (S, H, W) of every structure in a slice; -inf where its drawings say nothing about the slice."""
        found = [self.evidence.at(index, slice_) for index in range(len(self.evidence.drawn))]
        learnt = self._learner.predict(self._inputs(found, slice_))
        if self._combiner is None:
            result = learnt
        else:
            inputs = self.combiner_inputs(found, learnt, slice_)
            result = np.stack([learnt[0] if x is None else self._combiner.predict(x) for x in inputs])
        result[[known is None for known in found]] = -np.inf
        return result

    def combiner_inputs(self, found: list[Slice | None], learnt: np.ndarray, slice_: int) -> list[np.ndarray | None]:
        """What the combiner sees of each structure; None for one without evidence."""
        flows = [None if known is None else known.maps[1] for known in found]
        image, edges = self.images[slice_], self._edges_of(slice_)
        result: list[np.ndarray | None] = []
        for index, known in enumerate(found):
            if known is None:
                result.append(None)
                continue
            others = [k for k in range(len(found)) if k != index and found[k] is not None]
            nothing = np.full(image.shape, -16.0, np.float32)
            other = (
                np.max([flows[k] for k in others], axis=0) if others else nothing,
                np.max([learnt[k] for k in others], axis=0) if others else nothing / 2,
            )
            result.append(channels(known, learnt[index], other, image, edges, self.trust[index], self.step))
        return result

    def _hidden_dice(self, index: int) -> np.ndarray:
        """Dice (3,) of each opinion on the drawn slices, each hidden in turn."""
        masks = self.evidence.drawn[index]
        overlap, total = np.zeros(OPINIONS), np.zeros(OPINIONS)
        for slice_ in list(masks)[1:-1] or list(masks):
            known = self.evidence.at(index, slice_)
            if known is None:
                continue
            said = known.maps[:OPINIONS] > 0
            overlap += 2 * (said & masks[slice_]).sum((1, 2))
            total += said.sum((1, 2)) + masks[slice_].sum()
        # Two slices' worth of doubt keep few or tiny slices from saying much.
        return ((overlap + 20) / (total + 30)).astype(np.float32)

    def _pixels(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the learner is trained on: inputs, targets and what of them is known."""
        drawn = self.evidence.drawn
        slices = sorted({k for masks in drawn for k in masks})
        random = np.random.default_rng(self.seed)
        parts = []
        for slice_ in slices:
            # Opinions on a structure that is not drawn here are inputs all the same, as they are when it is predicted.
            found = [self.evidence.at(index, slice_) for index in range(len(drawn))]
            known = [own is not None and slice_ in masks for own, masks in zip(found, drawn, strict=True)]
            if not any(known):
                continue
            near = np.min([self._distance_of(k, found[k], slice_) for k in np.flatnonzero(known)], axis=0)
            share = np.where(near < _BAND, 1.0, _FAR_SHARE)
            chosen = random.random(share.shape) < share * min(1.0, _PIXELS / len(slices) / share.sum())
            inputs = self._inputs(found, slice_)[:, chosen].T
            masks = [own.get(slice_, np.zeros_like(chosen))[chosen] for own in drawn]
            parts.append((inputs, np.stack(masks, 1), np.broadcast_to(known, (len(inputs), len(known)))))
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))

    def _distance_of(self, index: int, known: Slice, slice_: int) -> np.ndarray:
        """How near a pixel is to the outline that was drawn or expected."""
        expected = np.minimum(np.abs(known.maps[0]), np.abs(known.maps[1]))
        return np.minimum(expected, 2 * np.abs(self.evidence.distances[index][slice_]))

    def _inputs(self, found: list[Slice | None], slice_: int) -> np.ndarray:
        if slice_ not in self._features:
            self._features[slice_] = pixel_features(self.images, slice_).astype(np.float16)
        nothing = np.zeros((OPINIONS, *self.images.shape[1:]), np.float32)
        opinions = [nothing if known is None else known.maps[:OPINIONS] for known in found]
        return np.concatenate([*opinions, self._features[slice_].astype(np.float32)])

    def _edges_of(self, slice_: int) -> np.ndarray:
        if slice_ not in self._edges:
            self._edges[slice_] = edges_of(self.images[slice_])
        return self._edges[slice_]
