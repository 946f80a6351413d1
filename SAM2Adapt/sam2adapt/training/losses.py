"""Losses of logits against class indices, in float32, without voxels that are not annotated."""

import torch
from monai.networks import one_hot
from torch import Tensor, nn
from torch.nn import functional as F

from ..adapters.auxiliary_losses import overlap
from ..machine.exchange import all_reduce
from ..shared.errors import SettingsError
from ..shared.labels.annotation import IGNORE

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
    :raises SettingsError: there is no such term.
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
            entropy, pixels = all_reduce(torch.stack([entropy, annotated.sum()]))
            total = total + self.weights["ce"] * entropy / pixels.clamp(min=1)
        if not (self.weights.get("dice") or self.weights.get("focal_tversky")):
            return total
        truth = one_hot(torch.where(annotated, target.unsqueeze(1), 0), logits.shape[1]) * annotated
        probability = logits.softmax(dim=1) * annotated
        hits, predicted, true = all_reduce(overlap(probability, truth))[:, 1:]
        if self.weights.get("dice"):
            total = total + self.weights["dice"] * (1 - (2 * hits + 1) / (predicted + true + 1)).mean()
        if self.weights.get("focal_tversky"):
            wrong = _FALSE_NEGATIVE * (true - hits) + _FALSE_POSITIVE * (predicted - hits)
            missed = (1 - (hits + 1) / (hits + wrong + 1)).clamp(min=_SMALLEST) ** _GAMMA
            total = total + self.weights["focal_tversky"] * missed.mean()
        return total
