"""Dual adapters (arXiv 2605.05979): bottlenecks beside the MLP of the trunk's blocks.

In each block with normalised tokens n (section 3, as far as the paper says): out = x + MLP(n) + s Up(S(GELU(Down n))).
The High-Performance adapter's S is a modulated deformable convolution (DCNv2, arXiv 1811.11168) with a residual; the
Lightweight adapter's S is a sum of convolution branches that re-parameterisation fuses to one 3x3.
Ours, because the paper does not say: ratio 1/8 with at least 8 channels, depthwise kernels, s = 0.5, all blocks, the
residual around the deformable convolution, and an ``Up`` that starts at zero, so that the untrained network is the
base.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..network.bottleneck import AdaptedMLP, Bottleneck
from ..network.convolutions import DepthwiseConv2d
from ..network.deformable import deformable_convolution
from ..network.network import SegmentationNetwork
from ..shared.errors import SettingsError
from .method import Method

BLOCKS = ("all", "stage3+", "stage4")
KERNELS = ((3, 3), (1, 1), (1, 3), (3, 1))


class ResidualDeformableConvolution(nn.Module):
    """h + DCNv2(h): a 3x3 kernel; another convolution of h moves and weights its nine points.

    Offsets start at 0 and weights at 2 sigmoid(0) = 1, so that at first it is an ordinary convolution.

    :param channels: channels in and out.
    :param dense: a full convolution instead of a depthwise one.
    """

    points = 9

    def __init__(self, channels: int, dense: bool = False):
        super().__init__()
        self.steering = nn.Conv2d(channels, 3 * self.points, 3, padding=1)
        nn.init.zeros_(self.steering.weight)
        nn.init.zeros_(self.steering.bias)
        # Imported here, because the import takes as long as that of torch, and most models do not need it.
        from torchvision.ops import DeformConv2d

        self.convolution = DeformConv2d(channels, channels, 3, padding=1, groups=1 if dense else channels)

    def forward(self, x: Tensor) -> Tensor:
        # Torchvision has no kernel for bfloat16 on the CPU, and a rounded offset samples the wrong place.
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            offsets, mask = self.steer(x)
            return x + self.convolution(x, offsets, mask)

    def prepared(self) -> Callable[[Tensor], Tensor]:
        """The same function for tokens (B, H, W, C), for the predicting form."""
        if self.steering.weight.device.type != "cpu":
            return lambda x: self(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        steering = self.steering.weight.detach().contiguous(memory_format=torch.channels_last)
        weight, bias = self.convolution.weight.detach(), self.convolution.bias.detach()

        def convolve(x: Tensor) -> Tensor:
            x = x.float()
            steered = F.conv2d(x.permute(0, 3, 1, 2), steering, self.steering.bias, padding=1).permute(0, 2, 3, 1)
            offsets, mask = steered.split([2 * self.points, self.points], dim=-1)
            return deformable_convolution(x, offsets, 2 * mask.sigmoid(), weight, bias).add_(x)

        return convolve

    def steer(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets (B, 18, H, W) in positions, row and column of each point, and weights (B, 9, H, W) in 0..2."""
        offsets, mask = self.steering(x).split([2 * self.points, self.points], dim=1)
        return offsets, 2 * mask.sigmoid()


