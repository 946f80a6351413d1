"""Our networks as the benchmark measures them: every method on a base, as it is trained and as it segments."""

import torch
from sam2adapt import adapters
from sam2adapt.network.base import BaseConfig
from sam2adapt.network.network import SegmentationNetwork
from sam2adapt.network.predicting.network import InferenceNetwork
from sam2adapt.network.weights import random_base
from sam2adapt.segmenting.model import exported

CLASSES = 4
BARE = "bare"  # base and class head, nothing else: what the cost of adapters is a share of
FORMS = ("training", "exported")


def variants() -> list[tuple[str, str]]:
    """Every (variant, form): the bare base, and each method in both forms."""
    return [(BARE, "exported"), *((method, form) for method in adapters.METHODS for form in FORMS)]


def build(base: str, variant: str, form: str, classes: int = CLASSES) -> SegmentationNetwork | InferenceNetwork:
    """Make a network with random weights, always the same, in evaluation mode.

    :param base: ``nano`` or ``tiny``; its layout is the official one.
    :param variant: ``BARE`` or a method; ``form``: of ``FORMS``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        path, _ = random_base(base)
        network = SegmentationNetwork(path, classes, peg="none" if variant == BARE else "add")
        method = None if variant == BARE else adapters.create(variant)
        if method:
            method.apply(network)
        _move(network)
    if form == "training":
        return network.eval().requires_grad_(False)
    return exported(network, method) if method else InferenceNetwork(network.eval())


def _move(network: SegmentationNetwork) -> None:
    """Move what a method adds away from its start, where much of it is zero and adds nothing."""
    for name, parameter in network.named_parameters():
        if name not in network.base_names:
            parameter.data += 0.02 * torch.randn_like(parameter)


def fitting_side(config: BaseConfig, side: int) -> bool:
    """Tell whether squares of this side are measured with a base: 224 only where its windows are made for it."""
    return side != 224 or config.window_multiple == 224
