"""Operators of the predicting form: prepared linear layers, and attention over small windows.

On the CPU, oneDNN's fused operators use weights that are laid out once instead of at each call. With few keys, two
batched products with a softmax in between are faster than the attention operator (measured: 1.5 to 2 times with 16 to
256 keys, no gain from 1024 keys on).
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_MOST_KEYS = 512  # with more keys, not all scores are held in memory
_VALUES_AT_ONCE = 1 << 20  # that fit into the cache of the CPU
_ONEDNN = ("_is_mkldnn_bf16_supported", "_reorder_linear_weight", "_linear_pointwise", "_convolution_pointwise")
# On processors with AMX, oneDNN's linear layers split sums of more than 480 products over threads, so that rounding
# depends on the number of threads. Its convolutions never do, and mostly take 1.05 to 1.4 times as long there.
_LONGEST_SUM = 448
_ONE_BY_ONE = ([0, 0], [1, 1], [1, 1], 1)  # padding, stride, dilation, groups
_ACTIVATIONS = {"gelu": F.gelu, "relu": F.relu, "none": lambda x: x}


def activation_name(module: nn.Module) -> str:
    """Name of an MLP's activation for ``Linear``."""
    return {nn.GELU: "gelu", nn.ReLU: "relu"}[type(module)]


def packs(dtype: torch.dtype, device: torch.device) -> bool:
    """Whether oneDNN can prepare layers of this type on this device.

    Its operators are not part of PyTorch's documented interface; without them, plain layers are used.
    """
    operators = torch.ops.mkldnn
    return (
        dtype is torch.bfloat16
        and device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and all(hasattr(operators, name) for name in _ONEDNN)
        and hasattr(torch.ops.aten, "mkldnn_reorder_conv2d_weight")
        and operators._is_mkldnn_bf16_supported()
    )


