"""Dropout whose mask of an image depends on the image's own seed only, not on what else is computed with it.

A batch that is computed in pieces, or in several processes, is then the same as in one.
"""

import contextlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn

_generators: list[torch.Generator] = []  # of the images in work


@contextlib.contextmanager
def seeded(seeds: Sequence[int], device: torch.device) -> Iterator[None]:
    """Draw the masks of the images of a forward pass from these seeds; the same ones give the same masks."""
    with _drawing([torch.Generator(device).manual_seed(seed) for seed in seeds]):
        yield


@contextlib.contextmanager
def only(places: Sequence[int]) -> Iterator[None]:
    """Compute with some of the images only, by their places in the forward pass."""
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
    """Dropout on (B n, ...), n rows an image; outside ``seeded`` that of torch."""

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and self.p and _generators):
            return super().forward(x)
        kept = torch.empty_like(x)
        for rows, generator in zip(kept.unflatten(0, (len(_generators), -1)), _generators, strict=True):
            rows.bernoulli_(1 - self.p, generator=generator)
        return x * kept.div_(1 - self.p)
