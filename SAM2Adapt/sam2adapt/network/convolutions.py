"""Depthwise and pointwise convolutions, and a group norm, that train fast on a CPU.

PyTorch hands depthwise convolutions to oneDNN, whose fast kernels are those for channels-last maps, undilated kernels
and, for the gradient of the weights, at most three columns. In other cases a step of training takes 2 to 20 times as
long: 1x1 kernels, dilated ones, 5x5 kernels, strides in bfloat16, and maps that are not channels-last. Here they are
written in terms of the fast ones, with the same result up to rounding. (In bfloat16, PyTorch 2.14.1 even gave wrong
gradients of the weights of dilated kernels on channels-last maps.) The backward pass of torch's group norm takes 2 to 4
times as long on such maps as the one here. In evaluation mode, and on other devices, all classes are torch's.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_VALUES_AT_ONCE = 1 << 19
_FAST_FORWARD = 1024  # pixels of a map from which the forward pass of torch's group norm is twice as fast as ours
_WIDEST = 3  # columns of a kernel for whose gradient oneDNN has a fast kernel


class DepthwiseConv2d(nn.Conv2d):
    """One kernel for each channel; keeps H and W, divided by the stride.

    :param kernel: rows and columns, odd numbers. :param stride: 1 for dilated kernels.
    """

    def __init__(
        self, channels: int, kernel: int | tuple[int, int], stride: int = 1, dilation: int = 1, bias: bool = False
    ):
        rows, columns = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (dilation * (rows // 2), dilation * (columns // 2))
        super().__init__(
            channels, channels, (rows, columns), stride, padding, dilation=dilation, groups=channels, bias=bias
        )

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W); in training on a CPU, the result is channels-last."""
        if not (self.training and x.device.type == "cpu"):
            return super().forward(x)
        half = torch.is_autocast_enabled("cpu") and self.stride == (1, 1)
        dtype = torch.get_autocast_dtype("cpu") if half else self.weight.dtype
        x, weight = x.to(dtype), self.weight.to(dtype)
        bias = None if self.bias is None else self.bias.to(dtype)
        with torch.autocast("cpu", enabled=False):
            if self.kernel_size == (1, 1) and self.stride == (1, 1):
                x = x * weight.view(1, -1, 1, 1)
                return x if bias is None else x + bias.view(1, -1, 1, 1)
            if self.dilation != (1, 1):
                return self._dilated(x, weight, bias)
            return self._convolved(x, weight, bias, self.padding)

    def _convolved(self, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        if self.kernel_size[1] > _WIDEST and self.stride == (1, 1):
            return _WideConvolution.apply(x, weight, bias, padding)
        return F.conv2d(x, weight, bias, self.stride, padding, groups=len(weight))

    def _dilated(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """A convolution of dilation d as an undilated one: every d-th row and column form a map of their own.

        Example, one row, d = 2, kernel (a b c), pixels 0 1 2 3 4 5: the output at 2 is a x0 + b x2 + c x4. So the
        pixels 0 2 4 and 1 3 5 are convolved separately. In channels-last maps, d columns of C channels lie in memory as
        one column of d C channels, so that only rows need to be moved.
        """
        (rows, columns), (height, width) = self.dilation, x.shape[-2:]
        x = F.pad(x, (0, -width % columns, 0, -height % rows)).permute(0, 2, 3, 1).contiguous()
        wide = x.flatten(2).unflatten(2, (-1, columns * x.shape[3]))  # (B, H, W/d, d C)
        maps = wide.unflatten(1, (-1, rows)).transpose(1, 2).flatten(0, 1).permute(0, 3, 1, 2)
        weight = weight.repeat(columns, 1, 1, 1)
        bias = None if bias is None else bias.repeat(columns)
        padding = (self.padding[0] // rows, self.padding[1] // columns)
        maps = self._convolved(maps, weight, bias, padding).permute(0, 2, 3, 1)
        wide = maps.unflatten(0, (len(x), rows)).transpose(1, 2).flatten(1, 2)
        return wide.flatten(2).unflatten(2, (-1, x.shape[3]))[:, :height, :width].permute(0, 3, 1, 2)


class _WideConvolution(torch.autograd.Function):
    """A depthwise convolution whose weights' gradient is computed in strips of three columns."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.padding = padding
        return F.conv2d(x, weight, bias, padding=padding, groups=len(weight))

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope: Tensor) -> tuple:
        x, weight = ctx.saved_tensors
        slope = slope.contiguous(memory_format=torch.channels_last)
        of_x, of_weight, of_bias, _ = ctx.needs_input_grad
        return (
            _gradients(slope, x, weight, ctx.padding, (True, False))[0] if of_x else None,
            _weight_gradient(slope, x, weight, ctx.padding) if of_weight else None,
            slope.sum((0, 2, 3)) if of_bias else None,
            None,
        )


def _weight_gradient(slope: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int]) -> Tensor:
    x = F.pad(x, (padding[1], padding[1]))
    strips = []
    for start in range(0, weight.shape[-1], _WIDEST):
        strip = weight[..., start : start + _WIDEST].contiguous()
        # The kernel's column j meets the columns j, j + 1, … of the padded map.
        part = x[..., start : start + slope.shape[-1] + strip.shape[-1] - 1]
        part = part.contiguous(memory_format=torch.channels_last)
        strips.append(_gradients(slope, part, strip, (padding[0], 0), (False, True))[1])
    return torch.cat(strips, dim=-1)


def _gradients(
    slope: Tensor, x: Tensor, weight: Tensor, padding: tuple[int, int], needed: tuple[bool, bool]
) -> tuple[Tensor | None, ...]:
    return torch.ops.aten.convolution_backward(
        slope, x, weight, None, (1, 1), padding, (1, 1), False, (0, 0), len(weight), (*needed, False)
    )


class PointwiseConv2d(nn.Conv2d):
    """A 1x1 convolution; in training on a CPU, one of the rows of channels-last maps as images of their own."""

    def __init__(self, inside: int, out: int, bias: bool = True):
        super().__init__(inside, out, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to (B, out, H, W)."""
        if not (self.training and x.device.type == "cpu"):
            return super().forward(x)
        batch, height = len(x), x.shape[2]
        rows = x.permute(0, 2, 3, 1).flatten(0, 1).unsqueeze(1).permute(0, 3, 1, 2)  # (B H, C, 1, W)
        rows = super().forward(rows).permute(0, 2, 3, 1).squeeze(1)
        return rows.unflatten(0, (batch, height)).permute(0, 3, 1, 2)


class ChannelsLastGroupNorm(nn.GroupNorm):
    """A group norm whose gradients on channels-last maps are fast on a CPU; sums are in float32."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise (B, C, H, W)."""
        if not (self.training and x.device.type == "cpu"):
            return super().forward(x)
        return joined_group_norm([self], x)


def joined_group_norm(norms: Sequence[nn.GroupNorm], x: Tensor) -> Tensor:
    """Normalise maps (B, C, H, W), joined along the channels, each by its own group norm; on a CPU.

    :param norms: with equally many channels a group.
    """
    x = x.contiguous(memory_format=torch.channels_last)
    weight, bias = (torch.cat([getattr(norm, name) for norm in norms]) for name in ("weight", "bias"))
    return _GroupNorm.apply(x, weight, bias, sum(norm.num_groups for norm in norms), norms[0].eps)


class _GroupNorm(torch.autograd.Function):
    """y = w (x - m) r + b, with mean m and 1 / standard deviation r of each group of channels.

    With slopes d = dL/dy, the sums S1 = sum w d and S2 = sum w d (x - m) over the n values of a group give::

        dL/dx = w r d - r S1 / n - (x - m) r^3 S2 / n
    """

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor, groups: int, eps: float) -> Tensor:
        if x[0, 0].numel() >= _FAST_FORWARD:
            sizes = len(x), x.shape[1], x[0, 0].numel()
            result, mean, rate = torch.native_group_norm(x, weight, bias, *sizes, groups, eps)
            ctx.save_for_backward(x, weight, mean.unsqueeze(2), rate.unsqueeze(2))
            return result
        result, means, rates = torch.empty_like(x, memory_format=torch.channels_last), [], []
        for part, out in zip(_parts(x), _parts(result), strict=True):
            values = part.float()
            of_channels = values.mean(1)  # (B, C)
            centred = values - of_channels[:, None]
            variances = torch.linalg.vecdot(centred, centred, dim=1).unflatten(1, (groups, -1)) / values.shape[1]
            of_channels = of_channels.unflatten(1, (groups, -1))
            mean = of_channels.mean(2, keepdim=True)  # (B, groups, 1)
            rate = ((variances + (of_channels - mean).square()).mean(2, keepdim=True) + eps).rsqrt()
            scale = weight.float().unflatten(0, (groups, -1)) * rate
            shift = bias.float().unflatten(0, (groups, -1)) - mean * scale
            out.copy_(torch.addcmul(shift.flatten(1)[:, None], values, scale.flatten(1)[:, None], out=centred))
            means.append(mean)
            rates.append(rate)
        ctx.save_for_backward(x, weight, torch.cat(means), torch.cat(rates))
        return result

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, slope: Tensor) -> tuple:
        x, weight, means, rates = ctx.saved_tensors
        slope = slope.contiguous(memory_format=torch.channels_last)
        groups, count = means.shape[1], x[0].numel() // means.shape[1]
        result = torch.empty_like(x, memory_format=torch.channels_last)
        of_weight, of_bias = torch.zeros_like(weight), torch.zeros_like(weight)
        size = len(_parts(x)[0])
        parts = zip(_parts(x), _parts(slope), _parts(result), means.split(size), rates.split(size), strict=True)
        for part, part_of_slope, out, mean, rate in parts:
            values, slopes = part.float(), part_of_slope.float()
            first = slopes.sum(1).unflatten(1, (groups, -1))  # of channels, (B, groups, C / groups)
            second = torch.linalg.vecdot(slopes, values, dim=1).unflatten(1, (groups, -1)) - mean * first
            of_weight += (second * rate).sum(0).flatten()
            of_bias += first.sum(0).flatten()
            scale = weight.float().unflatten(0, (groups, -1))
            steepness = -(scale * second).sum(2, keepdim=True) * rate**3 / count
            offset = -(scale * first).sum(2, keepdim=True) * rate / count - mean * steepness
            offset, steepness, factor = (
                n.expand_as(first).flatten(1)[:, None] for n in (offset, steepness, scale * rate)
            )
            out.copy_(torch.addcmul(offset, values, steepness).addcmul_(slopes, factor))
        return result, of_weight, of_bias, None, None


def _parts(x: Tensor) -> tuple[Tensor, ...]:
    """Views (b, H W, C) of channels-last maps (B, C, H, W), of as many images as fit into the cache."""
    tokens = x.permute(0, 2, 3, 1).flatten(1, 2)
    return tokens.split(max(1, _VALUES_AT_ONCE // tokens[0].numel()))
