"""Hiera's attention within windows, for training and prediction.

With few keys, two batched products with a softmax in between are faster on a CPU than the attention operator (measured
in prediction: 1.5 to 2 times with 16 to 256 keys, no gain from 1024 keys on).
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

_MOST_KEYS = 512  # with more keys, not all scores are held in memory


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


def attend_tokens(
    q: Tensor, k: Tensor, v: Tensor, heads: int, scale: float | None = None, bias: Tensor | None = None
) -> Tensor:
    """Attend with queries (B, N, heads * d) to keys and values (B, M, heads * d); returns (B, N, heads * d).

    :param scale: of the scores (default: 1 / sqrt(d)). :param bias: (M,) added to the scores.
    """
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    return attend(q, k, v, scale, bias).transpose(1, 2).flatten(2)


def window_views(x: Tensor, window: int) -> list[Tensor]:
    """Views (B, down, across, h, w, C) of tokens (B, H, W, C): of the whole windows and of those at the edges.

    :param window: side; 0: all of it is one window.
    """
    height, width = x.shape[1:3]
    rows = window_ranges(height, window) if window else [(0, height, height)]
    columns = window_ranges(width, window) if window else [(0, width, width)]
    return [
        x[:, row[0] : row[1], column[0] : column[1]].unflatten(2, (-1, column[2])).unflatten(1, (-1, row[2]))
        .permute(0, 1, 3, 2, 4, 5)
        for row in rows
        for column in columns
    ]  # fmt: skip


def window_ranges(size: int, window: int) -> list[tuple[int, int, int]]:
    """Start, stop and window length along an axis: of the whole windows, and of the shorter one at the end.

    For a size of 10 and windows of 4: ``[(0, 8, 4), (8, 10, 2)]``.
    """
    whole = size - size % window
    ranges = [(0, whole, window), (whole, size, size - whole)]
    return [entry for entry in ranges if entry[0] < entry[1]]


def window_attention(q: Tensor, kv: Tensor, heads: int, window: int, padding: Tensor) -> Tensor:
    """Attention of Hiera within windows; windows at the right and bottom edge are padded.

    :param q: (B, h, w, C), h and w those of ``kv`` or half of them.
    :param kv: keys and values (B, H, W, 2 C).
    :param window: side in positions of ``kv``; 0: all of it is one window.
    :param padding: key and value (2 C,) of a position outside.
    :return: (B, h, w, C).
    """
    out = torch.empty_like(q, memory_format=torch.contiguous_format)
    smaller = window * q.shape[1] // kv.shape[1]
    parts = zip(window_views(q, smaller), window_views(kv, window), strict=True)
    for number, (queries, keys_values) in enumerate(parts):
        # With gradients, a view of ``out`` from before the first copy could not be written.
        result = window_views(out, smaller)[number]
        result.copy_(attend_windows(queries, keys_values, heads, window, padding))
    return out


def attend_windows(q: Tensor, kv: Tensor, heads: int, window: int, padding: Tensor) -> Tensor:
    """Attention within windows of one size, smaller than ``window`` at the edges.

    Padded positions only add equal keys to a window. One key, with the logarithm of their number added to its score,
    has the same effect, so nothing is computed for padded positions.

    :param q: (B, down, across, h, w, C); ``kv``: (B, down, across, H, W, 2 C); others: see ``window_attention``.
    :return: (B, down, across, h, w, C).
    """
    queries, keys_values = (x.flatten(3, 4).flatten(0, 2) for x in (q, kv))
    keys, values = keys_values.chunk(2, dim=-1)
    outside = window * window - keys.shape[1] if window else 0
    bias = None
    if outside:
        key, value = padding.view(2, 1, 1, -1).expand(-1, len(keys), -1, -1)
        keys, values = torch.cat([keys, key], dim=1), torch.cat([values, value], dim=1)
        bias = F.pad(keys.new_tensor([math.log(outside)]), (keys.shape[1] - 1, 0))
    return attend_tokens(queries, keys, values, heads, bias=bias).view(q.shape)
