"""Losses over logits and label indices, in float32, with voxels that nobody annotated left out."""

import torch
from monai.losses import DiceLoss
from monai.networks import one_hot
from torch import Tensor, nn
from torch.nn import functional as F

IGNORE = 255  # label value of voxels that are not annotated


class SegmentationLoss(nn.Module):
    """Weighted sum of cross entropy and soft Dice (MONAI's, over the batch, background left out).

    :param weights: for instance ``{"ce": 1, "dice": 1}``.
    """

    def __init__(self, weights: dict[str, float]):
        super().__init__()
        self.weights = weights
        self.dice = DiceLoss(include_background=False, batch=True, smooth_nr=1.0, smooth_dr=1.0)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Loss of logits (B, K, H, W) and class indices (B, H, W), ``IGNORE`` where not annotated."""
        logits = logits.float()
        annotated = (target != IGNORE).unsqueeze(1)
        total = logits.new_zeros(())
        if self.weights.get("ce") and annotated.any():
            total = total + self.weights["ce"] * F.cross_entropy(logits, target.long(), ignore_index=IGNORE)
        if self.weights.get("dice"):
            truth = one_hot(torch.where(annotated, target.unsqueeze(1), 0), logits.shape[1])
            total = total + self.weights["dice"] * self.dice(logits.softmax(dim=1) * annotated, truth * annotated)
        return total