class Linear:
    """A linear layer on tokens (..., in), computed in ``dtype`` and followed by an activation.

    :param weight: (out, in); ``bias``: (out,) or None.
    :param activation: ``none``, ``gelu`` or ``relu``.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, dtype: torch.dtype, activation: str = "none"):
        self.dtype, self.activation = dtype, activation
        self.weight = weight.detach().to(dtype).contiguous()
        self.bias = None if bias is None else bias.detach().to(dtype)
        self.packed = packs(dtype, weight.device)
        self.long = weight.shape[1] > _LONGEST_SUM
        if self.packed:
            self.weight = _packed_convolution(self.weight) if self.long else _packed_linear(self.weight)

    @classmethod
    def of(cls, layer: nn.Linear, dtype: torch.dtype, activation: str = "none") -> "Linear":
        """Prepare a layer."""
        return cls(layer.weight, layer.bias, dtype, activation)

    def __call__(self, x: Tensor) -> Tensor:
        x = x.to(self.dtype)
        if self.packed and self.long:
            pixels = x.reshape(1, -1, 1, x.shape[-1]).permute(0, 3, 1, 2)
            result = torch.ops.mkldnn._convolution_pointwise(
                pixels, self.weight, self.bias, *_ONE_BY_ONE, self.activation, [], "none"
            )
            return result.permute(0, 2, 3, 1).reshape(*x.shape[:-1], -1)
        if self.packed:
            return torch.ops.mkldnn._linear_pointwise(x, self.weight, self.bias, self.activation, [], "none")
        return _ACTIVATIONS[self.activation](F.linear(x, self.weight, self.bias))


def _packed_linear(weight: Tensor) -> Tensor:
    """Weights (out, in) of a linear layer as oneDNN reads them."""
    return torch.ops.mkldnn._reorder_linear_weight(weight)


def _packed_convolution(weight: Tensor) -> Tensor:
    """Weights (out, in) of a linear layer as oneDNN's convolution with a 1x1 kernel reads them.

    The layout does not depend on the number of tokens; but without a number, oneDNN chooses a slow layout.
    """
    tokens = [1, weight.shape[1], 64, 1]
    kernel = weight[:, :, None, None].to_mkldnn()
    return torch.ops.aten.mkldnn_reorder_conv2d_weight(kernel, *_ONE_BY_ONE, tokens)


def attend(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """Attend with queries (B, heads, N, d) to keys and values (B, heads, M, d); returns (B, heads, N, d).

    :param bias: (M,) added to the scores.
    """
    keys = k.shape[-2]
    if q.device.type != "cpu" or keys > _MOST_KEYS:
        mask = None if bias is None else bias.to(q.dtype).view(1, 1, 1, -1)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    shape = q.shape
    q, k, v = q.flatten(0, 1), k.flatten(0, 1), v.flatten(0, 1)
    start = q.new_empty(1, 1, 1) if bias is None else bias.to(q.dtype).view(1, 1, -1)
    start = start.expand(len(q), q.shape[1], keys)
    scores = torch.baddbmm(start, q, k.transpose(1, 2), beta=int(bias is not None), alpha=scale)
    return torch.bmm(scores.softmax(dim=-1), v).view(shape)


class GroupNorm(nn.Module):
    """A group norm of (B, C, H, W) in ``channels_last``; on the CPU the number of threads does not change its result.

    PyTorch splits an image's sum over threads. Here sums are in float32, whatever the type of the input.
    """

    def __init__(self, norm: nn.GroupNorm):
        super().__init__()
        self.plain = norm
        self.weight, self.bias = norm.weight.detach().float(), norm.bias.detach().float()

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":
            return self.plain(x)
        tokens = x.permute(0, 2, 3, 1)
        out = torch.empty_like(tokens)
        at_once = max(1, _VALUES_AT_ONCE // tokens[0].numel())
        for part, result in zip(tokens.split(at_once), out.split(at_once), strict=True):
            values = part.float()
            centred = values - self._means(values)
            scale = (self._means(centred.square()) + self.plain.eps).rsqrt() * self.weight
            result.copy_(torch.addcmul(self.bias, centred, scale))
        return out.permute(0, 3, 1, 2)

    def _means(self, tokens: Tensor) -> Tensor:
        """Mean of each channel's group: (B, 1, 1, C) of (B, H, W, C)."""
        batch, height, width, channels = tokens.shape
        of_channels = tokens.sum(dim=2).sum(dim=1) / (height * width)
        of_groups = of_channels.view(batch, self.plain.num_groups, -1).mean(dim=2, keepdim=True)
        return of_groups.expand(-1, -1, channels // self.plain.num_groups).reshape(batch, 1, 1, channels)


def window_ranges(size: int, window: int) -> list[tuple[int, int, int]]:
    """Start, stop and window length along an axis: of the whole windows, and of the shorter one at the end.

    For a size of 10 and windows of 4: ``[(0, 8, 4), (8, 10, 2)]``.
    """
    whole = size - size % window
    ranges = [(0, whole, window), (whole, size, size - whole)]
    return [entry for entry in ranges if entry[0] < entry[1]]


def window_attention(q: Tensor, kv: Tensor, heads: int, window: int, padding: Tensor) -> Tensor:
    """Attention of Hiera within windows; windows at the right and bottom edge are padded.

    Padded positions only add equal keys to a window. One key, with the logarithm of their number added to its score,
    has the same effect, so nothing is computed for padded positions.

    :param q: (B, h, w, C), h and w those of ``kv`` or half of them.
    :param kv: keys and values (B, H, W, 2 C).
    :param window: side in positions of ``kv``; 0: all of it is one window.
    :param padding: key and value (2 C,) of a position outside.
    :return: (B, h, w, C).
    """
    height, width = kv.shape[1:3]
    pooled = height // q.shape[1]
    rows = window_ranges(height, window) if window else [(0, height, height)]
    columns = window_ranges(width, window) if window else [(0, width, width)]
    scale = 1 / math.sqrt(q.shape[-1] // heads)
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    for row in rows:
        for column in columns:
            smaller = [tuple(n // pooled for n in entry) for entry in (row, column)]
            queries = _to_windows(q, *smaller, 1, heads)[0]
            keys, values = _to_windows(kv, row, column, 2, heads)
            outside = window * window - row[2] * column[2] if window else 0
            bias = None
            if outside:
                key, value = padding.view(2, 1, heads, 1, -1).expand(-1, len(keys), -1, -1, -1)
                keys, values = torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)
                bias = F.pad(keys.new_tensor([math.log(outside)]), (keys.shape[2] - 1, 0))
            _from_windows(attend(queries, keys, values, scale, bias), out, *smaller)
    return out


def _window_view(x: Tensor, row: tuple[int, int, int], column: tuple[int, int, int], last: tuple[int, ...]) -> Tensor:
    """View of (B, rows of windows, h, columns of windows, w, ...)."""
    part = x[:, row[0] : row[1], column[0] : column[1]]
    return part.unflatten(-1, last).unflatten(2, (-1, column[2])).unflatten(1, (-1, row[2]))


def _to_windows(x: Tensor, row: tuple[int, int, int], column: tuple[int, int, int], parts: int, heads: int) -> Tensor:
    """Copy tokens (B, H, W, parts * heads * d) to (parts, windows, heads, h w, d)."""
    view = _window_view(x, row, column, (parts, heads, -1)).permute(5, 0, 1, 3, 6, 2, 4, 7)
    return view.reshape(parts, -1, heads, row[2] * column[2], view.shape[-1])


def _from_windows(x: Tensor, out: Tensor, row: tuple[int, int, int], column: tuple[int, int, int]) -> None:
    """Copy (windows, heads, h w, d) to their place in tokens (B, H, W, heads * d)."""
    view = _window_view(out, row, column, (x.shape[1], -1))
    batch, down, height, across, width, heads, depth = view.shape
    view.copy_(x.view(batch, down, across, heads, height, width, depth).permute(0, 1, 4, 2, 5, 3, 6))
