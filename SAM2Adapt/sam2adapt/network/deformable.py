"""Modulated deformable 3x3 convolution (DCNv2, arXiv 1811.11168), made of operators that are fast on the CPU.

Torchvision's kernel reads one number at a time. Here, each sample is a bag of its four neighbours, whose channels are
side by side in memory, which is 5 times as fast (measured).
"""

import functools

import torch
from torch import Tensor
from torch.nn import functional as F

_POINTS = 9


def deformable_convolution(x: Tensor, offsets: Tensor, mask: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Compute ``torchvision.ops.deform_conv2d`` with padding 1, without gradients.

    A plain 3x3 convolution reads nine points around each position. Here, each point moves by its own offset, to a place
    between four positions. There, x is interpolated bilinearly and multiplied by the mask of the point::

        sample[b, i, j, p] = mask[b, i, j, p] * x at (i + row of p + row offset, j + column of p + column offset)
        out[b, i, j]       = sum over p of weight[p] applied to sample[b, i, j, p], plus bias

    Point 0 (row -1, column -1) of position (5, 5), with the offset (0.25, 0.5), reads x at (4.25, 4.5); see
    ``_weights``.

    ``embedding_bag`` computes all samples at once. Its table has a row of r channels for each position. Each sample is
    a bag of four rows with four weights, which include the mask. Outside x everything is 0, so the table has a border
    of zeros, H + 3 rows and W + 3 columns in all, and places further out are moved onto the border.

    :param x: tokens (B, H, W, r), float32.
    :param offsets: (B, H, W, 18) in positions: row and column of point 0, row and column of point 1, …
    :param mask: (B, H, W, 9).
    :param weight: (r, 1, 3, 3), depthwise, or (r', r, 3, 3); ``bias``: (r',).
    :return: (B, H, W, r').
    """
    batch, height, width, channels = x.shape
    points, neighbours = _points(height, width)
    # One row and column of zeros before x and two after it, so that every place has four neighbours.
    padded = F.pad(x, (0, 0, 1, 2, 1, 2))
    rows, columns = (  # of the samples in the padded map, (B, H, W, 9)
        (offsets[..., axis::2] + points[axis]).clamp_(0, size + 1) for axis, size in enumerate((height, width))
    )
    top, left = rows.floor(), columns.floor()
    down, right = rows.sub_(top), columns.sub_(left)  # how far a sample lies from its upper left neighbour, 0 to 1
    # Number of that neighbour in the padded map of all images: (image * (H + 3) + top) * (W + 3) + left.
    upper_left = torch.add(left, top, alpha=width + 3).int()
    upper_left += torch.arange(batch, dtype=torch.int32).mul_((height + 3) * (width + 3)).view(-1, 1, 1, 1)
    samples = F.embedding_bag(
        (upper_left.unsqueeze(-1) + neighbours).view(-1, 4), padded.view(-1, channels), mode="sum",
        per_sample_weights=_weights(down, right, mask).view(-1, 4),
    ).view(batch, height, width, _POINTS, channels)  # fmt: skip
    if weight.shape[1] == 1:
        return (samples * weight.view(channels, _POINTS).T).sum(dim=3).add_(bias)
    return F.linear(samples.flatten(3), weight.flatten(2).mT.flatten(1), bias)


def _weights(down: Tensor, right: Tensor, mask: Tensor) -> Tensor:
    """Weights of the four neighbours (..., 4): mask * (1 - down or down) * (1 - right or right).

    A sample 0.25 below and 0.5 right of its upper left neighbour, with mask 1: 0.375, 0.375, 0.125, 0.125.
    """
    at_right = right * mask
    at_left = mask - at_right
    left_down, right_down = at_left * down, at_right * down
    return torch.stack([at_left.sub_(left_down), at_right.sub_(right_down), left_down, right_down], dim=-1)


@functools.lru_cache(maxsize=16)
def _points(height: int, width: int) -> tuple[tuple[Tensor, Tensor], Tensor]:
    """Places of the nine points of each position in the padded map, without offsets, and steps to the four neighbours.

    :return: rows (H, 1, 9) and columns (1, W, 9); steps (4,) in the padded map from the upper left neighbour to itself,
        the upper right, the lower left and the lower right one.
    """
    steps = torch.arange(3.0)
    rows = torch.arange(float(height)).view(-1, 1, 1) + steps.repeat_interleave(3)
    columns = torch.arange(float(width)).view(1, -1, 1) + steps.repeat(3)
    return (rows, columns), torch.tensor([0, 1, width + 3, width + 4], dtype=torch.int32)
