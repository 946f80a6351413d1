"""What the drawn slices say about the others: distances, drawings carried along the image, and growth through it.

Each drawn slice is carried up to the next drawn one on either side, that one included. An undrawn slice so gets a
carried drawing from below and one from above, and a drawn slice gets what its neighbours would say if it were hidden:
this is what everything that is learnt is trained and judged on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch

from ..threads import Team, beside, results_of
from .flow import SliceFlow
from .growth import grow, preference
from .shape import all_distances, empty_beside

MAPS = ("distance", "flow", "growth", "grey growth", "distance spread", "flow spread")
OPINIONS = 4  # the first of them
SHAPES = 2  # the first of these: they carry the outlines, the others follow grey levels


def half(array: np.ndarray) -> np.ndarray:
    """An array as float16; torch takes a tenth of NumPy's time."""
    return torch.from_numpy(array).half().numpy()


def single(array: np.ndarray) -> np.ndarray:
    """An array of float16 as float32."""
    return torch.from_numpy(array).float().numpy()


@dataclass(frozen=True)
class Slice:
    """What is known of one structure in one slice.

    :ivar maps: (6, H, W) float32, as ``MAPS`` names them: four opinions, and how far the two neighbours differ.
    :ivar gap: how far the slice is from what is drawn, in slices: the variance of a bridge between its neighbours.
    """

    maps: np.ndarray
    gap: float