class BranchedConvolution(nn.Module):
    """3x3 + 1x1 + 1x3 + 3x1 + identity, each normalised: the training form of one 3x3 convolution.

    :param channels: channels in and out.
    :param dense: full convolutions instead of depthwise ones.
    :param norm: ``batch`` or, for batches too small for statistics, ``none`` (branches then have biases).
    """

    def __init__(self, channels: int, dense: bool = False, norm: str = "batch"):
        super().__init__()
        self.channels, self.groups, batch = channels, 1 if dense else channels, norm == "batch"
        self.convolutions = nn.ModuleList(
            nn.Conv2d(channels, channels, k, padding=(k[0] // 2, k[1] // 2), bias=not batch)
            if dense
            else DepthwiseConv2d(channels, k, bias=not batch)
            for k in KERNELS
        )
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(channels) if batch else nn.Identity() for _ in range(len(KERNELS) + 1)
        )

    def forward(self, x: Tensor) -> Tensor:
        out = self.norms[-1](x)
        for convolution, norm in zip(self.convolutions, self.norms, strict=False):
            out = out + norm(convolution(x))
        return out

    def fuse(self) -> nn.Conv2d:
        """The 3x3 convolution that equals this module in evaluation mode (computed in float64)."""
        shape = (self.channels, self.channels // self.groups, 3, 3)
        weight, bias = torch.zeros(shape, dtype=torch.float64), torch.zeros(self.channels, dtype=torch.float64)
        identity = torch.zeros(shape, dtype=torch.float64)
        channels = torch.arange(self.channels)
        identity[channels, channels % shape[1], 1, 1] = 1
        kernels = [_centred(convolution.weight.detach().double().cpu()) for convolution in self.convolutions]
        biases = [c.bias.detach().double().cpu() if c.bias is not None else 0 for c in self.convolutions]
        for kernel, offset, norm in zip([*kernels, identity], [*biases, 0], self.norms, strict=True):
            scale, shift = _affine(norm, self.channels)
            weight += scale.view(-1, 1, 1, 1) * kernel
            bias += scale * offset + shift
        fused = nn.Conv2d(self.channels, self.channels, 3, padding=1, groups=self.groups)
        parameter = next(self.parameters())
        fused.load_state_dict({"weight": weight.float(), "bias": bias.float()})
        return fused.to(parameter.device).requires_grad_(False)


def _centred(kernel: Tensor) -> Tensor:
    """Zero-pad a 1x1, 1x3, 3x1 or 3x3 kernel to 3x3."""
    rows, columns = (3 - kernel.shape[2]) // 2, (3 - kernel.shape[3]) // 2
    return F.pad(kernel, (columns, columns, rows, rows))


def _affine(norm: nn.Module, channels: int) -> tuple[Tensor, Tensor]:
    """Scale and shift (channels,) that a batch norm applies in evaluation mode; 1 and 0 for an identity."""
    if isinstance(norm, nn.Identity):
        return torch.ones(channels, dtype=torch.float64), torch.zeros(channels, dtype=torch.float64)
    gamma, beta, mean, variance = (
        t.detach().double().cpu() for t in (norm.weight, norm.bias, norm.running_mean, norm.running_var)
    )
    scale = gamma / torch.sqrt(variance + norm.eps)
    return scale, beta - mean * scale


@dataclass(frozen=True)
class HighPerformanceAdapters(Method):
    """High-Performance adapters: a deformable convolution in each bottleneck.

    :param ratio: bottleneck width / channels.
    :param scale: factor s of the adapter's output.
    :param blocks: ``all``, ``stage3+``, ``stage4`` or the number of last blocks.
    :param dense: full instead of depthwise convolutions.
    """

    name = "dual-hp"
    summary = "high-performance adapters with deformable convolutions"
    ratio: float = 0.125
    scale: float = 0.5
    blocks: str | int = "all"
    dense: bool = False

    def apply(self, network: SegmentationNetwork) -> None:
        """Put one adapter beside the MLP of each chosen block."""
        insert(network, self.blocks, self.ratio, self.scale, lambda r: ResidualDeformableConvolution(r, self.dense))

    def export(self, network: SegmentationNetwork) -> None:
        """Keep the adapters: the places that they sample depend on the image, so nothing can be fused."""


@dataclass(frozen=True)
class LightweightAdapters(Method):
    """Lightweight adapters: branches in training, one 3x3 convolution after export.

    :param ratio: bottleneck width / channels.
    :param scale: factor s of the adapter's output.
    :param blocks: ``all``, ``stage3+``, ``stage4`` or the number of last blocks.
    :param dense: full instead of depthwise convolutions.
    :param norm: ``batch`` or ``none``.
    """

    name = "dual-lw"
    summary = "lightweight convolutional adapters, fused to one 3x3 for prediction"
    ratio: float = 0.125
    scale: float = 0.5
    blocks: str | int = "all"
    dense: bool = False
    norm: str = "batch"

    def apply(self, network: SegmentationNetwork) -> None:
        """Put one adapter beside the MLP of each chosen block."""
        if self.norm not in ("batch", "none"):
            raise SettingsError(f"There is no norm '{self.norm}' for {self.name}.", "Choose batch or none.")
        insert(network, self.blocks, self.ratio, self.scale, lambda r: BranchedConvolution(r, self.dense, self.norm))

    def export(self, network: SegmentationNetwork) -> None:
        """Fuse every adapter's branches to one convolution."""
        for module in network.modules():
            if isinstance(module, Bottleneck) and isinstance(module.spatial, BranchedConvolution):
                module.spatial = module.spatial.fuse()


def insert(
    network: SegmentationNetwork, blocks: str | int, ratio: float, scale: float, spatial: Callable[[int], nn.Module]
) -> None:
    """Put a ``Bottleneck`` with ``spatial(width)`` beside the MLP of each chosen block of the trunk."""
    for block in _chosen(network.base.image_encoder.trunk, blocks):
        if isinstance(block.mlp, AdaptedMLP):
            raise SettingsError(
                "A block would get two dual adapters.", "Combine only one of dual-hp and dual-lw with others."
            )
        width = max(8, round(block.dim_out * ratio))
        block.mlp = AdaptedMLP(block.mlp, Bottleneck(block.dim_out, width, spatial(width)), scale)


def _chosen(trunk: nn.Module, blocks: str | int) -> nn.ModuleList:
    count = len(trunk.blocks)
    if isinstance(blocks, int) and 1 <= blocks <= count:
        return trunk.blocks[count - blocks :]
    if blocks not in BLOCKS:
        raise SettingsError(f"The blocks cannot be '{blocks}'.", f"Choose one of {', '.join(BLOCKS)}, or 1 to {count}.")
    return trunk.blocks[{"all": 0, "stage3+": trunk.stage_ends[1] + 1, "stage4": trunk.stage_ends[2] + 1}[blocks] :]
