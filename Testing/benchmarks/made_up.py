"""Made-up slices, and random contrast for real ones: what a base learns shapes from, whatever their grey levels.

As SynthSeg (arXiv 2107.09559) and SynthMorph (2004.10282) do, label maps become images by random numbers alone: each
region gets a grey level and a texture, then come blur, an uneven field and noise. Theirs are anatomical, or shapes
without a name; ours are shapes that can be told from each other, so that one head can learn them.
"""

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

KINDS = ("oval", "wall of a ring", "inside of a ring", "crescent", "row of blocks", "line")
SIDE = 128
_SLICES = np.array([-1.0, 0.0, 1.0])[:, None, None]  # the one before, the one that is labelled, the one after
_LEAST = 0.15  # difference of a shape's grey level from that of the region it was drawn over, in most cases


def random_contrast(image: Tensor, random: np.random.Generator) -> Tensor:
    """An image (3, H, W) in 0..1 with other grey levels: a random curve of them, often not monotonic."""
    values = random.uniform(size=random.integers(3, 7))
    values = (values - values.min()) / np.ptp(values)
    return _with_artefacts(np.interp(image.numpy(), np.linspace(0, 1, len(values)), values), random)


def made_up_slice(random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """An image (3, SIDE, SIDE) in 0..1 of a slice and its neighbours, and its target (SIDE, SIDE): 1 + place in KINDS.

    Two to five shapes lie on a patchwork, some in part below others.
    """
    limits = np.sort(random.normal(0, 0.7, random.integers(1, 5)))
    patchwork = _smooth(random, random.integers(3, 9)) + 0.15 * _SLICES * _smooth(random, 4)
    regions, target = np.digitize(patchwork, limits), np.zeros((3, SIDE, SIDE), np.uint8)
    levels = [*random.uniform(size=len(limits) + 1)]
    for kind in random.choice(["oval", "ring", "crescent", "blocks", "lines"], random.integers(2, 6)):
        for value, mask in _shape(kind, random):
            below = levels[np.bincount(regions[mask]).argmax()] if mask.any() else 0.0
            level = random.uniform()
            if abs(level - below) < _LEAST and random.random() < 0.8:
                level = (below + 0.5 + random.uniform(-0.3, 0.3)) % 1
            regions[mask], target[mask] = len(levels), value
            levels.append(level)
    count = len(levels)
    texture = np.stack([_smooth(random, cells) for cells in random.integers(16, SIDE, 2)])
    rough, which = random.uniform(0, 0.12, count) * random.integers(0, 2, count), random.integers(0, 2, count)
    grey = np.array(levels)[regions] + rough[regions] * np.where(which[regions], texture[1], texture[0])
    grey = ndimage.gaussian_filter(grey, (0, *[random.uniform(0.3, 1.2)] * 2))
    return _with_artefacts(grey, random), torch.from_numpy(target[1])


def _shape(kind: str, random: np.random.Generator) -> list[tuple[int, np.ndarray]]:
    """Target values and masks (3, SIDE, SIDE) of the parts of a shape."""
    if kind == "lines":
        mask = np.zeros((3, SIDE, SIDE), bool)
        width = random.uniform(0.8, 2.5)
        for _ in range(random.integers(1, 5)):
            along, across = _place(random, 1.0)
            bend, waves = random.uniform(0, 15), random.uniform(0.02, 0.1)
            mask |= np.abs(across + bend * np.sin(waves * along)) < width
        return [(_value("line"), mask)]
    radius = random.uniform(0.08, 0.3) * SIDE
    along, across = _place(random, radius)
    across = across * random.uniform(1.0, 1.8)
    distance = np.hypot(along, across)
    if kind == "oval":
        return [(_value("oval"), distance < 1)]
    if kind == "ring":
        inside = distance < random.uniform(0.45, 0.8)
        return [(_value("wall of a ring"), (distance < 1) & ~inside), (_value("inside of a ring"), inside)]
    if kind == "crescent":
        bite = np.hypot(along, across - random.uniform(0.5, 0.9)) < random.uniform(0.8, 1.0)
        return [(_value("crescent"), (distance < 1) & ~bite)]
    period, bend = random.uniform(0.4, 0.9), random.uniform(-0.2, 0.2)
    block = (along / period) % 1 < random.uniform(0.55, 0.8)
    in_row = (np.abs(along) < random.uniform(1.2, 3)) & (np.abs(across + bend * along**2) < random.uniform(0.25, 0.6))
    return [(_value("row of blocks"), block & in_row)]


def _value(name: str) -> int:
    return 1 + KINDS.index(name)


def _place(random: np.random.Generator, radius: float) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates (3, SIDE, SIDE) along and across a shape at a random place, in its radius, a little uneven.

    In the neighbouring slices it is larger or smaller, and lies beside.
    """
    rows, columns = np.mgrid[:SIDE, :SIDE] - random.uniform(0.15, 0.85, 2)[:, None, None] * SIDE
    angle, uneven = random.uniform(0, 2 * np.pi), random.uniform(0, 0.15)
    cells, grows = random.integers(3, 8), 1 + random.normal(0, 0.06) * _SLICES

    def in_radius(pixels: np.ndarray) -> np.ndarray:
        return (pixels / radius + uneven * _smooth(random, cells)) * grows + random.normal(0, 0.06) * _SLICES

    along = in_radius(np.cos(angle) * rows + np.sin(angle) * columns)
    return along, in_radius(np.cos(angle) * columns - np.sin(angle) * rows)


def _smooth(random: np.random.Generator, cells: int, shape: tuple[int, int] = (SIDE, SIDE)) -> np.ndarray:
    """A random field of about deviation 1 that is smooth between so many cells a side."""
    coarse = torch.from_numpy(random.normal(size=(1, 1, cells, cells)).astype(np.float32))
    return F.interpolate(coarse, shape, mode="bicubic", align_corners=True)[0, 0].numpy()


def _with_artefacts(grey: np.ndarray, random: np.random.Generator) -> Tensor:
    """Grey levels (3, H, W) with an uneven field and noise, cut to 0..1."""
    grey = grey * np.exp(random.uniform(0, 0.4) * _smooth(random, 3, grey.shape[1:]))
    grey = grey + random.uniform(0, 0.08) * random.normal(size=grey.shape)
    return torch.from_numpy(grey.clip(0, 1).astype(np.float32))
