"""Weigh the opinions on one structure in one slice: a small class-agnostic network, trained beforehand on many volumes.

It sees no grey level's meaning and no structure's name, only what each opinion says, how far it may be trusted (how
well it predicted the hidden drawn slices, how far the neighbours are) and where the image has edges.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load
from torch import Tensor, nn

from ..shared import paths
from .opinions.evidence import OPINIONS, Slice

CHANNELS = 19
_FIRST_WEIGHTS = (1.0, 3.0, 0.5, 0.5, 1.5, 0.5)  # of the opinions, the learner's here and beside last
_WIDTH = 24
SHAPE_SCALE, LEARNT_SCALE = 8, 4  # that distances and learnt logits are divided by


def channels(
    own: Slice, learnt: tuple[np.ndarray, np.ndarray], others: tuple[np.ndarray, np.ndarray], image: np.ndarray,
    edges: np.ndarray, trust: np.ndarray, step: float,
) -> np.ndarray:  # fmt: skip
    """The network's input (19, H, W) for a structure in a slice.

    :param own: the evidence.
    :param learnt: (H, W) logits of the learner, in the slice and the mean of those in the slices beside it.
    :param others: the largest flow and the largest learnt logit of all other structures, (H, W) each.
    :param image: (H, W) grey levels; :param edges: (H, W) their gradient.
    :param trust: (5,) Dice of the opinions and of the learner on the hidden drawn slices.
    :param step: distance of the slices in pixels.
    """
    doubt = np.log(1.02 - np.minimum(trust, 1))
    constant = np.array([np.log(own.gap + 0.1), np.log(own.gap * step + 0.1), *doubt], np.float32)
    maps = [
        own.maps[:2] / SHAPE_SCALE, own.maps[2:OPINIONS] / 2, np.stack(learnt) / LEARNT_SCALE,
        own.maps[OPINIONS:] / SHAPE_SCALE, np.clip(others[0][None], -16, 16) / SHAPE_SCALE,
        others[1][None] / LEARNT_SCALE, image[None], 4 * edges[None],
        np.broadcast_to(constant[:, None, None], (len(constant), *image.shape)),
    ]  # fmt: skip
    return np.concatenate(maps).astype(np.float32)


class Combiner(nn.Module):
    """Opinions, weighed pixel by pixel, and a correction."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(CHANNELS, _WIDTH, 3, padding=1), nn.GELU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=2, dilation=2), nn.GELU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=4, dilation=4), nn.GELU(),
            nn.Conv2d(_WIDTH, len(_FIRST_WEIGHTS) + 1, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, H, W) of inputs (B, 19, H, W)."""
        return self.parts(x).sum(1)

    def parts(self, x: Tensor) -> Tensor:
        """What the logits are the sum of, (B, 7, H, W): the opinions, weighed, and the correction."""
        weights, correction = self.layers(x).split((len(_FIRST_WEIGHTS), 1), 1)
        first = torch.tensor(_FIRST_WEIGHTS).view(-1, 1, 1)
        return torch.cat([x[:, : len(first)] * first * torch.exp(weights.clamp(-3, 3)), correction], 1)

    @torch.no_grad()
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Parts (7, H, W) of the logits for one input (19, H, W)."""
        # With 24 channels, convolutions take a third of the time where the channels of a pixel lie together.
        x = torch.from_numpy(inputs)[None].contiguous(memory_format=torch.channels_last)
        return self.parts(x)[0].contiguous().numpy()


def load_combiner(path: Path) -> Combiner:
    """Load the weights that were trained beforehand."""
    combiner = Combiner()
    combiner.load_state_dict({name: tensor.float() for name, tensor in load(paths.read_bytes(path)).items()})
    return combiner.eval().to(memory_format=torch.channels_last)
