"""Compute parameters and bytes of networks from shapes, without loading weights."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode

from .. import adapters
from ..network.base import CONFIGS, ImagePath
from ..network.network import SegmentationNetwork, parameter_counts


@dataclass(frozen=True)
class Form:
    """One form of a network: its parameters, and the bytes of all its tensors in float32."""

    parameters: int
    bytes: int


@dataclass(frozen=True)
class Sizes:
    """Sizes of a method on a base.

    :param trained: trainable parameters.
    :param training: the training form; ``exported``: the form that segments, merged and fused.
    :param file_bytes: bytes of the tensors in the model file, which holds the trained ones.
    """

    trained: int
    training: Form
    exported: Form
    file_bytes: int


def measure(
    base_id: str,
    method: adapters.Method,
    classes: int = 4,
    inspect: Callable[[SegmentationNetwork], None] | None = None,
    **settings,
) -> Sizes:
    """Measure a method on a base.

    :param classes: K, background included; ``settings``: those of ``SegmentationNetwork``.
    :param inspect: called with the exported network, which can be called, but whose tensors have only shapes.
    """
    network = shapes_only(base_id, method, classes, **settings)
    training, trained = _form(network), parameter_counts(network)["trained"]
    file_bytes = sum(4 * tensor.numel() for tensor in network.trained_state().values())
    with FakeTensorMode(allow_non_fake_inputs=True):
        # From the meta device to the CPU, still as fake tensors, because some operators exist only on real devices.
        network.to_empty(device="cpu").eval()
        method.export(network)
        exported = _form(network)
        if inspect:
            inspect(network)
    return Sizes(trained, training, exported, file_bytes)


def shapes_only(base_id: str, method: adapters.Method | None, classes: int = 4, **settings) -> SegmentationNetwork:
    """Build a network on the meta device, where tensors have shapes but no memory; ``method`` None: no method."""
    with torch.device("meta"), _RealLinspace():
        network = SegmentationNetwork(ImagePath(CONFIGS[base_id]), classes, **settings)
        if method is not None:
            method.apply(network)
    return network


class _RealLinspace(TorchFunctionMode):
    """Lets ``torch.linspace`` return numbers even on the meta device, because Hiera reads its drop rates from one."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        named = kwargs or {}
        return function(*args, **(named | {"device": "cpu"} if function is torch.linspace else named))


def _form(network: nn.Module) -> Form:
    tensors = network.state_dict().values()
    return Form(parameter_counts(network)["total"], sum(4 * tensor.numel() for tensor in tensors))
