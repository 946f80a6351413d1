"""Grow drawings through the image: the geodesic distance from a drawn slice, in which a step costs its change in grey.

This is the idea of *Grow from seeds*, from slice to slice: each pixel belongs to what reaches it at the lower cost.
It is done twice. Where noise hides the edges, length must cost something; where structures are told apart by their grey
level alone, length must cost next to nothing.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np

LENGTHS = (0.02, 0.004)  # cost of one pixel's length where the grey level does not change
_LENGTHS = np.array(LENGTHS, np.float32)[:, None, None, None]
_START = 1e4
_ROW = 4_096  # numbers in a row of costs that grow side by side: fewer, and NumPy's calls cost more than its work
_SWEEPS = 1  # over rows and columns, there and back: a second one changes no Dice by more than 0.0003


def grow(
    ways: Sequence[tuple[np.ndarray, int, int]], images: np.ndarray, step: float
) -> Iterator[tuple[int, list[np.ndarray]]]:  # fmt: skip
    """Grow drawings to the slices after them, many side by side.

    :param ways: masks (S, H, W) of a slice, that slice, and the last one to be reached, above or below it.
    :param images: (N, H, W) grey levels; :param step: distance of the slices in pixels.
    :return: slice after slice of each way, by turns: the way's number, and for each of its structures the costs
        (2, 2, H, W) of it and of what is around it, for each of LENGTHS.
    """
    begun = [seeds(masks) for masks, _, _ in ways]
    alike = defaultdict(list)  # by the number of seeds
    for number in sorted(range(len(ways)), key=lambda k: -abs(ways[k][2] - ways[k][1])):
        alike[begun[number][0].shape[1]].append(number)
    for count, numbers in alike.items():
        size = max(1, _ROW // (len(LENGTHS) * count * images.shape[2]))
        for first in range(0, len(numbers), size):
            group = numbers[first : first + size]
            costs = np.stack([begun[k][0] for k in group])
            for away in range(1, abs(ways[group[0]][2] - ways[group[0]][1]) + 1):
                group = [k for k in group if abs(ways[k][2] - ways[k][1]) >= away]  # the longest come first
                signs = [1 if ways[k][2] > ways[k][1] else -1 for k in group]
                there = np.array([ways[k][1] + sign * away for k, sign in zip(group, signs, strict=True)])
                costs = grow_on(costs[: len(group)], images[there - signs], images[there], step)
                for own, k in zip(costs, group, strict=True):
                    yield k, [np.stack([own[:, side].min(1) for side in sides], 1) for sides in begun[k][1]]


def grow_on(costs: np.ndarray, here: np.ndarray, there: np.ndarray, step: float) -> np.ndarray:
    """Carry costs from slices to the slices beside them.

    :param costs: (..., 2, C, H, W) lowest cost at which each of C seeds reaches the pixels of a slice, for each of
        LENGTHS.
    :param here: (..., H, W) its grey levels; :param there: those of the next slice.
    :param step: distance of the slices in pixels.
    :return: (..., 2, C, H, W) costs in the next slice.
    """
    reached = np.full_like(costs, _START)
    height, width = here.shape[-2:]
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            to_y, from_y = _overlap(dy, height)
            to_x, from_x = _overlap(dx, width)
            length = _LENGTHS * np.float32(np.sqrt(step**2 + dy**2 + dx**2))
            cost = np.abs(there[..., to_y, to_x] - here[..., from_y, from_x])[..., None, None, :, :] + length
            target = reached[..., to_y, to_x]
            np.minimum(target, costs[..., from_y, from_x] + cost, out=target)
    return spread(reached, there)


def spread(costs: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Let costs (..., 2, C, H, W) spread within slices (..., H, W), in place, by sweeps over rows and columns."""
    for _ in range(_SWEEPS):
        for axis, grey in ((-2, np.moveaxis(image, -2, 0)), (-1, np.moveaxis(image, -1, 0))):
            rows = np.ascontiguousarray(np.moveaxis(costs, axis, 0))  # a row of all costs lies together in memory
            _sweep(rows, grey)
            _sweep(rows[::-1], grey[::-1])
            costs[...] = np.moveaxis(rows, 0, axis)
    return costs


def _sweep(costs: np.ndarray, image: np.ndarray) -> None:
    """From the first row of costs (H, ..., 2, C, W) to the last, each pixel from the three before it.

    :param image: (H, ..., W) grey levels.
    """
    width = image.shape[-1]
    steps = [(_overlap(dx, width), _LENGTHS * np.float32(np.sqrt(1 + dx**2))) for dx in (-1, 0, 1)]
    weights = [
        np.abs(image[1:, ..., to] - image[:-1, ..., source])[..., None, None, :] + length[:, 0]
        for (to, source), length in steps
    ]  # fmt: skip
    for row in range(1, len(image)):
        current, former = costs[row], costs[row - 1]
        for ((to, source), _), weight in zip(steps, weights, strict=True):
            target = current[..., to]
            np.minimum(target, former[..., source] + weight[row - 1], out=target)


def _overlap(shift: int, length: int) -> tuple[slice, slice]:
    """Where a shifted copy of an axis lies on it, and from where."""
    return slice(max(0, shift), length + min(0, shift)), slice(max(0, -shift), length + min(0, -shift))


def seeds(masks: np.ndarray) -> tuple[np.ndarray, list[tuple[list[int], list[int]]]]:
    """Where growth starts in a drawn slice (S, H, W).

    What is around a structure is reached at the lowest cost from all that lies there. So structures that do not overlap
    need S + 1 seeds, themselves and what is left, instead of two for each.

    :return: costs (2, C, H, W), 0 in a seed; for each structure the seeds that it is made of, and those around it.
    """
    count = len(masks)
    if masks.sum(0).max() > 1:
        both = np.concatenate([masks, ~masks])
        parts = [([k], [count + k]) for k in range(count)]
    else:
        both = np.concatenate([masks, ~masks.any(0, keepdims=True)])
        parts = [([k], [other for other in range(count + 1) if other != k]) for k in range(count)]
    return np.broadcast_to(np.where(both, 0, _START), (len(LENGTHS), *both.shape)).astype(np.float32), parts


def preference(costs: np.ndarray) -> np.ndarray:
    """By how much a structure reaches a pixel more cheaply than what is around it, from about -6 to 6.

    :param costs: (2, 2, H, W) for each of LENGTHS the structure's and those of what is around it.
    :return: (2, H, W)
    """
    costs = np.minimum(costs, 10.0) + 0.02
    return np.log(costs[:, 1] / costs[:, 0])
