"""Prompts drawn from the truth, for training with and without prompts mixed."""

import torch
from torch import Tensor

from ..network.prompts import Prompts
from ..shared.labels.annotation import IGNORE

_MOST_POINTS = 5
_JITTER = 0.02  # of a box's height and width


def draw_prompts(targets: Tensor, share: float) -> list[Prompts]:
    """Draw the prompts of each image: with a probability of ``share`` either 1 to 5 points or a box, else none.

    Each point is on a random pixel of a class that occurs (background, too). A box surrounds all pixels of a structure;
    each side is moved by up to 2 % of the box. Shares and numbers are those of models.md 2.B. Ours: points are of
    several classes, because each of them may need a correction.

    :param targets: class indices (B, H, W), ``IGNORE`` where not annotated.
    """
    return [_drawn(target, share) for target in targets]


def _drawn(target: Tensor, share: float) -> Prompts:
    chance = torch.rand(()).item()
    present = [number for number in target.unique().tolist() if number != IGNORE]
    if chance >= share or not present:
        return Prompts()
    if chance < share / 2:
        return Prompts(points=tuple(_point(target, present) for _ in range(_below(_MOST_POINTS) + 1)))
    structures = [number for number in present if number]
    return Prompts(boxes=(_box(target, structures),)) if structures else Prompts()


def _point(target: Tensor, present: list[int]) -> tuple[float, float, int]:
    number = present[_below(len(present))]
    places = (target == number).nonzero()
    row, column = places[_below(len(places))].tolist()
    return float(column), float(row), number


def _box(target: Tensor, structures: list[int]) -> tuple[float, float, float, float, int]:
    number = structures[_below(len(structures))]
    places = (target == number).nonzero().flip(1)
    first, last = places.amin(dim=0), places.amax(dim=0)
    jitter = _JITTER * (last - first + 1) * (2 * torch.rand(2, 2) - 1)
    return (*(first + jitter[0]).tolist(), *(last + jitter[1]).tolist(), number)


def _below(count: int) -> int:
    return int(torch.randint(count, ()))
