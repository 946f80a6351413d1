"""Attention within windows, some of them at the edges: values and gradients as of padded windows."""

import pytest
import torch
from sam2adapt.network.windows import window_attention
from torch.nn import functional as F


def padded(q, kv, heads, window, padding):
    """The same with all windows whole, padded as Hiera pads them."""
    batch, height, width, _ = kv.shape
    across, down = -width % window, -height % window
    outside = padding.expand(batch, height + down, width + across, -1)
    inside = F.pad(torch.ones(height, width, 1), (0, 0, 0, across, 0, down))
    kv = F.pad(kv, (0, 0, 0, across, 0, down)) * inside + outside * (1 - inside)
    q = F.pad(q, (0, 0, 0, across, 0, down))

    def windows(x):
        x = x.unflatten(2, (-1, window)).unflatten(1, (-1, window)).permute(0, 1, 3, 2, 4, 5)
        return x.flatten(3, 4).unflatten(-1, (heads, -1)).transpose(-3, -2)

    k, v = kv.chunk(2, dim=-1)
    out = F.scaled_dot_product_attention(windows(q), windows(k), windows(v)).transpose(-3, -2).flatten(-2)
    out = out.unflatten(3, (window, window)).permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2)
    return out[:, :height, :width]


@pytest.mark.parametrize("size", [(8, 8), (8, 10), (10, 8), (10, 11)])
def test_values_and_gradients_are_those_of_padded_windows(size):
    made = torch.Generator().manual_seed(0)
    inputs = [torch.randn(2, *size, 8, generator=made), torch.randn(2, *size, 16, generator=made)]
    inputs = [*inputs, torch.randn(16, generator=made)]
    found, weight = [], torch.randn(2, *size, 8, generator=made)
    for attention in (window_attention, padded):
        q, kv, padding = (one.clone().requires_grad_() for one in inputs)
        out = attention(q, kv, 2, 4, padding)
        (out * weight).sum().backward()
        found.append([out.detach(), q.grad, kv.grad, padding.grad if padding.grad is not None else torch.zeros(16)])
    for ours, theirs in zip(*found, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
