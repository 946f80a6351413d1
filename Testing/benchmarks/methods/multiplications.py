"""Multiplications of networks that have shapes but no numbers, of each method on each base."""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
import torchvision  # noqa: F401  its operators are counted below
from sam2adapt.adapters import Method, sizes
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

_SAMPLING = 5  # multiplications of a deformable convolution's sample: four neighbours and the weight of the point


@dataclass(frozen=True)
class Cost:
    """Thousand million multiplications and additions of one image: all, and without the products inside attentions."""

    gmac: float
    gmac_without_attention: float


@dataclass(frozen=True)
class MeasuredMethod(sizes.Sizes):
    """Sizes of a method on a base, and its costs in the exported form by side of a square image in pixels."""

    costs: dict[int, Cost] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """All numbers, as JSON can hold them."""
        return asdict(self)


def measure(base: str, method: Method, classes: int = 4, image_sizes: Iterable[int] = (), **settings) -> MeasuredMethod:
    """Measure a method on a base.

    :param classes: K, background included; ``settings``: those of ``SegmentationNetwork``.
    :param image_sizes: sides of square images, pixels, for the costs.
    """
    costs: dict[int, Cost] = {}

    def note(network: torch.nn.Module) -> None:
        for side in image_sizes:
            costs[side] = count(lambda side=side: network(torch.empty(1, 3, side, side)))

    return MeasuredMethod(**vars(sizes.measure(base, method, classes, note, **settings)), costs=costs)


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


def count(call: Callable[[], object]) -> Cost:
    """Count what a call of networks multiplies and adds."""
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=_FORMULAS) as counter:
        call()
    inside = counter.get_flop_counts()["Global"].get(_ATTENTION, 0)
    return Cost(counter.get_total_flops() / 2e9, (counter.get_total_flops() - inside) / 2e9)
