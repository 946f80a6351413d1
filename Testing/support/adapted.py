"""Networks with a method applied, for the tests of the methods: tiny ones to run, whole ones that only have shapes."""

import hashlib

import torch
from engine_fixtures import SMALL
from methods.claims import FULL_PARAMETERS as WHOLE
from sam2adapt import adapters
from sam2adapt.adapters.sizes import shapes_only
from sam2adapt.network.base import ImagePath
from sam2adapt.network.network import SegmentationNetwork
from torch import Tensor

__all__ = ["WHOLE", "shapes_only"]  # and what is below


def tiny_base(seed: int = 5) -> ImagePath:
    """An untrained image path of the small configuration; equal seeds give equal weights."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ImagePath(SMALL).initialise().eval()


def tiny_network(method: adapters.Method | None = None, classes: int = 4, **settings) -> SegmentationNetwork:
    """A small network with equal weights at each call, with a method applied, in evaluation mode."""
    with torch.random.fork_rng():
        torch.manual_seed(7)
        network = SegmentationNetwork(tiny_base(), classes, **settings)
        # Class maps that differ from each other, so that a difference cannot hide.
        network.head.tokens.data += 0.3 * torch.randn(network.head.tokens.shape)
        network.head.weight.data += 0.3 * torch.randn(network.head.weight.shape)
        if method is not None:
            method.apply(network)
    return network.eval()


def added(base_id: str, method: adapters.Method) -> int:
    """Number of trainable parameters that a method adds to head and PEG."""
    return trained(shapes_only(base_id, method)) - trained(shapes_only(base_id, None))


def trained(network: SegmentationNetwork) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in network.parameters() if p.requires_grad)


def images(height: int = 64, width: int = 64, batch: int = 1, seed: int = 0) -> Tensor:
    """Normalised noise (B, 3, H, W)."""
    return torch.randn(batch, 3, height, width, generator=torch.Generator().manual_seed(seed))


def assert_step_0_is_the_base(method: adapters.Method) -> None:
    """Make sure that a method changes nothing before the first step of a training."""
    x = images(96, 64)
    with torch.no_grad():
        assert torch.equal(tiny_network(method)(x), tiny_network()(x))


def frozen_hashes(network: SegmentationNetwork) -> dict[str, str]:
    """SHA-256 of every tensor of the base that is not trained."""
    trainable = {name for name, p in network.named_parameters() if p.requires_grad}
    return {
        name: hashlib.sha256(tensor.numpy().tobytes()).hexdigest()
        for name, tensor in network.state_dict().items()
        if name in network.base_names and name not in trainable
    }


def moved(network: SegmentationNetwork, amount: float = 0.1) -> SegmentationNetwork:
    """Move every trainable parameter away from where it starts, and all statistics of batch norms."""
    generator = torch.Generator().manual_seed(3)
    for parameter in network.parameters():
        if parameter.requires_grad:
            parameter.data += amount * torch.randn(parameter.shape, generator=generator)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean += 0.5 * torch.randn(module.running_mean.shape, generator=generator)
            module.running_var *= 0.3 + torch.rand(module.running_var.shape, generator=generator)
    return network


def steps(network: SegmentationNetwork, method: adapters.Method, count: int = 3, side: int = 64) -> list[float]:
    """Train on one batch of noise with the method's own losses; gives the losses."""
    from sam2adapt.training.losses import SegmentationLoss

    loss_of = SegmentationLoss(method.loss_weights())
    classes = network.head.num_classes
    targets = torch.randint(0, classes, (2, side, side), generator=torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    network.train()
    losses = []
    for step in range(count):
        logits, extras = network.forward_with_extras(images(side, side, batch=2))
        loss = loss_of(logits, targets) + method.auxiliary_loss(extras, targets, step / count)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    network.eval()
    return losses
