"""Grow drawings through the image: the geodesic distance from a drawn slice, in which a step costs its change in grey.

This is the idea of *Grow from seeds*, from slice to slice: each pixel belongs to what reaches it at the lower cost.
It is done twice. Where noise hides the edges, length must cost something; where structures are told apart by their grey
level alone, length must cost next to nothing.
"""

import numpy as np

LENGTHS = (0.02, 0.004)  # cost of one pixel's length where the grey level does not change
_LENGTHS = np.array(LENGTHS, np.float32)[:, None, None, None]
_START = 1e4
_SWEEPS = 1  # over rows and columns, there and back: a second one changes no Dice by more than 0.0003


def grow_on(costs: np.ndarray, here: np.ndarray, there: np.ndarray, step: float) -> np.ndarray:
    """Carry costs from one slice to the slice beside it.

    :param costs: (2, C, H, W) lowest cost at which each of C seeds reaches the pixels of a slice, for each of LENGTHS.
    :param here: (H, W) its grey levels; :param there: those of the next slice.
    :param step: distance of the slices in pixels.
    :return: (2, C, H, W) costs in the next slice.
    """
    reached = np.full_like(costs, _START)
    height, width = here.shape
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            to_y, from_y = _overlap(dy, height)
            to_x, from_x = _overlap(dx, width)
            length = _LENGTHS * np.float32(np.sqrt(step**2 + dy**2 + dx**2))
            cost = np.abs(there[to_y, to_x] - here[from_y, from_x]) + length
            target = reached[..., to_y, to_x]
            np.minimum(target, costs[..., from_y, from_x] + cost, out=target)
    return spread(reached, there)


def spread(costs: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Let costs (2, C, H, W) spread within a slice, in place, by sweeps over its rows and columns."""
    for _ in range(_SWEEPS):
        for axis, grey in ((2, image), (3, image.T)):
            rows = np.ascontiguousarray(np.moveaxis(costs, axis, 0))  # a row of all costs lies together in memory
            _sweep(rows, grey)
            _sweep(rows[::-1], grey[::-1])
            costs[...] = np.moveaxis(rows, 0, axis)
    return costs


def _sweep(costs: np.ndarray, image: np.ndarray) -> None:
    """From the first row of costs (H, 2, C, W) to the last, each pixel from the three before it."""
    width = image.shape[1]
    steps = [(_overlap(dx, width), _LENGTHS * np.float32(np.sqrt(1 + dx**2))) for dx in (-1, 0, 1)]
    weights = [
        (np.abs(image[1:, to] - image[:-1, source])[:, None, None] + length[:, 0])
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
