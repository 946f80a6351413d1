"""A network in a form that can only predict: prepared once, equal to the plain form up to rounding, and faster.

Products with constant weights are joined, weights are stored in the type and order of their use, and unused results are
not computed. This needs neither a compiler nor a GPU.
"""

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ...machine.interruption import look
from ..base import pad_to_stride
from ..network import SegmentationNetwork, at_size
from ..prompts import Prompts
from .decoder import Decoder, kernel_maps
from .ops import GroupNorm
from .trunk import Encoder


class InferenceNetwork(nn.Module):
    """Computes the output of an exported ``SegmentationNetwork``, without gradients.

    The first call builds the form for the device of the network and the type of autocast; a call with another device or
    type builds it again. Images with prompts go through the plain network.

    :param plain: the network after its method's ``export``; its parameters must not change afterwards.
    """

    def __init__(self, plain: SegmentationNetwork):
        super().__init__()
        self.plain = plain.eval().requires_grad_(False)
        self._form: tuple[torch.device, torch.dtype, _Form] | None = None
        self.eval()

    def forward(self, images: Tensor, prompts: Sequence[Prompts] | None = None) -> Tensor:
        """Segment images (B, 3, H, W); returns logits (B, K, H, W), as ``SegmentationNetwork`` does."""
        if prompts and any(prompts):
            return self.plain(images, prompts)
        kind = images.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else torch.float32
        with torch.no_grad(), torch.autocast(kind, enabled=False):
            if self._form is None or self._form[:2] != (images.device, dtype):
                self._form = images.device, dtype, _Form(self.plain, dtype)
            return self._form[2](pad_to_stride(images), tuple(images.shape[-2:]))

    def _apply(self, function: Callable[[Tensor], Tensor], recurse: bool = True) -> "InferenceNetwork":
        self._form = None  # frees its memory before the parameters move
        return super()._apply(function, recurse)

    def train(self, mode: bool = True) -> "InferenceNetwork":
        """Set the flag; there is nothing to train."""
        self.training = mode
        return self


class _Form:
    def __init__(self, network: SegmentationNetwork, dtype: torch.dtype):
        self.encoder, self.decoder, self.dtype = Encoder(network.base, dtype), Decoder(network, dtype), dtype
        self.detail = None if network.detail is None else _convolutions(network.detail, dtype)
        self.refinement = None if network.refinement is None else _convolutions(network.refinement, dtype)

    def __call__(self, images: Tensor, size: tuple[int, int]) -> Tensor:
        """Logits (B, K, *size) of padded images."""
        features = self.encoder(images)
        if self.detail is not None or self.refinement is not None:
            images = images.to(self.dtype, memory_format=torch.channels_last)
        if self.detail is not None:
            look()
            details = self.detail(images)
            added = (details.embedding, details.s0, details.s1)
            features = [a + b.permute(0, 2, 3, 1) for a, b in zip(features, added, strict=True)]
        kernels, pixels = self.decoder(*features)
        logits = at_size(kernel_maps(kernels, pixels), size)
        if self.refinement is None:
            return logits
        look()
        finer = self.refinement(pixels.permute(0, 3, 1, 2).to(self.dtype), self.refinement.stem(images))
        return logits + at_size(kernel_maps(kernels, finer.permute(0, 2, 3, 1)), size)


def _convolutions(module: nn.Module, dtype: torch.dtype) -> nn.Module:
    """A copy in another type, in memory order ``channels_last``, that looks before each layer whether to stop."""
    module = copy.deepcopy(module)
    for parent in list(module.modules()):
        parent.register_forward_pre_hook(lambda *_: look())
        for name, child in parent.named_children():
            if isinstance(child, nn.GroupNorm):
                setattr(parent, name, GroupNorm(child))
    return module.to(dtype, memory_format=torch.channels_last)
