"""One step of the optimiser: the gradients of a batch, even if memory does not hold all of it at once."""

import math
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from ..adapters import Method
from ..machine import exchange
from ..machine.device import autocast, autocast_dtype, is_out_of_memory, release_memory
from ..network import dropout
from ..network.network import Prompts, SegmentationNetwork
from ..shared.errors import DeviceError
from .features import is_encoder_side
from .losses import SegmentationLoss
from .settings import TrainSettings

_FEW_PIXELS = 256 * 256  # up to this size of a crop, the scores of all attentions take little memory

Outputs = dict[str, Tensor]
Forward = Callable[[Sequence[Tensor], Sequence[Prompts] | None], Outputs]


class Source(Protocol):
    """The input of steps: augmented slices, or features that the encoder computed from them."""

    def forward(
        self, network: SegmentationNetwork, inputs: Sequence[Tensor], prompts: Sequence[Prompts] | None
    ) -> tuple[Tensor, Outputs]:
        """Logits of a batch, and the input of auxiliary losses."""


class Diverged(Exception):
    """The loss or a gradient is no longer a number."""


class TrainingStep:
    """Takes steps of AdamW on batches, of which each process holds its shard.

    If memory runs out, each batch is computed in twice as many parts from then on, with the same result.

    :param batch: number of images in a whole batch, over all processes.
    :param crop: rows and columns of the images.
    :param say: called with a sentence if memory ran out.
    :ivar parts: number of parts of each batch; ``bytes_sent``: bytes sent to other processes in the last step.
    """

    def __init__(
        self,
        network: SegmentationNetwork,
        method: Method,
        settings: TrainSettings,
        batch: int,
        crop: tuple[int, int],
        device: torch.device,
        say: Callable[[str], None],
    ):
        self.network, self.method, self.settings, self.device, self.say = network, method, settings, device, say
        self.batch, self.crop, self.parts, self.bytes_sent = batch, crop, 1, 0
        self.loss = SegmentationLoss(settings.loss or method.loss_weights())
        groups = parameter_groups(network, settings, lambda name: not (settings.quick and is_encoder_side(name)))
        self.optimizer = torch.optim.AdamW(groups, weight_decay=settings.weight_decay, fused=True)
        # Small gradients vanish in float16, but not in bfloat16.
        self.scaler = torch.amp.GradScaler(device.type, enabled=autocast_dtype(device) == torch.float16)

    @property
    def trained(self) -> int:
        """Number of parameters that are trained."""
        return sum(parameter.numel() for parameter in self.parameters)

    @property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained."""
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]

    def restore(self, optimizer: dict, scaler: dict) -> None:
        """Go on from the states of a checkpoint, with the learning rates of this run's settings."""
        initial = [group["initial"] for group in self.optimizer.param_groups]
        self.optimizer.load_state_dict(optimizer)
        for group, rate in zip(self.optimizer.param_groups, initial, strict=True):
            group["initial"] = rate
        self.scaler.load_state_dict(scaler)

    def take(
        self,
        source: Source,
        inputs: Sequence[Tensor],
        targets: Tensor,
        seeds: list[int],
        rate: float,
        fraction: float,
    ) -> float:
        """Take one step and return the loss of the whole batch.

        :param inputs: for the images of this process; ``targets``: (B, H, W); ``seeds``: for dropout and prompts.
        :param rate: factor of the learning rates.
        :param fraction: share of the run that is done; auxiliary losses may depend on it.
        :raises Diverged: the loss or a gradient is not a number; the weights have not changed.
        :raises DeviceError: memory does not hold even single images.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial"] * rate
        loss, sent = None, exchange.bytes_sent()
        while loss is None:
            loss = self.compute_gradients(source, inputs, targets, seeds, fraction)
        self.bytes_sent = exchange.bytes_sent() - sent
        self.scaler.unscale_(self.optimizer)
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self.settings.clip)
        # The scaler skips steps whose gradients overflow, as they do until it has found its scale.
        if not (self.scaler.is_enabled() or torch.isfinite(norm)):
            raise Diverged
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.item()

    def compute_gradients(
        self, source: Source, inputs: Sequence[Tensor], targets: Tensor, seeds: list[int], fraction: float
    ) -> Tensor | None:
        """Compute the gradients of a batch, the same in all processes; see ``take`` for the parameters.

        :return: the loss of the batch; None if memory ran out, so that smaller parts must be tried.
        """
        prompts = self._draw_prompts(targets, seeds)
        inputs, targets = [tensor.to(self.device) for tensor in inputs], targets.to(self.device)
        self.optimizer.zero_grad(set_to_none=True)

        def forward(inputs: Sequence[Tensor], prompts: Sequence[Prompts] | None) -> Outputs:
            *images, seeds = inputs
            with (
                autocast(self.device),
                attention_of(self.device, self.crop),
                dropout.seeded(seeds.tolist(), self.device),
            ):
                logits, extras = source.forward(self.network, images, prompts)
            return extras | {"logits": logits}

        def loss_of(outputs: Outputs) -> Tensor:
            loss = self.loss(outputs["logits"], targets) + self.method.auxiliary_loss(outputs, targets, fraction)
            if not torch.isfinite(loss):
                raise Diverged
            return loss

        try:
            sizes = piece_sizes(self.batch, self.parts)
            loss = backward(forward, loss_of, [*inputs, torch.tensor(seeds)], prompts, sizes, self.scaler.scale)
            exchange.all_reduce_gradients(self.parameters)
            return loss
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            if not isinstance(error, exchange.OutOfMemoryElsewhere):
                exchange.report_out_of_memory()
            self._take_smaller_parts(error)
        release_memory()
        return None

    def _draw_prompts(self, targets: Tensor, seeds: list[int]) -> list[Prompts] | None:
        """Prompts of the images, each from its seed; None: the method trains without prompts."""
        drawn = []
        with torch.random.fork_rng(devices=[]):
            for target, seed in zip(targets, seeds, strict=True):
                torch.manual_seed(seed)
                drawn.append(self.method.draw_prompts(target[None]))
        return None if None in drawn else [prompts for (prompts,) in drawn]

    def _take_smaller_parts(self, error: Exception) -> None:
        now, most = self._images_at_once(), self.batch // exchange.world_size()
        if self.parts == most:
            raise DeviceError(
                f"Memory ran out in the training with {'a single slice' if now == 1 else f'{now} slices'} at once.",
                "Close other programs, or train with a smaller image size or base network.",
                setting=("size", "base"),
            ) from error
        self.parts = min(2 * self.parts, most)
        self.say(
            f"Memory ran out with {now} slices at once; going on with {self._images_at_once()}, and steps of"
            f" {self.batch} as before."
        )

    def _images_at_once(self) -> int:
        """The largest number of images that a process computes at once."""
        return math.ceil(math.ceil(self.batch / self.parts) / exchange.world_size())


def schedule(fraction: float, warmup: float) -> float:
    """Factor of the learning rate at a share of the run: a linear rise, then half a cosine down to 0."""
    if fraction < warmup:
        return max(fraction / warmup, 1e-3)
    return 0.5 * (1 + math.cos(math.pi * (fraction - warmup) / (1 - warmup)))


def parameter_groups(
    network: SegmentationNetwork, settings: TrainSettings, is_trained: Callable[[str], bool]
) -> list[dict]:
    """Parameter groups: those of SAM2 get the smaller learning rate, and only matrices get weight decay.

    :param is_trained: whether to train a trainable parameter of this name.
    """
    groups = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad and is_trained(name):
            groups.setdefault((name in network.base_names, parameter.ndim > 1), []).append(parameter)
    rates = {True: settings.base_learning_rate, False: settings.learning_rate}
    decays = {True: settings.weight_decay, False: 0.0}
    return [
        {"params": parameters, "lr": rates[base], "initial": rates[base], "weight_decay": decays[matrix]}
        for (base, matrix), parameters in groups.items()
    ]


def attention_of(device: torch.device, crop: tuple[int, int]) -> AbstractContextManager:
    """Context in which attentions on CPUs are plain matrix products, if crops are small.

    PyTorch's fused attention is made for many keys; its backward pass would take a quarter of a step of ``nano``.
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
    """Add the gradients of the loss of a batch to the parameters, with one piece of the batch in memory at a time.

    The gradients of pieces cannot simply be added: the Dice terms are ratios of sums over the whole batch, so the loss
    is not a mean over images. But the chain rule can be split at the outputs (here B = 5 in pieces of 2, 2 and 1)::

        1. without gradients:  pieces (2, ...), (2, ...), (1, ...)  --forward-->  logits (2, K, H, W), …
        2. with gradients from here on only:  logits (5, K, H, W)  --loss_of-->  loss, and d loss / d logits
        3. again, piece by piece:  forward with gradients, then backward from its rows of d loss / d logits

    Step 3 adds the share of each piece and frees it before the next one, so every piece is computed twice. The result
    is the gradient of the whole batch up to rounding, with two exceptions: batch norms see single pieces, and each
    piece twice; prompts are padded to the longest of their piece.

    :param forward: returns the same outputs of a piece both times, with the same dropout.
    :param inputs: tensors (B, ...); ``prompts``: of each of the B images, or None; ``sizes``: images in each piece.
    :param scale: applied to the loss before its gradients (``GradScaler.scale``).
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
    used = {name: slope.split(sizes) for name, slope in zip(whole, slopes, strict=True) if slope is not None}
    for number, piece in enumerate(pieces):
        outputs = forward(*piece)
        torch.autograd.backward([outputs[name] for name in used], [slope[number] for slope in used.values()])
    return loss.detach()


def _pieces(inputs: Sequence[Tensor], prompts: Sequence[Prompts] | None, sizes: Sequence[int]) -> list[tuple]:
    pieces, start = [], 0
    for size in sizes:
        part = slice(start, start + size)
        pieces.append(([tensor[part] for tensor in inputs], None if prompts is None else prompts[part]))
        start += size
    return pieces


def piece_sizes(batch: int, parts: int) -> list[int]:
    """Number of images of this process in each part of a batch; every process has images in every part.

    Example: a batch of 5, 2 processes, 2 parts. The images 0 1 2 | 3 4 belong to the ranks 0 1 0 | 1 0, so rank 0 has 2
    and 1 of them, rank 1 has 1 and 1.

    :param batch: number of images in the whole batch, at least ``parts`` for each process.
    """
    pieces = np.array_split(np.arange(batch) % exchange.world_size() == exchange.rank(), parts)
    return [int(piece.sum()) for piece in pieces]
