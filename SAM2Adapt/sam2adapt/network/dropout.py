"""Dropout whose mask depends on a seed for each image, not on the other images of the batch.

So the masks are the same if a batch is computed at once, in pieces, or by several processes.
"""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

_generators: list[torch.Generator] = []  # of the images of the current forward pass


@contextlib.contextmanager
def seeded(seeds: Sequence[int], device: torch.device) -> Iterator[None]:
    """Draw the masks in the block from these seeds, one for each image. Equal seeds give equal masks."""
    with _drawing([torch.Generator(device).manual_seed(seed) for seed in seeds]):
        yield


@contextlib.contextmanager
def only(places: Sequence[int]) -> Iterator[None]:
    """Compute only some images in the block, given by their indices in the batch."""
    with _drawing([_generators[place] for place in places] if _generators else []):
        yield


@contextlib.contextmanager
def _drawing(generators: list[torch.Generator]) -> Iterator[None]:
    former = _generators[:]
    _generators[:] = generators
    try:
        yield
    finally:
        _generators[:] = former


class ImageDropout(nn.Dropout):
    """Dropout on (B n, ...), n rows for each image; outside ``seeded`` it is torch's dropout."""

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.p and _generators):
            return super().forward(x)
        kept = torch.empty_like(x)
        for rows, generator in zip(kept.unflatten(0, (len(_generators), -1)), _generators, strict=True):
            rows.bernoulli_(1 - self.p, generator=generator)
        return x * kept.div_(1 - self.p)