class Evidence:
    """Opinions of the neighbours on every slice, for each structure.

    :param images: (N, H, W) grey levels scaled to about -1 to 1.
    :param step: distance of the slices in pixels.
    """

    def __init__(self, images: np.ndarray, step: float, team: Team):
        self.images, self.step, self._team = images, step, team
        self.flow = SliceFlow(images)
        self._carried: dict[tuple, _Carried] = {}
        self._used: dict[tuple, _Carried] = {}

    def carry(self, drawn: Sequence[dict[int, np.ndarray]], tell: Callable[[float], None]) -> None:
        """Carry drawings through all gaps; what has not changed since the last call is kept.

        :param drawn: for each structure masks (H, W) by slice.
        :param tell: is told the share that is done; may raise to stop.
        """
        self.drawn = [dict(sorted(masks.items())) for masks in drawn]
        self.distances = all_distances(self.drawn, self._team)
        gaps: dict[tuple[int, int], list[int]] = {}
        for index, masks in enumerate(self.drawn):
            places = list(masks)
            for low, high in pairwise(places):
                gaps.setdefault((low, high), []).append(index)
        places = [
            (k, *way) for (low, high), own in sorted(gaps.items()) for k in own for way in ((low, high), (high, low))
        ]
        keys = {place: (*place, self.drawn[place[0]][place[1]].tobytes()) for place in places}
        missing: dict[tuple[int, int], list[int]] = {}
        for index, *way in places:
            if keys[index, *way] not in self._carried:
                missing.setdefault(tuple(way), []).append(index)
        pairs = [pair for low, high in gaps for pair in _steps(low, high)]
        self._carried.update({keys[place]: one for place, one in self._carry(missing, pairs, tell).items()})
        self._carried = {key: self._carried[key] for key in keys.values()}
        self._used = {place: self._carried[key] for place, key in keys.items()}

    def _carry(
        self, missing: dict[tuple[int, int], list[int]], pairs: list[tuple[int, int]], tell: Callable[[float], None]
    ) -> dict[tuple[int, int, int], "_Carried"]:
        """Carry structures from drawn slices to the next ones: along the flow here, by growth in another thread.

        :param missing: the structures by way, from one slice to another; :param pairs: of slices whose flow is needed.
        :return: what was carried, by structure and way.
        """
        with beside(1) as (pool, stopped):
            growing = pool.submit(self._grow, missing, stopped.is_set)
            self.flow.prepare(pairs, lambda share: tell(0.6 * share))
            flows = {}
            for number, (way, indices) in enumerate(missing.items()):
                flows[way] = self._flow(indices, *way)
                tell(0.6 + 0.1 * number / len(missing))
            (grown,) = results_of([growing], lambda: tell(0.7))
        return {
            (index, *way): _Carried(way[0], flow, costs)
            for way, indices in missing.items()
            for index, flow, costs in zip(indices, flows[way], grown[way], strict=True)
        }

    def _grow(
        self, missing: dict[tuple[int, int], list[int]], stopped: Callable[[], bool]
    ) -> dict[tuple[int, int], list[list[np.ndarray]]]:
        """For each way and structure its costs (2, 2, H, W) float16 in each slice on the way."""
        ways = [(np.stack([self.drawn[k][way[0]] for k in indices]), *way) for way, indices in missing.items()]
        result = {way: [[] for _ in indices] for way, indices in missing.items()}
        found = list(result.values())
        for number, costs in grow(ways, self.images, self.step):
            if stopped():
                break
            for own, kept in zip(costs, found[number], strict=True):
                kept.append(half(own))
        return result

    def _flow(self, indices: list[int], source: int, target: int) -> list[list[np.ndarray]]:
        """For each structure its carried distances (H, W) float16 in each slice on the way."""
        way = 1 if target > source else -1
        distances = torch.from_numpy(np.stack([self._distance(index, source, target) for index in indices]))
        result = [[] for _ in indices]
        for k in range(source + way, target + way, way):
            distances = self.flow.carry(distances, k - way, k)
            for kept, own in zip(result, distances.half().numpy(), strict=True):
                kept.append(own)
        return result

    def _distance(self, index: int, slice_: int, beside: int) -> np.ndarray:
        """The signed distance in a drawn slice; if it is empty, that which ends the structure half-way."""
        masks, distances = self.drawn[index], self.distances[index]
        if masks[slice_].any() or beside not in distances or not masks[beside].any():
            return distances[slice_]
        return empty_beside(distances[beside])

    def neighbours(self, index: int, slice_: int) -> tuple[int | None, int | None]:
        """The drawn slices below and above a slice, itself left out."""
        places = list(self.drawn[index])
        low = max((k for k in places if k < slice_), default=None)
        return low, min((k for k in places if k > slice_), default=None)

    def knows(self, index: int, slice_: int) -> bool:
        """Whether :meth:`at` says something of a structure in a slice."""
        sides = [place is not None for place in self.neighbours(index, slice_)]
        return any(sides) if slice_ in self.drawn[index] else all(sides)

    def at(self, index: int, slice_: int) -> Slice | None:
        """Opinions on a slice as if it were not drawn; None where the structure has no neighbour that was carried."""
        low, high = self.neighbours(index, slice_)
        drawn = slice_ in self.drawn[index]
        sides = []
        for place, other in ((low, high), (high, low)):
            target = slice_ if drawn else other
            if place is not None and target is not None:
                sides.append((place, abs(place - slice_), self._used[index, place, target], other))
        if not sides or (len(sides) < 2 and not drawn):
            return None
        total = sum(1 / away for _, away, _, _ in sides)
        weights = [1 / away / total for _, away, _, _ in sides]
        shapes = [self._distance(index, place, place if other is None else other) for place, _, _, other in sides]
        flows = [carried.flow_at(slice_) for _, _, carried, _ in sides]
        costs = np.min([carried.costs_at(slice_) for _, _, carried, _ in sides], axis=0)
        maps = [
            sum(w * shape for w, shape in zip(weights, shapes, strict=True)),
            sum(w * flow for w, flow in zip(weights, flows, strict=True)),
            *preference(costs),
            np.ptp(shapes, axis=0),
            np.ptp(flows, axis=0),
        ]
        gap = sides[0][1] * sides[1][1] / (sides[0][1] + sides[1][1]) if len(sides) == 2 else float(sides[0][1])
        return Slice(np.stack(maps).astype(np.float32), gap)


def _steps(low: int, high: int) -> list[tuple[int, int]]:
    """(target, source) slices on the way from one drawn slice to the next, and back."""
    return [(k, k - 1) for k in range(low + 1, high + 1)] + [(k, k + 1) for k in range(high - 1, low - 1, -1)]


@dataclass(frozen=True)
class _Carried:
    """A drawn slice carried to those after it: signed distances (H, W) and costs (2, 2, H, W) for each."""

    source: int
    flows: list[np.ndarray]
    costs: list[np.ndarray]

    def flow_at(self, slice_: int) -> np.ndarray:
        return single(self.flows[abs(slice_ - self.source) - 1])

    def costs_at(self, slice_: int) -> np.ndarray:
        return single(self.costs[abs(slice_ - self.source) - 1])
