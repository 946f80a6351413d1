"""Masked autoencoding of the Hiera trunk, as Hiera was designed for (arXiv 2306.00989, 2111.06377).

As there: units of 32 x 32 pixels are masked, the trunk sees the others only, maps of all stages are fused, a small
decoder fills mask tokens in, and the loss is the squared error of the masked units' pixels, each unit normalised by its
own mean and deviation. Ours: the visible units are packed to a smaller picture, since the windows of SAM2's Hiera reach
over several units in its third stage; their positions are those they had. Units are masked in the picture before the
first convolution, whose kernel reaches over their borders.
"""

import math

import torch
from sam2adapt.network.base import AnySizeHiera
from torch import Tensor, nn
from torch.nn import functional as F

UNIT = 32
MASKED = 0.6
_CELLS = UNIT // 4  # of a unit's side at the trunk's first stride
_FLAT = 1e-3  # added to a unit's variance of grey levels 0..1: noise on a black background is nothing to learn


def packed_size(rows: int, columns: int) -> tuple[int, int]:
    """Rows and columns of units that the visible ones are packed into, nearest to 40 % and to the picture's form."""
    wanted, form = (1 - MASKED) * rows * columns, rows / columns
    sizes = [(a, b) for a in range(1, rows + 1) for b in range(1, columns + 1)]
    return min(sizes, key=lambda size: (abs(size[0] * size[1] - wanted), abs(math.log(size[0] / size[1] / form))))


def units_of(images: Tensor, side: int = UNIT) -> Tensor:
    """Cut (B, C, H, W) into (B, N, C, side, side), row by row."""
    batch, channels, height, width = images.shape
    cut = images.view(batch, channels, height // side, side, width // side, side)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels, side, side)


def joined(units: Tensor, rows: int, columns: int) -> Tensor:
    """Put (B, rows * columns, C, s, s) together to (B, C, rows * s, columns * s)."""
    batch, _, channels, side, _ = units.shape
    grid = units.view(batch, rows, columns, channels, side, side).permute(0, 3, 1, 4, 2, 5)
    return grid.reshape(batch, channels, rows * side, columns * side)


class MaskedAutoencoder(nn.Module):
    """A trunk with the decoder that its pretraining needs.

    :param trunk: is trained; the decoder is thrown away afterwards.
    """

    def __init__(self, trunk: AnySizeHiera, dim: int = 128, depth: int = 2, heads: int = 4):
        super().__init__()
        self.trunk = trunk
        channels = trunk.channel_list[::-1]
        reaches = (_CELLS, _CELLS // 2, _CELLS // 4, _CELLS // 8)
        self.fuse = nn.ModuleList(nn.Conv2d(c, dim, s, stride=s) for c, s in zip(channels, reaches, strict=True))
        self.norm = nn.LayerNorm(dim)
        self.token = nn.Parameter(torch.zeros(1, 1, dim))
        layer = nn.TransformerEncoderLayer(dim, heads, 4 * dim, 0.0, "gelu", batch_first=True, norm_first=True)
        self.decoder = nn.TransformerEncoder(layer, depth, nn.LayerNorm(dim), enable_nested_tensor=False)
        self.pixels = nn.Linear(dim, 3 * UNIT * UNIT)
        nn.init.normal_(self.token, std=0.02)

    def draw(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Numbers (B, n) of the units that stay visible, in their order."""
        rows, columns = images.shape[-2] // UNIT, images.shape[-1] // UNIT
        count = math.prod(packed_size(rows, columns))
        order = torch.rand(len(images), rows * columns, generator=generator).argsort(dim=1)
        return order[:, :count].sort(dim=1).values.to(images.device)

    def encode(self, images: Tensor, visible: Tensor) -> Tensor:
        """Fused maps (B, n, D) of the visible units of normalised images (B, 3, H, W)."""
        rows, columns = images.shape[-2] // UNIT, images.shape[-1] // UNIT
        shown = torch.zeros(len(images), rows * columns, device=images.device).scatter(1, visible, 1.0)
        mask = shown.view(-1, 1, rows, columns).repeat_interleave(UNIT, 2).repeat_interleave(UNIT, 3)
        x = self.trunk.patch_embed(images * mask)
        x = (x + self.trunk._get_pos_embed(x.shape[1:3])).permute(0, 3, 1, 2)
        units = units_of(x, _CELLS)
        chosen = units[torch.arange(len(units), device=units.device)[:, None], visible]
        a, b = packed_size(rows, columns)
        x, fused = joined(chosen, a, b).permute(0, 2, 3, 1), []
        for index, block in enumerate(self.trunk.blocks):
            x = block(x)
            if index in self.trunk.stage_ends:
                fused.append(self.fuse[len(fused)](x.permute(0, 3, 1, 2)))
        return self.norm(sum(fused).flatten(2).transpose(1, 2))

    def forward(self, images: Tensor, visible: Tensor) -> Tensor:
        """Pixels (B, N, 3, 32, 32) of all units, each in its own normalisation."""
        rows, columns = images.shape[-2] // UNIT, images.shape[-1] // UNIT
        known = self.encode(images, visible)
        tokens = self.token.to(known.dtype).expand(len(images), rows * columns, -1)
        tokens = tokens.scatter(1, visible[..., None].expand_as(known), known)
        places = _places(rows, columns, tokens.shape[-1]).to(tokens)
        return self.pixels(self.decoder(tokens + places)).view(len(images), -1, 3, UNIT, UNIT)

    def loss(self, grey: Tensor, images: Tensor, visible: Tensor) -> Tensor:
        """Mean squared error of the masked units.

        :param grey: (B, 3, H, W) in 0..1, of which ``images`` are the normalised ones.
        """
        wanted = units_of(grey)
        mean = wanted.mean(dim=(2, 3, 4), keepdim=True)
        variance = wanted.var(dim=(2, 3, 4), keepdim=True, correction=0)
        wanted = (wanted - mean) / (variance + _FLAT).sqrt()
        errors = F.mse_loss(self(images, visible).float(), wanted, reduction="none").mean(dim=(2, 3, 4))
        masked = torch.ones_like(errors).scatter(1, visible, 0.0)
        return (errors * masked).sum() / masked.sum()


def _places(rows: int, columns: int, dim: int) -> Tensor:
    """Sine encoding (rows * columns, dim) of rows and columns."""
    rates = 1 / 10_000 ** (torch.arange(dim // 4) / (dim // 4))
    parts = []
    for count in (rows, columns):
        angles = torch.arange(count)[:, None] * rates
        parts.append(torch.cat([angles.sin(), angles.cos()], dim=1))
    down, across = parts[0][:, None].expand(-1, columns, -1), parts[1][None].expand(rows, -1, -1)
    return torch.cat([down, across], dim=2).reshape(rows * columns, dim)
