"""Distillation without labels: a changed mask-decoder transformer learns the output of the pretrained one.

BALR-SAM's paper has no distillation; steps, rate, batches and the relative squared error are ours (models.md 4).
"""

import logging
from collections.abc import Callable, Iterable
from itertools import islice

import torch
from sam2.modeling.sam.transformer import TwoWayTransformer
from torch import Tensor, nn
from torch.nn import functional as F

from ..network.network import SegmentationNetwork

logger = logging.getLogger(__name__)

_BATCHES = 16  # whose encoded features are kept, so that the frozen encoder runs only once for each
_LEARNING_RATE = 1e-3


def distil_decoder(
    network: SegmentationNetwork,
    teacher: TwoWayTransformer,
    students: list[nn.Module],
    batches: Iterable[Tensor],
    steps: int,
    keep_on: Callable[[float], bool],
) -> tuple[float, float]:
    """Train modules of the network's mask-decoder transformer towards the teacher's output tokens and features.

    The error is the mean squared difference, divided by the variance of the teacher's outputs, so that tokens and
    features of any scale weigh the same.

    :param students: the modules to train; all others stay as they are.
    :param batches: normalised images (B, 3, H, W) on the network's device.
    :param keep_on: called after every step with the share that is done; if it returns false, the distillation ends.
    :return: mean error over all kept batches before and after.
    """
    training = network.training
    network.eval()
    transformer = network.base.sam_mask_decoder.transformer
    with torch.no_grad():
        examples = [_example(network, teacher, images) for images in islice(batches, _BATCHES)]
    before = _mean_error(transformer, examples)
    parameters = [parameter for module in students for parameter in module.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=_LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps))
    for step in range(steps if examples else 0):
        _set_gradients(parameters, transformer, *examples[step % len(examples)])
        optimizer.step()
        schedule.step()
        if not keep_on((step + 1) / steps):
            break
    for parameter in parameters:
        parameter.grad = None
    after = _mean_error(transformer, examples)
    network.train(training)
    logger.info("Distillation: relative squared error %.4f, before %.4f", after, before)
    return before, after


def _example(network: SegmentationNetwork, teacher: TwoWayTransformer, images: Tensor) -> tuple[tuple, tuple]:
    """Inputs of the transformer for these images, and the teacher's outputs for them."""
    caught = []
    transformer = network.base.sam_mask_decoder.transformer
    with transformer.register_forward_pre_hook(lambda module, args: caught.append(args)):
        network(images)
    (inputs,) = caught
    return inputs, teacher(*inputs)


def _set_gradients(parameters: list[nn.Parameter], transformer: TwoWayTransformer, inputs: tuple, targets: tuple):
    """Set the gradients of these parameters only; ``backward`` would also compute those of all others."""
    gradients = torch.autograd.grad(_error(transformer(*inputs), targets), parameters)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient


def _error(outputs: tuple[Tensor, Tensor], targets: tuple[Tensor, Tensor]) -> Tensor:
    return sum(F.mse_loss(a, b) / b.var().clamp(min=1e-6) for a, b in zip(outputs, targets, strict=True)) / len(targets)


@torch.no_grad()
def _mean_error(transformer: TwoWayTransformer, examples: list[tuple[tuple, tuple]]) -> float:
    errors = [_error(transformer(*inputs), targets).item() for inputs, targets in examples]
    return sum(errors) / len(errors) if errors else 0.0
