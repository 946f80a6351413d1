"""``refine``: class maps at half of the image's resolution, four times as many values as SAM2's decoder gives.

Ours, for thin vessels, membranes and small organs, of which a map at a quarter of the resolution loses what is narrower
than four pixels. A small network sees the image at stride 2 together with the decoder's pixel features, and adds to
these what the same class kernels then read. It starts at zero, so step 0 is the base's output.
"""

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import SettingsError
from ..network.network import SegmentationNetwork
from .detail import separable
from .method import Method


class Refinement(nn.Module):
    """Pixel features at stride 2 from those at stride 4 and the image.

    :param width: channels of its own.
    :param dim: channels of the decoder's pixel features (D/8).
    """

    def __init__(self, width: int, dim: int):
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, width, 3, 2, padding=1, bias=False),
            nn.GroupNorm(math.gcd(8, width), width),
            nn.GELU(),
            separable(width, width),
        )
        self.context = nn.Conv2d(dim, width, 1)
        self.mix = nn.Sequential(separable(width, width), separable(width, width, dilation=2))
        self.out = nn.Conv2d(width, dim, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, pixels: Tensor, fine: Tensor) -> Tensor:
        """Pixel features (B, D/8, H/2, W/2) to add to those at stride 4.

        :param pixels: (B, D/8, H/4, W/4); ``fine``: what the stem gave of the images, (B, width, H/2, W/2).
        """
        context = F.interpolate(self.context(pixels), scale_factor=2, mode="bilinear", align_corners=False)
        x = fine + context
        return self.out(x + self.mix(x))


@dataclass(frozen=True)
class RefinementMethod(Method):
    """Refinement alone, for combination with other methods and to measure what it adds.

    :param width: channels of the refinement.
    """

    name = "refine"
    summary = "class maps at half of the image's resolution, for thin and small structures"
    width: int = 32

    def apply(self, network: SegmentationNetwork) -> None:
        """Put the refinement into the network's slot for it."""
        if self.width < 1:
            raise SettingsError(f"A refinement cannot be {self.width} wide.", "Give at least 1, for example 32.")
        if network.refinement is not None:
            raise SettingsError("The network would get two refinements.", "Combine only one with others.")
        network.refinement = Refinement(self.width, network.base.config.decoder_dim // 8)

    def export(self, network: SegmentationNetwork) -> None:
        """Leave the network as it is: there is nothing to merge."""
