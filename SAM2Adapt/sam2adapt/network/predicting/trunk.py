"""Hiera trunk and neck in the predicting form: fewer products and copies, the same result.

Tokens between blocks stay in float32 and (B, H, W, C); matrix products are computed in ``dtype``.
"""

import torch
from sam2.modeling.backbones.hieradet import MultiScaleBlock
from sam2.modeling.backbones.image_encoder import FpnNeck
from torch import Tensor, nn
from torch.nn import functional as F

from ...machine.interruption import look
from ..base import AnySizeHiera, ImagePath
from ..bottleneck import AdaptedMLP
from ..windows import attend_windows, window_views
from .ops import Linear, activation_name

_LANES = 16  # numbers in a vector instruction; other widths make products and convolutions slower


class Convolution:
    """A convolution of tokens (B, H, W, C), which stay in that order."""

    def __init__(self, layer: nn.Conv2d, dtype: torch.dtype, bias: bool = True):
        self.weight = layer.weight.detach().to(dtype, memory_format=torch.channels_last)
        self.bias = layer.bias.detach().to(dtype) if bias and layer.bias is not None else None
        self.options = {"stride": layer.stride, "padding": layer.padding, "groups": layer.groups}

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.weight.dtype).permute(0, 3, 1, 2)
        return F.conv2d(x, self.weight, self.bias, **self.options).permute(0, 2, 3, 1)


class Norm:
    """A layer norm."""

    def __init__(self, layer: nn.LayerNorm):
        self.arguments = (layer.normalized_shape, layer.weight.detach(), layer.bias.detach(), layer.eps)

    def __call__(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, *self.arguments)


def _widened(layer: nn.Conv2d, unused: int) -> nn.Conv2d:
    """A convolution with ``unused`` more channels, all zero: of (r, 1 or r, 3, 3) weights, r becomes r + unused."""
    channels, dense = layer.out_channels + unused, layer.groups == 1
    wide = nn.Conv2d(channels, channels, layer.kernel_size, padding=layer.padding, groups=1 if dense else channels)
    wide.weight.data = F.pad(layer.weight.detach(), (0, 0, 0, 0, 0, unused if dense else 0, 0, unused))
    wide.bias.data = F.pad(layer.bias.detach(), (0, unused))
    return wide


