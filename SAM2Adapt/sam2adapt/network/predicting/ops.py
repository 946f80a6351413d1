"""Operators of the predicting form: linear layers that are prepared once.

On the CPU, oneDNN's fused operators use weights that are laid out once instead of at each call.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
        dtype in (torch.bfloat16, torch.float32)
        and device.type == "cpu"
        and torch.backends.mkldnn.is_available()
        and all(hasattr(operators, name) for name in _ONEDNN)
        and hasattr(torch.ops.aten, "mkldnn_reorder_conv2d_weight")
        and (dtype is torch.float32 or operators._is_mkldnn_bf16_supported())
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
