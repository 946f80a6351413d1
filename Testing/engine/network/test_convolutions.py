"""Convolutions and group norm for training on a CPU: torch's own in float64 give the right values and gradients."""

import copy

import pytest
import torch
from sam2adapt.adapters.detail import MultiScale
from sam2adapt.network import convolutions
from sam2adapt.network.convolutions import ChannelsLastGroupNorm, DepthwiseConv2d, PointwiseConv2d
from torch import nn

DEPTHWISE = [  # channels, kernel, stride, dilation, rows, columns
    (5, 3, 1, 1, 9, 12), (8, (1, 3), 1, 1, 7, 4), (8, (3, 1), 1, 1, 4, 7), (6, 1, 1, 1, 5, 5), (6, 5, 1, 1, 9, 8),
    (4, 7, 1, 1, 8, 11), (4, (3, 5), 1, 1, 6, 9), (6, 3, 1, 2, 9, 8), (6, 3, 1, 4, 10, 7), (4, 5, 1, 2, 11, 12),
    (6, 3, 2, 1, 9, 12), (6, 5, 2, 1, 8, 9), (1, 3, 1, 1, 6, 6), (4, 1, 2, 1, 6, 6),
]  # fmt: skip


def compare(module: nn.Conv2d, x: torch.Tensor) -> None:
    plain = nn.Conv2d(
        module.in_channels, module.out_channels, module.kernel_size, module.stride, module.padding, module.dilation,
        module.groups, module.bias is not None,
    ).double()  # fmt: skip
    plain.load_state_dict(module.state_dict())
    exact, x = x.double().requires_grad_(), x.clone().requires_grad_()
    expected = plain(exact)
    slope = torch.randn(expected.shape)
    expected.backward(slope.double())
    result = module(x)
    result.backward(slope)
    torch.testing.assert_close(result.double(), expected, rtol=1e-5, atol=1e-5)
    for mine, other in zip((x, *module.parameters()), (exact, *plain.parameters()), strict=True):
        torch.testing.assert_close(mine.grad.double(), other.grad, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", [False, True])
def test_depthwise(bias):
    torch.manual_seed(0)
    for channels, kernel, stride, dilation, rows, columns in DEPTHWISE:
        x = torch.randn(2, channels, rows, columns)
        for memory_format in (torch.contiguous_format, torch.channels_last):
            compare(
                DepthwiseConv2d(channels, kernel, stride, dilation, bias), x.contiguous(memory_format=memory_format)
            )


def test_half_precision():
    """As exact as rounding to bfloat16 allows, also where torch's own gradients are not."""
    torch.manual_seed(0)
    for channels, kernel, stride, dilation, rows, columns in DEPTHWISE:
        module = DepthwiseConv2d(channels, kernel, stride, dilation, bias=True)
        exact = DepthwiseConv2d(channels, kernel, stride, dilation, bias=True).double().eval()
        exact.load_state_dict(module.state_dict())
        x = torch.randn(2, channels, rows, columns)
        with torch.autocast("cpu", torch.bfloat16):
            result = module(x)
        expected = exact(x.double())
        slope = torch.randn(expected.shape)
        result.backward(slope.to(result.dtype))
        expected.backward(slope.double())
        torch.testing.assert_close(result.double(), expected, rtol=0.02, atol=0.05)
        for mine, other in zip(module.parameters(), exact.parameters(), strict=True):
            torch.testing.assert_close(
                mine.grad.double(), other.grad, rtol=0.03, atol=0.03 * float(other.grad.abs().max())
            )


def test_pointwise():
    torch.manual_seed(0)
    for batch, inside, out, rows, columns in ((2, 5, 3, 4, 7), (1, 8, 8, 1, 1), (20, 4, 6, 3, 5)):
        compare(PointwiseConv2d(inside, out), torch.randn(batch, inside, rows, columns))
        compare(PointwiseConv2d(inside, out, bias=False), torch.randn(batch, rows, columns, inside).permute(0, 3, 1, 2))


@pytest.mark.parametrize("values_at_once", [1, 1 << 19])
def test_group_norm(monkeypatch, values_at_once):
    monkeypatch.setattr(convolutions, "_VALUES_AT_ONCE", values_at_once)  # one image at a time, or all
    torch.manual_seed(0)
    for channels, groups, rows, columns, shift in ((12, 4, 5, 7, 0), (8, 8, 3, 3, 100), (6, 1, 4, 4, -3)):
        norm, plain = ChannelsLastGroupNorm(groups, channels), nn.GroupNorm(groups, channels).double()
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
        plain.load_state_dict(norm.state_dict())
        x = (torch.randn(2, channels, rows, columns) + shift).contiguous(memory_format=torch.channels_last)
        exact, x = x.double().requires_grad_(), x.requires_grad_()
        slope = torch.randn(x.shape)
        norm(x).backward(slope)
        plain(exact).backward(slope.double())
        torch.testing.assert_close(norm(x).double(), plain(exact), rtol=1e-4, atol=1e-4)
        for mine, other in zip((x, *norm.parameters()), (exact, *plain.parameters()), strict=True):
            torch.testing.assert_close(mine.grad.double(), other.grad, rtol=1e-3, atol=1e-3)


def test_forward_pass_of_torchs_group_norm_on_large_maps(monkeypatch):
    torch.manual_seed(0)
    norm, x = ChannelsLastGroupNorm(4, 12), torch.randn(2, 12, 5, 7) + 2
    nn.init.normal_(norm.weight)
    results = []
    for pixels in (35, 36):
        monkeypatch.setattr(convolutions, "_FAST_FORWARD", pixels)
        part = x.clone().requires_grad_()
        norm.zero_grad()
        result = norm(part)
        result.backward(x)
        results.append((result.detach(), part.grad, norm.weight.grad.clone(), norm.bias.grad.clone()))
    for fast, own in zip(*results, strict=True):
        torch.testing.assert_close(fast, own, rtol=1e-4, atol=1e-5)


def test_branches_are_normalised_together_as_one_by_one():
    torch.manual_seed(0)
    module, x = MultiScale(16), torch.randn(2, 16, 9, 8)
    for branch in module.branches:
        nn.init.normal_(branch[2].weight)
        nn.init.normal_(branch[2].bias)
    plain, part = copy.deepcopy(module).double().eval(), x.clone().requires_grad_()
    exact = x.double().requires_grad_()
    slope = torch.randn(x.shape)
    module(part).backward(slope)
    plain(exact).backward(slope.double())
    torch.testing.assert_close(module(x).double(), plain(exact), rtol=1e-4, atol=1e-4)
    for mine, other in zip((part, *module.parameters()), (exact, *plain.parameters()), strict=True):
        torch.testing.assert_close(mine.grad.double(), other.grad, rtol=1e-3, atol=1e-3)
