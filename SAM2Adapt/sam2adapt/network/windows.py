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