class BlockMLP:
    """The MLP of a block and, in the same two products, the adapter beside it.

    With M the width of the MLP and r that of the adapter, on tokens x (B, H, W, C)::

        MLP(x) + scale * adapter(x) = W2 act(W1 x + b1) + b2 + scale * (Up spatial(act(Down x + d)) + u)

        hidden = act([W1; Down] x + [b1; d])             (B, H, W, M + r): one product instead of two
        hidden[..., M:] = spatial(hidden[..., M:])       only the part of the adapter
        result = [W2, scale * Up] hidden + b2 + scale * u

    Channels of zeros round r up to a multiple of ``_LANES``. A spatial operator that is not a convolution has a form
    for tokens (``prepared``) and gets only its r channels.
    """

    def __init__(self, mlp: nn.Module, dtype: torch.dtype):
        first, second = mlp.layers
        self.spatial = None
        self.adapted = slice(first.out_features, None)  # channels of ``hidden`` that the spatial operator works on
        weight_in, bias_in, weight_out, bias_out = first.weight, first.bias, second.weight, second.bias
        if isinstance(mlp, AdaptedMLP):
            down, up, spatial = mlp.adapter.down, mlp.adapter.up, mlp.adapter.spatial
            unused = -down.out_features % _LANES
            if isinstance(spatial, nn.Conv2d):
                self.spatial = Convolution(_widened(spatial, unused), dtype)
            else:
                self.spatial = spatial.prepared()
                self.adapted = slice(first.out_features, first.out_features + down.out_features)
            weight_in = torch.cat([weight_in, F.pad(down.weight, (0, 0, 0, unused))])
            bias_in = torch.cat([bias_in, F.pad(down.bias, (0, unused))])
            weight_out = torch.cat([weight_out, F.pad(mlp.scale * up.weight, (0, unused))], dim=1)
            bias_out = bias_out + mlp.scale * up.bias
        self.first = Linear(weight_in, bias_in, dtype, activation_name(mlp.act))
        self.second = Linear(weight_out, bias_out, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        hidden = self.first(x)
        if self.spatial is not None:
            side = hidden[..., self.adapted]
            side.copy_(self.spatial(side))
        return self.second(hidden)


class Block:
    """One of the trunk's blocks.

    Tokens are sorted by windows once, when they take the type of the products, and sorted back when the sum is formed.
    """

    def __init__(self, block: MultiScaleBlock, dtype: torch.dtype):
        self.norms = Norm(block.norm1), Norm(block.norm2)
        self.heads, self.window = block.attn.num_heads, block.window_size
        self.stride = 2 if block.q_stride else 1  # Hiera knows no other
        self.qkv, self.out = Linear.of(block.attn.qkv, dtype), Linear.of(block.attn.proj, dtype)
        self.padding = block.attn.qkv.bias.detach()[block.dim_out :].to(dtype)
        self.shortcut = Linear.of(block.proj, dtype) if block.dim != block.dim_out else None
        self.dtype = dtype
        self.mlp = BlockMLP(block.mlp, dtype)

    def __call__(self, x: Tensor) -> Tensor:
        """Map tokens (B, H, W, C), which may be overwritten, to (B, H, W, C') or (B, H / 2, W / 2, C')."""
        n = self.norms[0](x)
        if self.shortcut is not None:
            batch, height, width, _ = x.shape
            x = x.new_empty(batch, height // self.stride, width // self.stride, len(self.padding) // 2)
        views = window_views(n, self.window), window_views(x, self.window // self.stride)
        for part, result in zip(*views, strict=True):
            tokens = part.to(self.dtype).contiguous()
            if self.shortcut is not None:
                result.copy_(self._pool(self.shortcut(tokens)))
            result.add_(self.out(self._attended(tokens)))
        return x.add_(self.mlp(self.norms[1](x).to(self.dtype)))

    def _attended(self, tokens: Tensor) -> Tensor:
        """Attention within windows (B, down, across, h, w, C)."""
        qkv = self.qkv(tokens)
        channels = qkv.shape[-1] // 3
        queries = self._pool(qkv[..., :channels])
        return attend_windows(queries, qkv[..., channels:], self.heads, self.window, self.padding)

    def _pool(self, x: Tensor) -> Tensor:
        """Keep the largest values of squares of 2 x 2 of (B, down, across, h, w, C)."""
        if self.stride == 1:
            return x
        rows = torch.maximum(x[..., ::2, :, :], x[..., 1::2, :, :])
        return torch.maximum(rows[..., ::2, :], rows[..., 1::2, :])


class Trunk:
    """``AnySizeHiera``."""

    def __init__(self, trunk: AnySizeHiera, dtype: torch.dtype):
        self.dtype, self.trunk = dtype, trunk
        self.patches = Convolution(trunk.patch_embed.proj, dtype, bias=False)
        self.peg = None if isinstance(trunk.peg, nn.Identity) else Convolution(trunk.peg.conv, dtype)
        self.blocks = [Block(block, dtype) for block in trunk.blocks]
        self._positions: dict[tuple[int, int], Tensor] = {}

    def __call__(self, images: Tensor) -> list[Tensor]:
        """Map (B, 3, H, W) images to four maps (B, H / s_i, W / s_i, C_i) at strides 4, 8, 16, 32."""
        x = self.patches(images.permute(0, 2, 3, 1))
        x = x + self._positions_of(tuple(x.shape[1:3]))
        maps = []
        for i, block in enumerate(self.blocks):
            look()
            x = block(x)
            if i == 0 and self.peg is not None:
                x = x + self.peg(x)
            if i in self.trunk.stage_ends:
                maps.append(x)  # which stays: the first block of a stage widens, so it does not overwrite its tokens
        return maps

    def _positions_of(self, size: tuple[int, int]) -> Tensor:
        """Position embedding plus the bias of the patch convolution, remembered for the last size."""
        if size not in self._positions:
            bias = self.trunk.patch_embed.proj.bias.detach().view(1, 1, 1, -1)
            added = self.trunk._get_pos_embed(size) if self.trunk.use_position_embedding else 0
            self._positions = {size: (bias + added).contiguous()}
        return self._positions[size]


class Encoder:
    """``ImagePath.features`` on tokens (B, H, W, C)."""

    def __init__(self, base: ImagePath, dtype: torch.dtype):
        neck: FpnNeck = base.image_encoder.neck
        decoder = base.sam_mask_decoder
        self.trunk = Trunk(base.image_encoder.trunk, dtype)
        deepest, deep, middle, finest = (level.conv for level in neck.convs)
        self.deepest = _pointwise([deepest], dtype)
        self.deep = _pointwise([deep], dtype, base.no_mem_embed.detach().flatten())
        self.s1 = _pointwise([middle, decoder.conv_s1], dtype)
        self.s0 = _pointwise([finest, decoder.conv_s0], dtype)

    def __call__(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Embedding (B, H/16, W/16, D), s0 (B, H/4, W/4, D/8) and s1 (B, H/8, W/8, D/4) of (B, 3, H, W) images."""
        finest, middle, deep, deepest = self.trunk(images)
        above = self.deepest(deepest)
        embedding = self.deep(deep).float()
        batch, height, width, dim = above.shape
        embedding.view(batch, height, 2, width, 2, dim).add_(above.view(batch, height, 1, width, 1, dim))
        return embedding, self.s0(finest), self.s1(middle)


def _pointwise(convolutions: list[nn.Conv2d], dtype: torch.dtype, added: Tensor | float = 0.0) -> Linear:
    """One linear layer that equals successive 1x1 convolutions (joined in float64), plus a constant."""
    weight, bias = None, 0
    for convolution in convolutions:
        factor, offset = convolution.weight.detach().flatten(1).double(), convolution.bias.detach().double()
        bias = factor @ bias + offset if weight is not None else offset
        weight = factor @ weight if weight is not None else factor
    return Linear(weight.float(), (bias + added).float(), dtype)
