"""Fill the slices between drawn ones of a stack: evidence, what the drawn slices teach, and both weighed."""

from collections.abc import Callable, Sequence
from itertools import chain

import numpy as np

from ..machine.allocation import return_freed_memory
from .adaptation import Adaptation, adapt
from .combiner import LEARNT_SCALE, SHAPE_SCALE, Combiner, channels
from .drawings import smallest_box
from .grey import edges_of, features_across, pixel_features
from .learner import FOLDS, PixelLearner
from .opinions.evidence import OPINIONS, SHAPES, Evidence, Slice, half, single
from .threads import Team

_PIXELS = 60_000  # to learn from, all slices together
_BAND = 12  # pixels: what is farther from every outline is mostly left out
_FAR_SHARE = 0.1
_NEARER = (0.3, 0.9)  # how much of a hidden slice's error is left where its neighbours are as near as elsewhere
_STALE = 0.2  # of the drawn slices of a structure: when more have changed, such as one of four, it is learnt anew
_RIGHT = 0.7  # Dice of an answer with what was drawn afterwards: when it is lower, all is learnt anew
_NEVER = -20.0  # logit where neither drawings nor what is learnt allow a structure
_POSSIBLE = (-8.0, -4.0)  # pixels from the carried outline, and logit of what is learnt: beyond both it is impossible
_REACH = 8  # pixels that the combiner sees around one
_TRUSTED = (0.6, 0.7)  # Dice of what is learnt on hidden slices: from not heard again to heard as much as all else
_AGREEMENT = 0.3  # how much of a slice's answer is that of the slices beside it, where they are near
_NEAR = 2.0  # pixels: what farther slices have in common falls off quickly
_SURE = 4.0  # logit: surer answers count no more to the slices beside
_JUDGES = 6  # drawn slices of a structure, hidden in turn, on which opinions are judged

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
        self._combiner, self._learner, self._team = combiner, PixelLearner(seed), team
        self._features: dict[int, np.ndarray] = {}
        self._learnt: dict[int, np.ndarray] = {}
        self._prints: list[dict[int, int]] = []  # fingerprints of the drawings
        self._learnt_from: list[dict[int, int]] = []  # the same of those that were learnt from
        self._answers: dict[int, tuple[tuple, np.ndarray]] = {}  # of slices, with what each depends on
        self._folds: dict[int, int] = {}  # of drawn slices: which network must not see them

    def learn(self, drawn: Drawn, tell: Callable[[float], None]) -> None:
        """Carry the drawings to their neighbours and learn from the drawn slices.

        What was learnt before stays where little of the drawings has changed since, and the answers on slices that
        were drawn since were right. Then only the slices beside what has changed get another answer.

        :param tell: is told the share that is done; may raise to stop.
        """
        self.evidence.carry(drawn, lambda share: tell(0.6 * share))
        return_freed_memory()
        for slice_ in sorted({k for masks in drawn for k in masks} - set(self._folds)):
            self._folds[slice_] = len(self._folds) % FOLDS
        self._learnt.clear()
        self._prints = [{k: hash(mask.tobytes()) for k, mask in masks.items()} for masks in drawn]
        if _change(self._learnt_from, self._prints) <= _STALE and not self._has_erred():
            return
        self._answers.clear()
        self._learnt_from = []  # who stops meanwhile has learnt nothing
        self._learner.fit(*self._pixels(), lambda share: tell(0.6 + 0.4 * share))
        self.trust = self._hidden_dice()
        self.adaptations = [Adaptation() for _ in drawn]
        if self._combiner is not None:
            self._adapt()
        self._features.clear()
        return_freed_memory()
        self._learnt_from = self._prints

    def _has_erred(self) -> bool:
        """Whether a structure was told badly in slices that have been drawn, or drawn otherwise, since it was learnt.

        Such a drawing is worth more than its share of all: a structure that was nowhere before may be in it alone.
        """
        for index, masks in enumerate(self.evidence.drawn):
            before, now = self._learnt_from[index], self._prints[index]
            places = [k for k in masks if before.get(k) != now[k] and k in self._answers]
            said = [self._answers[k][1][index] > 0 for k in places]
            overlap = sum(int((own & masks[k]).sum()) for own, k in zip(said, places, strict=True))
            total = sum(int(own.sum() + masks[k].sum()) for own, k in zip(said, places, strict=True))
            if 2 * overlap < _RIGHT * total:
                return True
        return False

    def rest(self) -> None:
        """Let go of what a further filling computes anew."""
        self._learnt.clear()
        self._features.clear()

    def prepare(self, slices: Sequence[int], tell: Callable[[float], None]) -> None:
        """Compute side by side what slices ask of each other, before :meth:`logits` is called for each of them.

        Threads that began with the logits would compute the same of the slices beside their own.

        :param tell: is told the share that is done; may raise to stop.
        """
        new = [k for k in slices if self._answers.get(k, (None,))[0] != self._source(k)]
        asked = sorted({place for k in new for place in (k - 1, k, k + 1)} & set(slices))
        steps = chain(self._team.map(self.learnt, asked), self._team.map(self.answer, new))
        for number, _ in enumerate(steps):
            tell(number / (len(asked) + len(new)))

    def logits(self, slice_: int) -> np.ndarray:
        """Logits (S, H, W) of every structure in a slice; -inf where its drawings say nothing about the slice.

        Each slice is answered by itself, so a structure would jump from one to the next: near slices must agree.
        """
        result = self.answer(slice_)
        share = _AGREEMENT * min(1.0, (_NEAR / self.step) ** 4)
        for index, own in enumerate(result):
            if np.isfinite(own).all():
                beside = [self._sure(index, place) for place in (slice_ - 1, slice_ + 1)]
                limited = np.clip(own, -_SURE, _SURE)
                mean = np.mean([limited if x is None else x for x in beside], axis=0)
                result[index] += share * (mean - limited)
        return result

    def answer(self, slice_: int) -> np.ndarray:
        """What :meth:`logits` says of a slice by itself, kept until the drawings around it change."""
        source = self._source(slice_)
        if self._answers.get(slice_, (None,))[0] != source:
            self._answers[slice_] = source, half(self._answer(slice_))
        return single(self._answers[slice_][1])

    def _sure(self, index: int, slice_: int) -> np.ndarray | None:
        """What is drawn, or else answered, of a structure in a slice, as logits (H, W); None where nothing is known."""
        if slice_ in self.evidence.drawn[index]:
            return np.clip(2 * self.evidence.distances[index][slice_], -_SURE, _SURE)
        if not self.evidence.knows(index, slice_):
            return None
        return np.clip(self.answer(slice_)[index], -_SURE, _SURE)

    def _source(self, slice_: int) -> tuple:
        """What the answer on a slice depends on: the drawings in and around it and the slices beside it."""
        return tuple(
            (k, prints.get(k))
            for index, prints in enumerate(self._prints)
            for place in (slice_ - 1, slice_, slice_ + 1)
            for k in (place, *self.evidence.neighbours(index, place))
        )

    def _answer(self, slice_: int) -> np.ndarray:
        found = self._found(slice_)
        if self._combiner is None:
            result = single(self.learnt(slice_, found))
        else:
            nothing = np.zeros(self.images.shape[1:], np.float32)
            inputs = enumerate(self.combiner_inputs(found, slice_))
            result = np.stack([nothing if x is None else self._weighed(x, index) for index, x in inputs])
        result[[known is None for known in found]] = -np.inf
        return result

    def _weighed(self, inputs: np.ndarray, index: int) -> np.ndarray:
        """Logits (H, W) of a structure from what the combiner sees of it, computed where it may be at all.

        The combiner was trained on other volumes. Where what is learnt from this one tells hidden slices well, it is
        heard once more beside the combiner.
        """
        result = np.full(inputs.shape[1:], _NEVER, np.float32)
        flow, learnt = (limit / scale for limit, scale in zip(_POSSIBLE, (SHAPE_SCALE, LEARNT_SCALE), strict=True))
        possible = (inputs[1] > flow) | (inputs[OPINIONS] > learnt)
        if possible.any():
            rows, columns = smallest_box(possible)
            box = (_wider(rows), _wider(columns))
            inputs = np.ascontiguousarray(inputs[(slice(None), *box)])
            share = float(np.interp(self.trust[index, OPINIONS], _TRUSTED, (0, 1)))
            weighed = self.adaptations[index].logits(self._combiner.predict(inputs))
            result[box] = (weighed + share * LEARNT_SCALE * inputs[OPINIONS]) / (1 + share)
        return result

    def _found(self, slice_: int) -> list[Slice | None]:
        return [self.evidence.at(index, slice_) for index in range(len(self.evidence.drawn))]

    def learnt(self, slice_: int, found: list[Slice | None] | None = None) -> np.ndarray:
        """What the learner says (S, H, W) float16; of a drawn slice, what it says without having seen it.

        :param found: the evidence on the slice, where it is at hand.
        """
        if slice_ not in self._learnt:
            inputs = self._inputs(found or self._found(slice_), slice_)
            self._learnt[slice_] = half(self._learner.predict(inputs, self._folds.get(slice_)))
        return self._learnt[slice_]

    def _beside(self, index: int, slice_: int) -> np.ndarray:
        """The mean (H, W) of what is known or learnt of a structure on both sides of a slice.

        Of a drawn slice they would tell what was drawn in it: what is learnt of itself stands for them.
        """
        masks, logits = self.evidence.drawn[index], []
        for place in (slice_ - 1, slice_ + 1):
            if place in masks and slice_ not in masks:
                logits.append(np.clip(2 * self.evidence.distances[index][place], -6, 6))
            elif slice_ in masks or not self.evidence.knows(index, place):
                logits.append(self.learnt(slice_)[index])
            else:
                logits.append(self.learnt(place)[index])
        # The farther the slices are from each other, the less they say of each other.
        share, own = 1 / max(1.0, self.step) ** 2, single(self.learnt(slice_)[index])
        return own + share * (np.mean(logits, axis=0, dtype=np.float32) - own)

    def combiner_inputs(self, found: list[Slice | None], slice_: int) -> list[np.ndarray | None]:
        """What the combiner sees of each structure; None for one without evidence."""
        learnt = single(self.learnt(slice_, found))
        flows = [None if known is None else known.maps[1] for known in found]
        image, edges = self.images[slice_], edges_of(self.images[slice_])
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
            own = learnt[index], self._beside(index, slice_)
            result.append(channels(known, own, other, image, edges, self.trust[index], self.step))
        return result

    def _hidden_dice(self) -> np.ndarray:
        """Dice (S, 5) of each opinion and of the learner on the drawn slices, each hidden in turn."""
        drawn = self.evidence.drawn
        judges = [set(_judges(masks)) for masks in drawn]
        overlap, total = np.zeros((2, len(drawn), OPINIONS + 1))
        places = sorted(set().union(*judges))

        def known(slice_: int) -> tuple[list[Slice | None], np.ndarray]:
            found = self._found(slice_)
            return found, self.learnt(slice_, found)

        for slice_, (found, learnt) in zip(places, self._team.map(known, places), strict=True):
            for index, own in enumerate(found):
                if own is None or slice_ not in judges[index]:
                    continue
                said, mask = np.concatenate([own.maps[:OPINIONS], learnt[index, None]]) > 0, drawn[index][slice_]
                overlap[index] += 2 * (said & mask).sum((1, 2))
                total[index] += said.sum((1, 2)) + mask.sum()
        # Two slices' worth of doubt keep few or tiny slices from saying much.
        return ((overlap + 20) / (total + 30)).astype(np.float32)

    def _adapt(self) -> None:
        """Fit the weighing of each structure to some of its drawn slices, each hidden in turn."""
        drawn = self.evidence.drawn
        judges = [_judges(masks) for masks in drawn]
        places = sorted(set().union(*judges))

        def parts(slice_: int) -> list[np.ndarray | None]:
            inputs = self.combiner_inputs(self._found(slice_), slice_)
            wanted = [x is not None and slice_ in own for x, own in zip(inputs, judges, strict=True)]
            return [self._combiner.predict(x) if yes else None for x, yes in zip(inputs, wanted, strict=True)]

        said = dict(zip(places, self._team.map(parts, places), strict=True))
        for index, own in enumerate(judges):
            places = [k for k in own if said[k][index] is not None]
            if places:
                self.adaptations[index] = adapt([said[k][index] for k in places], [drawn[index][k] for k in places])

    def _pixels(self) -> tuple[np.ndarray, ...]:
        """What the learner is trained on: inputs, targets, what of them is known, and folds."""
        drawn = self.evidence.drawn
        slices = sorted({k for masks in drawn for k in masks})
        random = np.random.default_rng(self.seed)
        list(self._team.map(self._features_of, slices))  # side by side, to be at hand
        parts = []
        for slice_ in slices:
            # Opinions on a structure that is not drawn here are inputs all the same, as they are when it is predicted.
            found = self._found(slice_)
            known = [own is not None and slice_ in masks for own, masks in zip(found, drawn, strict=True)]
            if not any(known):
                continue
            near = np.min([self._distance_of(k, found[k], slice_) for k in np.flatnonzero(known)], axis=0)
            share = np.where(near < _BAND, 1.0, _FAR_SHARE)
            chosen = random.random(share.shape) < share * min(1.0, _PIXELS / len(slices) / share.sum())
            inputs = self._inputs(self._nearer(found, slice_, random), slice_)[:, chosen].T
            masks = [own.get(slice_, np.zeros_like(chosen))[chosen] for own in drawn]
            fold = np.full(len(inputs), self._folds[slice_])
            parts.append((inputs, np.stack(masks, 1), np.broadcast_to(known, (len(inputs), len(known))), fold))
        return tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))

    def _nearer(self, found: list[Slice | None], slice_: int, random: np.random.Generator) -> list[Slice | None]:
        """The opinions on a drawn slice as if its neighbours were nearer than those that remain when it is hidden.

        Hiding a slice doubles the gap round it: learnt from such gaps, the shapes of the neighbours would be trusted
        less than the gaps that are filled deserve. So part of their error is taken away, in each pixel another part.
        """
        left = random.uniform(*_NEARER, self.images.shape[1:]).astype(np.float32)
        result = list(found)
        for index, own in enumerate(found):
            if own is not None and slice_ in self.evidence.drawn[index]:
                truth, maps = self.evidence.distances[index][slice_], own.maps.copy()
                maps[:SHAPES] = truth + left * (maps[:SHAPES] - truth)
                result[index] = Slice(maps, own.gap)
        return result

    def _distance_of(self, index: int, known: Slice, slice_: int) -> np.ndarray:
        """How near a pixel is to the outline that was drawn or expected."""
        expected = np.minimum(np.abs(known.maps[0]), np.abs(known.maps[1]))
        return np.minimum(expected, 2 * np.abs(self.evidence.distances[index][slice_]))

    def _inputs(self, found: list[Slice | None], slice_: int) -> np.ndarray:
        nothing = np.zeros((OPINIONS, *self.images.shape[1:]), np.float32)
        opinions = [nothing if known is None else known.maps[:OPINIONS] for known in found]
        return np.concatenate([*opinions, self._features_of(slice_)])

    def _features_of(self, slice_: int) -> np.ndarray:
        """Features (F, H, W) of the image; kept where a slice is drawn and needs them more than once."""
        found = self._features.get(slice_)
        if found is None:
            images, step = self.images, self.step
            parts = [pixel_features(images, slice_), features_across(images, slice_, step)]
            found = half(np.concatenate(parts))
            if slice_ in self._folds:
                self._features[slice_] = found
        return single(found)


def _change(before: list[dict[int, int]], now: list[dict[int, int]]) -> float:
    """The largest share of a structure's drawn slices that is new, gone or drawn otherwise; 1 if there are others.

    :param before: for each structure fingerprints of its drawn slices; so is ``now``.
    """
    if len(before) != len(now):
        return 1.0
    pairs = zip(before, now, strict=True)
    return max(sum(own.get(k) != new.get(k) for k in {*own, *new}) / max(1, len(new)) for own, new in pairs)


def _wider(part: slice) -> slice:
    return slice(max(0, part.start - _REACH), part.stop + _REACH)


def _judges(masks: dict[int, np.ndarray]) -> list[int]:
    """Which drawn slices of a structure to hide: some between the first and the last, or all of two."""
    places = list(masks)[1:-1] or list(masks)
    chosen = np.linspace(0, len(places) - 1, min(_JUDGES, len(places))).round().astype(int)
    return [places[k] for k in chosen]
