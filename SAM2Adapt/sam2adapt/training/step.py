"""Gradients of a batch, also when memory does not hold all of it at once; learning rates of the parameters."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..machine.exchange import count, number
from ..network.network import Prompts, SegmentationNetwork
from .settings import TrainSettings

_FEW_PIXELS = 256 * 256  # a crop whose attentions' scores are no burden to keep for the way back

Outputs = dict[str, Tensor]
Forward = Callable[[Sequence[Tensor], Sequence[Prompts] | None], Outputs]


def schedule(fraction: float, warmup: float) -> float:
    """Factor of the learning rate at a share of the run: a linear rise, then half a cosine down to 0."""
    if fraction < warmup:
        return max(fraction / warmup, 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (fraction - warmup) / (1 - warmup)))


def parameter_groups(
    network: SegmentationNetwork, settings: TrainSettings, wanted: Callable[[str], bool]
) -> list[dict]:
    """Parameter groups: those SAM2 had, with the smaller rate, and those added, matrices with weight decay only.

    :param wanted: whether a trainable parameter of this name shall be trained.
    """
    groups = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and wanted(name):
            groups.setdefault((name in network.base_names, parameter.ndim > 1), []).append(parameter)
    rates = {True: settings.base_learning_rate, False: settings.learning_rate}
    decays = {True: settings.weight_decay, False: 0.0}
    return [
        {"params": parameters, "lr": rates[base], "initial": rates[base], "weight_decay": decays[matrix]}
        for (base, matrix), parameters in groups.items()
    ]


def attention_of(device: torch.device, crop: tuple[int, int]) -> AbstractContextManager:
    """How attentions are computed in training: on CPUs as plain matrix products, where crops are small.

    PyTorch's fused attention is made for many keys; the way back through it takes a quarter of a step of ``nano``.
    """
    if device.type == "cpu" and math.prod(crop) <= _FEW_PIXELS:
        return sdpa_kernel(SDPBackend.MATH)
    return nullcontext()


def backward(
    forward: Forward,
    loss_of: Callable[[Outputs], Tensor],
    inputs: Sequence[Tensor],
    prompts: Sequence[Prompts] | None,
    sizes: Sequence[int],
    scale: Callable[[Tensor], Tensor],
) -> Tensor:
    """Add the gradients of a batch's loss to the parameters, with one piece of it in memory at a time.

    The loss of a batch is no mean over its images (the Dice terms are pooled), so with several pieces their outputs
    are computed first without gradients, then the loss of all of them and its slope at each output, and in a second
    pass each piece hands its share of it on. The gradients are those of the whole batch, up to rounding, unless the
    network has batch norms, which see the pieces, and see them twice, or prompts, which are filled up within a piece.

    :param forward: gives the same outputs of a piece both times, with the same dropout.
    :param inputs: tensors (B, ...); ``prompts``: of each of the B images, or None.
    :param sizes: of the pieces, images; together B.
    :param scale: of the loss before its gradients are computed (``GradScaler.scale``).
    :return: the loss, unscaled.
    """
    if len(sizes) == 1:
        loss = loss_of(forward(inputs, prompts))
        scale(loss).backward()
        return loss.detach()
    pieces = _pieces(inputs, prompts, sizes)
    with torch.no_grad():
        results = [forward(*piece) for piece in pieces]
    whole = {name: torch.cat([result[name] for result in results]).requires_grad_() for name in results[0]}
    loss = loss_of(whole)
    slopes = torch.autograd.grad(scale(loss), list(whole.values()), allow_unused=True)
    used = {name: slope for name, slope in zip(whole, slopes, strict=True) if slope is not None}
    start = 0
    for piece, size in zip(pieces, sizes, strict=True):
        outputs, stop = forward(*piece), start + size
        tensors = [outputs[name] for name in used]
        torch.autograd.backward(tensors, [slope[start:stop] for slope in used.values()])
        start = stop
    return loss.detach()


def _pieces(inputs: Sequence[Tensor], prompts: Sequence[Prompts] | None, sizes: Sequence[int]) -> list[tuple]:
    pieces, start = [], 0
    for size in sizes:
        part = slice(start, start + size)
        pieces.append(([tensor[part] for tensor in inputs], None if prompts is None else prompts[part]))
        start += size
    return pieces


def piece_sizes(batch: int, parts: int) -> list[int]:
    """Images of this process in each piece of a batch, which all processes take part in.

    :param batch: images of the whole batch, dealt out in turn; at least ``parts`` for each process.
    """
    pieces = np.array_split(np.arange(batch) % count() == number(), parts)
    return [int(piece.sum()) for piece in pieces]
