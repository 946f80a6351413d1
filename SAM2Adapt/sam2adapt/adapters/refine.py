"""``refine``: class maps at half or full resolution of the image; those of SAM2's decoder have a quarter.

Ours, for thin vessels, membranes and small organs: a map at a quarter of the resolution loses everything that is less
than four pixels wide. A small network sees the image at stride 2 or 1 together with the pixel features of the decoder.
The class kernels multiply its output, too, and add it to their maps. It starts at zero.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..network.convolutions import ChannelsLastGroupNorm, PointwiseConv2d
from ..network.network import SegmentationNetwork
from ..shared.errors import SettingsError
from .detail import separable
from .method import Method


class Refinement(nn.Module):
    """Pixel features at stride 2 from those at stride 4 and the image.

    :param width: channels of the refinement.
    :param dim: channels of the decoder's pixel features (D/8).
    """

    def __init__(self, width: int, dim: int):
        super().__init__()
        self.stem = nn.Sequential(*_dense(3, width, 2), separable(width, width))
        self.context = PointwiseConv2d(dim, width)
        self.mix = nn.Sequential(separable(width, width), separable(width, width, dilation=2))
        self.out = PointwiseConv2d(width, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, pixels: Tensor, fine: Tensor) -> Tensor:
        """Pixel features (B, D/8, H/2, W/2) to add to those at stride 4.

        :param pixels: (B, D/8, H/4, W/4); ``fine``: output of the stem, (B, width, H/2, W/2).
        """
        x = fine + _twice(self.context(pixels))
        return self.out(x + self.mix(x))


class FullRefinement(nn.Module):
    """Pixel features at stride 1 from those at stride 4 and the image, by the two upper levels of a U-Net.

    Its convolutions are dense, as in a U-Net.

    :param width: channels at stride 2, an even number; half as many at stride 1.
    :param dim: channels of the decoder's pixel features (D/8).
    """

    def __init__(self, width: int, dim: int):
        super().__init__()
        half = width // 2
        self.stem = nn.Sequential(_dense(3, half), _dense(half, half))
        self.down = nn.Sequential(_dense(half, width, 2), _dense(width, width))
        self.context = PointwiseConv2d(dim, width)
        self.stride_2 = nn.Sequential(_dense(2 * width, width), _dense(width, width))
        self.stride_1 = nn.Sequential(_dense(width + half, half), _dense(half, half))
        self.out = PointwiseConv2d(half, dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, pixels: Tensor, fine: Tensor) -> Tensor:
        """Pixel features (B, D/8, H, W) to add to those at stride 4.

        :param pixels: (B, D/8, H/4, W/4); ``fine``: output of the stem, (B, width / 2, H, W).
        """
        x = self.stride_2(torch.cat([self.down(fine), _twice(self.context(pixels))], dim=1))
        return self.out(self.stride_1(torch.cat([fine, _twice(x)], dim=1)))


def _dense(inside: int, out: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, out, 3, stride, padding=1, bias=False),
        ChannelsLastGroupNorm(math.gcd(8, out), out),
        nn.GELU(),
    )


def _twice(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class RefinementMethod(Method):
    """Refinement alone, for combination with other methods and to measure what it adds.

    :param width: channels of the refinement, at stride 2.
    :param stride: of its class maps, pixels: 2, or 1 for full resolution (``width`` must be even).
    """

    name = "refine"
    summary = "class maps at half or full resolution of the image, for thin and small structures"
    width: int = 32
    stride: int = 2

    def apply(self, network: SegmentationNetwork) -> None:
        """Put the refinement into the network."""
        if self.width < 1:
            raise SettingsError(f"A refinement cannot be {self.width} wide.", "Give at least 1, for example 32.")
        if self.stride not in (1, 2):
            raise SettingsError(f"A refinement cannot have a stride of {self.stride}.", "Choose 1 or 2.")
        if self.stride == 1 and self.width % 2:
            raise SettingsError(
                f"A refinement of full resolution cannot be {self.width} wide.", "Give an even width, for example 32."
            )
        if network.refinement is not None:
            raise SettingsError("The network would get two refinements.", "Combine only one with others.")
        form = FullRefinement if self.stride == 1 else Refinement
        network.refinement = form(self.width, network.base.config.decoder_dim // 8)

    def export(self, network: SegmentationNetwork) -> None:
        """Leave the network as it is; there is nothing to merge."""
