"""Position encoding generator (PEG): a depthwise 3x3 convolution whose zero padding carries absolute position.

It comes from CPVT (arXiv 2102.10882, section 3.2); the dual-adapter paper (arXiv 2605.05979) replaces SAM2's position
encodings by it (``replace``). Our default is ``add``: the generator starts at zero and is added to SAM2's encodings, so
that the untrained network equals the pretrained one.
"""

from torch import Tensor, nn

from ..shared.presets import PEG_ADD
from .convolutions import DepthwiseConv2d


class TrunkPEG(nn.Module):
    """Residual depthwise convolution over the trunk's (B, H, W, C) tokens, after its first block."""

    def __init__(self, channels: int, mode: str):
        super().__init__()
        self.conv = _depthwise(channels, mode)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class DecoderPEG(nn.Module):
    """Position encoding (B, D, h, w) of the decoder from the image embedding of the same shape."""

    def __init__(self, channels: int, mode: str):
        super().__init__()
        self.mode = mode
        self.conv = _depthwise(channels, mode)

    def forward(self, embedding: Tensor, fourier: Tensor) -> Tensor:
        """Combine with SAM2's Fourier encoding (1, D, h, w): added to it, or in its place."""
        encoding = self.conv(embedding)
        return encoding + fourier if self.mode == PEG_ADD else encoding


def _depthwise(channels: int, mode: str) -> nn.Conv2d:
    conv = DepthwiseConv2d(channels, 3, bias=True)
    if mode == PEG_ADD:
        nn.init.zeros_(conv.weight)
    else:
        nn.init.normal_(conv.weight, std=0.02)
    nn.init.zeros_(conv.bias)
    return conv
