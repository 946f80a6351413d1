"""Signed distances to drawn outlines, in pixels of the working grid: positive inside, negative outside."""

from collections.abc import Iterator, Sequence

import numpy as np
from scipy import ndimage

from ..threads import Team

FAR = 40.0  # pixels; farther than that, the distance says nothing more


def signed_distance(mask: np.ndarray) -> np.ndarray:
    """Distance of each pixel of a slice (H, W) to the outline, at most ``FAR``; -FAR throughout for an empty mask."""
    if not mask.any():
        return np.full(mask.shape, -FAR, np.float32)
    if mask.all():
        return np.full(mask.shape, FAR, np.float32)
    # The outline runs between pixels, half a pixel from each.
    inside = ndimage.distance_transform_edt(mask) - 0.5
    outside = ndimage.distance_transform_edt(~mask) - 0.5
    return np.clip(np.where(mask, inside, -outside), -FAR, FAR).astype(np.float32)


def empty_beside(neighbour: np.ndarray) -> np.ndarray:
    """The distance that an empty slice stands for beside a drawn one: the structure ends half-way between them."""
    return np.full(neighbour.shape, -max(float(neighbour.max()), 1.0), np.float32)


def interpolated(distances: dict[int, np.ndarray], slice_: int) -> np.ndarray | None:
    """The distance in a slice between two drawn ones, by its place between them; None for all others.

    :param distances: (H, W) by drawn slice, in order.
    """
    low = max((k for k in distances if k < slice_), default=None)
    high = min((k for k in distances if k > slice_), default=None)
    if slice_ in distances or low is None or high is None:
        return None
    below, above = distances[low], distances[high]
    if below.max() <= -FAR < above.max():
        below = empty_beside(above)
    elif above.max() <= -FAR < below.max():
        above = empty_beside(below)
    share = (slice_ - low) / (high - low)
    return (1 - share) * below + share * above


def all_distances(drawn: Sequence[dict[int, np.ndarray]], team: Team) -> list[dict[int, np.ndarray]]:
    """Distances (H, W) of all drawn slices of each structure, computed side by side; ``drawn``: their masks."""
    found = iter([*team.map(signed_distance, [mask for masks in drawn for mask in masks.values()])])
    return [dict(zip(masks, found, strict=False)) for masks in drawn]  # each takes its own, and leaves the others


def interpolated_slices(
    drawn: Sequence[dict[int, np.ndarray]], length: int, team: Team
) -> Iterator[tuple[int, np.ndarray]]:
    """Each slice of a stack between drawn ones, and its distances (S, H, W); -inf where a structure has none.

    :param drawn: for each structure masks (H, W) by slice.
    :param length: slices of the stack.
    """
    distances = all_distances(drawn, team)
    for slice_ in range(length):
        opinions = [interpolated(own, slice_) for own in distances]
        known = [own for own in opinions if own is not None]
        if known:
            nothing = np.full(known[0].shape, -np.inf, np.float32)
            yield slice_, np.stack([nothing if own is None else own for own in opinions])
