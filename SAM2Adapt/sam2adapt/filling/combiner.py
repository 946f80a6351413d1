"""Weigh the opinions on one structure in one slice: a small class-agnostic network, trained beforehand on many volumes.

It sees no grey level's meaning and no structure's name, only what each opinion says, how far it may be trusted (how
well it predicted the hidden drawn slices, how far the neighbours are) and where the image has edges.
"""

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from .evidence import Slice

CHANNELS = 15
_WIDTH = 24


def channels(
    own: Slice, learnt: np.ndarray, others: tuple[np.ndarray, np.ndarray], image: np.ndarray, edges: np.ndarray,
    trust: np.ndarray, step: float,
) -> np.ndarray:  # fmt: skip
    """The network's input (15, H, W) for a structure in a slice.

    :param own: the evidence; :param learnt: (H, W) logits of the learner.
    :param others: the largest flow and the largest learnt logit of all other structures, (H, W) each.
    :param image: (H, W) grey levels; :param edges: (H, W) their gradient.
    :param trust: (3,) Dice of distance, flow and growth on the hidden drawn slices.
    :param step: distance of the slices in pixels.
    """
    constant = np.array([np.log(own.gap + 0.1), np.log(own.gap * step + 0.1), *trust], np.float32)
    maps = [
        own.maps[:2] / 8, own.maps[2:3] / 2, own.maps[3:] / 8, learnt[None] / 4, np.clip(others[0][None], -16, 16) / 8,
        others[1][None] / 4, image[None], 4 * edges[None],
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
            nn.Conv2d(_WIDTH, 5, 1),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Logits (B, H, W) of inputs (B, 15, H, W)."""
        *weights, correction = self.layers(x).unbind(1)
        opinions = (x[:, 0], x[:, 1], x[:, 2], x[:, 5])
        start = (1.0, 3.0, 1.0, 2.0)
        return correction + sum(
            opinion * (first * torch.exp(weight.clamp(-3, 3)))
            for opinion, first, weight in zip(opinions, start, weights, strict=True)
        )

    @torch.no_grad()
    def predict(self, inputs: np.ndarray) -> np.ndarray:
        """Logits (H, W) of one input (15, H, W)."""
        return self(torch.from_numpy(inputs)[None])[0].numpy()


def load_combiner(path: Path) -> Combiner:
    """Load the weights that were trained beforehand."""
    combiner = Combiner()
    combiner.load_state_dict({name: tensor.float() for name, tensor in load_file(path).items()})
    return combiner.eval()
