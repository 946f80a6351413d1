"""Sizes of networks that have shapes but no numbers: parameters, bytes and multiplications, without weights or time."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torchvision  # noqa: F401  its operators are counted below
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from .. import adapters
from ..network.base import CONFIGS, ImagePath
from ..network.network import SegmentationNetwork, parameter_counts

_SAMPLING = 5  # multiplications of a deformable convolution's sample: four neighbours and the weight of the point


@dataclass(frozen=True)
class Form:
    """One form of a network: its parameters, and the bytes of all its tensors in float32."""

    parameters: int
    bytes: int


@dataclass(frozen=True)
class Cost:
    """Thousand million multiplications and additions of one image: all, and without the products inside attentions."""

    gmac: float
    gmac_without_attention: float


@dataclass(frozen=True)
class Sizes:
    """Sizes of a method on a base.

    :param trained: trainable parameters.
    :param training: the network as it is trained; ``exported``: as it segments, merged and fused.
    :param file_bytes: of the tensors in the model file, which holds what was trained.
    :param costs: of the exported form, by side of a square image in pixels.
    """

    trained: int
    training: Form
    exported: Form
    file_bytes: int
    costs: dict[int, Cost] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All numbers, as JSON can hold them."""
        return asdict(self)


def measure(
    base_id: str, method: adapters.Method, classes: int = 4, image_sizes: Iterable[int] = (), **settings
) -> Sizes:
    """Measure a method on a base.

    :param classes: K, background included; ``settings``: those of ``SegmentationNetwork``.
    :param image_sizes: sides of square images, pixels, for the costs.
    """
    network = shapes_only(base_id, method, classes, **settings)
    training, trained = _form(network), parameter_counts(network)["trained"]
    file_bytes = sum(4 * tensor.numel() for tensor in network.trained_state().values())
    with FakeTensorMode(allow_non_fake_inputs=True):
        # From the meta device to the CPU, as fake tensors still: some operators exist on real devices only.
        network.to_empty(device="cpu").eval()
        method.export(network)
        exported = _form(network)
        costs = {side: _cost(network, side) for side in image_sizes}
    return Sizes(trained, training, exported, file_bytes, costs)


def shapes_only(base_id: str, method: adapters.Method | None, classes: int = 4, **settings) -> SegmentationNetwork:
    """Build a network on the meta device, where tensors have shapes but no memory; None: without any method."""
    with torch.device("meta"), _RealLinspace():
        network = SegmentationNetwork(ImagePath(CONFIGS[base_id]), classes, **settings)
        if method is not None:
            method.apply(network)
    return network


class _RealLinspace(TorchFunctionMode):
    """Lets ``torch.linspace`` make numbers on the meta device as well: Hiera reads its drop rates back from one."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        named = kwargs or {}
        return function(*args, **(named | {"device": "cpu"} if function is torch.linspace else named))


def _form(network: nn.Module) -> Form:
    tensors = network.state_dict().values()
    return Form(parameter_counts(network)["total"], sum(4 * tensor.numel() for tensor in tensors))


def _attention_flops(query, key, value, *args, out_shape=None, **named) -> int:
    return sdpa_flop_count(query, key, value)


def _deformable_flops(images, weight, *args, out_shape=None, **named) -> int:
    """Twice the multiplications of a deformable convolution: those of its kernel, and of the samples that it takes."""
    batch, outputs, height, width = out_shape
    points = weight[2] * weight[3]
    return 2 * batch * height * width * points * (outputs * weight[1] + _SAMPLING * images[1])


def _bag_flops(weight, indices, *args, out_shape=None, **named) -> int:
    """Twice the multiplications of sums of rows: in the form that predicts, the samples of a deformable convolution."""
    return 2 * math.prod(indices) * weight[1]


# What torch's counter has no formula for: attention on the CPU, torchvision's operator, and sums of rows.
_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_FORMULAS = {
    _ATTENTION: _attention_flops,
    torch.ops.torchvision.deform_conv2d: _deformable_flops,
    torch.ops.aten._embedding_bag_forward_only: _bag_flops,
}


def _cost(network: SegmentationNetwork, side: int) -> Cost:
    return count(lambda: network(torch.empty(1, 3, side, side)))


def count(call: Callable[[], object]) -> Cost:
    """Count what a call of networks multiplies and adds."""
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        call()
    inside = counter.get_flop_counts()["Global"].get(_ATTENTION, 0)
    return Cost(counter.get_total_flops() / 2e9, (counter.get_total_flops() - inside) / 2e9)
