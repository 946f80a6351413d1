"""Losses over logits and label indices, in float32, with voxels that nobody annotated left out."""

import torch
from monai.networks import one_hot
from torch import Tensor, nn
from torch.nn import functional as F

from ..shared.errors import SettingsError
from ..machine.exchange import summed

IGNORE = 255  # label value of voxels that are not annotated
TERMS = ("ce", "dice", "focal_tversky")

# Focal Tversky as in SAM2LoRA's code: misses weigh more than false alarms, and poor overlaps more than good ones.
_FALSE_NEGATIVE, _FALSE_POSITIVE, _GAMMA = 0.7, 0.3, 0.75
_SMALLEST = 1e-6  # x^0.75 has an infinite slope at 0


class SegmentationLoss(nn.Module):
    """Weighted sum of cross entropy, soft Dice and focal Tversky (over the batch, background left out; as MONAI's).

    Per class, with p the probability, g the truth and sums over the batch (of all processes) and annotated pixels:
    soft Dice 1 - (2 sum(p g) + 1) / (sum p + sum g + 1);
    focal Tversky (1 - T)^0.75 with T = (TP + 1) / (TP + 0.7 FN + 0.3 FP + 1) (arXiv 1810.07842; SAM2LoRA's constants).

    :param weights: for instance ``{"ce": 1, "dice": 1}``; terms are those of ``TERMS``.
    :raises SettingsError: a term that does not exist.
    """

    def __init__(self, weights: dict[str, float]):
        super().__init__()
        unknown = sorted(weights.keys() - set(TERMS))
        if unknown:
            raise SettingsError(f"There is no loss term '{unknown[0]}'.", f"Choose from {', '.join(TERMS)}.")
        self.weights = weights

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of logits (B, K, H, W) and class indices (B, H, W), ``IGNORE`` where not annotated."""
        logits = logits.float()
        annotated = (target != IGNORE).unsqueeze(1)
        total = logits.new_zeros(())
        if self.weights.get("ce"):
            entropy = F.cross_entropy(logits, target.long(), ignore_index=IGNORE, reduction="sum")
            entropy, pixels = summed(torch.stack([entropy, annotated.sum()]))
            total = total + self.weights["ce"] * entropy / pixels.clamp(min=1)
        if not (self.weights.get("dice") or self.weights.get("focal_tversky")):
            return total
        truth = one_hot(torch.where(annotated, target.unsqueeze(1), 0), logits.shape[1]) * annotated
        probability = logits.softmax(dim=1) * annotated
        hits, found, wanted = summed(_overlap(probability, truth))[:, 1:]
        if self.weights.get("dice"):
            total = total + self.weights["dice"] * (1 - (2 * hits + 1) / (found + wanted + 1)).mean()
        if self.weights.get("focal_tversky"):
            wrong = _FALSE_NEGATIVE * (wanted - hits) + _FALSE_POSITIVE * (found - hits)
            missed = (1 - (hits + 1) / (hits + wrong + 1)).clamp(min=_SMALLEST) ** _GAMMA
            total = total + self.weights["focal_tversky"] * missed.mean()
        return total


def _overlap(probability: Tensor, truth: Tensor) -> Tensor:
    """Sums (3, K) of p g, p and g over batch and pixels, of probabilities and truth (B, K, H, W)."""
    return torch.stack([values.sum(dim=(0, 2, 3)) for values in (probability * truth, probability, truth)])


def quality_loss(quality: Tensor, logits: Tensor, target: Tensor) -> Tensor:
    """Mean distance |q - IoU| between the expected IoU q (B, K) and that of the most probable classes.

    SAM2LoRA's term (arXiv 2510.10288), there for one mask. Ours: the mean is over images and structures, of those that
    an image's truth or prediction holds, since all others have no IoU.

    :param logits: (B, K, H, W); no gradient flows through them.
    :param target: class indices (B, H, W), ``IGNORE`` where not annotated.
    """
    count, annotated = logits.shape[1], (target != IGNORE).unsqueeze(1)
    truth = one_hot(torch.where(annotated, target.unsqueeze(1), 0), count).bool() & annotated
    found = one_hot(logits.argmax(dim=1, keepdim=True), count).bool() & annotated
    hits, union = ((f(truth, found)).sum(dim=(2, 3))[:, 1:] for f in (torch.logical_and, torch.logical_or))
    distances = (quality[:, 1:].float() - hits / union.clamp(min=1)).abs()
    distance, number = summed(torch.stack([(distances * (union > 0)).sum(), (union > 0).sum()]))
    return distance / number.clamp(min=1)


def edge_target(target: Tensor) -> tuple[Tensor, Tensor]:
    """Find the borders between classes: dilation minus erosion with 3x3 pixels, of any class (models.md 4).

    :param target: class indices (B, H, W), ``IGNORE`` where not annotated.
    :return: edges and, where all 3x3 pixels are annotated, the pixels that count, both (B, 1, H, W) of 0 and 1.
    """
    labels = target.unsqueeze(1).float()
    largest, smallest = (F.max_pool2d(sign * labels, 3, stride=1, padding=1) * sign for sign in (1, -1))
    return (largest != smallest).float(), (largest != IGNORE).float()


def edge_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross entropy plus soft Dice of edge logits (B, 1, H, W) against the borders of the target (B, H, W)."""
    edges, annotated = edge_target(target)
    logits = logits.float()
    entropy = F.binary_cross_entropy_with_logits(logits, edges, weight=annotated, reduction="sum")
    overlap = _overlap(logits.sigmoid() * annotated, edges * annotated)
    entropy, pixels, hits, found, wanted = summed(torch.stack([entropy, annotated.sum(), *overlap[:, 0]]))
    return entropy / pixels.clamp(min=1) + 1 - (2 * hits + 1) / (found + wanted + 1)
