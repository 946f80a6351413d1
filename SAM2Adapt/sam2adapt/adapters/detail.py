"""Complementary detail enhancement network (CDEN) of BALR-SAM (arXiv 2509.24204), as we build it on SAM2.

The paper states depthwise separable convolutions, multi-scale fusion and boundary sensitivity. Depth, widths, the place
of the result and the boundary loss with its weights are ours (models.md 4). The network sees the image, like the
encoder. Its output is added to SAM2's two high-resolution skips and to its embedding, through 1x1 convolutions that
start at zero. A head of one 1x1 convolution on its finest map learns the borders between classes.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..network.convolutions import ChannelsLastGroupNorm, DepthwiseConv2d, PointwiseConv2d, joined_group_norm
from ..network.network import DetailMaps, SegmentationNetwork
from ..shared.errors import SettingsError
from .method import Method

_LATE = 0.8  # share of the run after which the boundary loss weighs less
_LATE_FACTOR = 0.4  # 0.5 becomes 0.2


def separable(inside: int, out: int, kernel: int = 3, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """Depthwise convolution, 1x1 convolution, group norm, GELU; keeps H and W, divided by the stride."""
    return nn.Sequential(
        DepthwiseConv2d(inside, kernel, stride, dilation),
        PointwiseConv2d(inside, out, bias=False),
        ChannelsLastGroupNorm(math.gcd(8, out), out),
        nn.GELU(),
    )


class MultiScale(nn.Module):
    """x plus a 1x1 mixture of four separable convolutions of different reach, each with a quarter of the channels."""

    def __init__(self, channels: int):
        super().__init__()
        reach = ((3, 1), (3, 2), (5, 1), (3, 4))  # kernel, dilation
        self.branches = nn.ModuleList(separable(channels, channels // 4, k, dilation=d) for k, d in reach)
        self.mix = PointwiseConv2d(channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and x.device.type == "cpu"):
            return x + self.mix(torch.cat([branch(x) for branch in self.branches], dim=1))
        # The same, with one norm and one activation for all branches.
        maps = torch.cat([pointwise(depthwise(x)) for depthwise, pointwise, *_ in self.branches], dim=1)
        return x + self.mix(F.gelu(joined_group_norm([norm for *_, norm, _ in self.branches], maps)))


class DetailEnhancement(nn.Module):
    """Computes additions to SAM2's features, and edge logits, from images (B, 3, H, W); H and W are multiples of 32.

    :param width: channels at stride 4; twice and four times as many at strides 8 and 16. A multiple of 4.
    :param dim: D of the decoder.
    :param high_pass: also use the difference between the image and a blur of 5 pixels.
    """

    def __init__(self, width: int, dim: int, high_pass: bool = False):
        super().__init__()
        self.high_pass = high_pass
        self.stem = nn.Sequential(nn.Conv2d(6 if high_pass else 3, width // 2, 3, 2, padding=1), nn.GELU())
        channels = (width // 2, width, 2 * width, 4 * width)
        self.stages = nn.ModuleList(
            nn.Sequential(separable(a, b, stride=2), MultiScale(b)) for a, b in pairwise(channels)
        )
        outputs = (dim // 8, dim // 4, dim)  # of s0, s1 and the embedding
        self.fusions = nn.ModuleList(PointwiseConv2d(a, b) for a, b in zip(channels[1:], outputs, strict=True))
        for fusion in self.fusions:
            nn.init.zeros_(fusion.weight)
            nn.init.zeros_(fusion.bias)
        self.edge: nn.Conv2d | None = PointwiseConv2d(width, 1)

    def forward(self, images: Tensor) -> DetailMaps:
        if self.high_pass:
            blurred = F.avg_pool2d(images, 5, stride=1, padding=2, count_include_pad=False)
            images = torch.cat([images, (images - blurred).abs()], dim=1)
        x, maps = self.stem(images), []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        s0, s1, embedding = (fusion(x) for fusion, x in zip(self.fusions, maps, strict=True))
        return DetailMaps(embedding, s0, s1, None if self.edge is None else self.edge(maps[0]))


@dataclass(frozen=True)
class DetailNetwork(Method):
    """Detail enhancement alone, for combination with other methods and to measure what it adds.

    :param width: channels at stride 4, a multiple of 4.
    :param high_pass: also feed the network the image's high-pass.
    :param edge: weight of the boundary loss; 0.4 of it in the last fifth of the run; 0: no boundary head.
    """

    name = "detail"
    summary = "detail enhancement network beside the encoder, with a boundary loss"
    width: int = 48
    high_pass: bool = False
    edge: float = 0.5

    def apply(self, network: SegmentationNetwork) -> None:
        """Put the detail network into its slot."""
        if self.width < 4 or self.width % 4:
            raise SettingsError(f"A detail network cannot be {self.width} wide.", "Give a multiple of 4.")
        if network.detail is not None:
            raise SettingsError("The network would get two detail networks.", "Combine only one with others.")
        network.detail = DetailEnhancement(self.width, network.base.config.decoder_dim, self.high_pass)
        if not self.edge:
            network.detail.edge = None

    def export(self, network: SegmentationNetwork) -> None:
        """Drop the boundary head, which only the training uses."""
        network.detail.edge = None

    def auxiliary_loss(self, extras: dict[str, Tensor], targets: Tensor, fraction: float) -> Tensor | float:
        """Boundary loss, with less weight towards the end of the run; 0 if the encoder side does not run."""
        if "edge" not in extras:
            return 0.0
        from .auxiliary_losses import edge_loss  # MONAI takes two seconds to import, and prediction never needs it

        return self.edge * (1 if fraction < _LATE else _LATE_FACTOR) * edge_loss(extras["edge"], targets)
