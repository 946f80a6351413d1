"""Losses that some methods add to the segmentation loss: of edges, and of the expected IoU."""

from collections.abc import Callable

import torch
from monai.networks import one_hot
from torch import Tensor
from torch.nn import functional as F

from ..machine.exchange import all_reduce
from ..shared.labels.annotation import IGNORE


def overlap(probability: Tensor, truth: Tensor) -> Tensor:
    """Sums (3, K) of p g, p and g over batch and pixels, for probabilities p and truth g (B, K, H, W)."""
    return torch.stack([values.sum(dim=(0, 2, 3)) for values in (probability * truth, probability, truth)])


def quality_loss(quality: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """Mean distance |q - IoU| between the expected IoU q (B, K) and that of the most probable classes.

    The term of SAM2LoRA (arXiv 2510.10288), there for one mask. Ours is the mean over images and structures. Structures
    that occur neither in the truth nor in the prediction do not count, because they have no IoU.

    :param logits: (B, K, H, W); no gradient flows through them.
    :param target: class indices (B, H, W), ``IGNORE`` where not annotated.
    """
    count, annotated = logits.shape[1], (target != IGNORE).unsqueeze(1)
    truth = one_hot(torch.where(annotated, target.unsqueeze(1), 0), count).bool() & annotated
    predicted = one_hot(logits.argmax(dim=1, keepdim=True), count).bool() & annotated
    hits, union = ((f(truth, predicted)).sum(dim=(2, 3))[:, 1:] for f in (torch.logical_and, torch.logical_or))
    distances = (quality[:, 1:].float() - hits / union.clamp(min=1)).abs()
    distance, number = all_reduce(torch.stack([(distances * (union > 0)).sum(), (union > 0).sum()]))
    return distance / number.clamp(min=1)


def edge_target(target: Tensor) -> tuple[Tensor, Tensor]:
    """Find the borders between classes: dilation minus erosion with 3x3 pixels, of any class (models.md 4).

    :param target: class indices (B, H, W), ``IGNORE`` where not annotated.
    :return: edges and, where all 3x3 pixels are annotated, the pixels that count, both (B, 1, H, W) of 0 and 1.
    """
    largest = smallest = target.unsqueeze(1)
    for axis in (-2, -1):
        largest, smallest = _of_three(torch.maximum, largest, axis), _of_three(torch.minimum, smallest, axis)
    return (largest != smallest).float(), (largest != IGNORE).float()


def _of_three(choose: Callable[[Tensor, Tensor], Tensor], values: Tensor, axis: int) -> Tensor:
    """Maximum or minimum of each value and its two neighbours; faster on integers than a pooling of floats."""
    first, last = values.narrow(axis, 0, 1), values.narrow(axis, -1, 1)
    pairs = choose(values.narrow(axis, 0, values.shape[axis] - 1), values.narrow(axis, 1, values.shape[axis] - 1))
    return choose(torch.cat([first, pairs], axis), torch.cat([pairs, last], axis))


def edge_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy plus soft Dice of edge logits (B, 1, H, W) against the borders of the target (B, H, W)."""
    edges, annotated = edge_target(target)
    logits = logits.float()
    entropy = F.binary_cross_entropy_with_logits(logits, edges, weight=annotated, reduction="sum")
    sums = overlap(logits.sigmoid() * annotated, edges * annotated)
    entropy, pixels, hits, predicted, true = all_reduce(torch.stack([entropy, annotated.sum(), *sums[:, 0]]))
    return entropy / pixels.clamp(min=1) + 1 - (2 * hits + 1) / (predicted + true + 1)
