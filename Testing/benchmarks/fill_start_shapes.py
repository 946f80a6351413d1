"""Structures and volumes that are made up for the start of filling: some by grey levels, some by shape."""

from pathlib import Path

import numpy as np
from fill_cases import FillCase
from sam2adapt.imaging.volume import Volume, read_volume
from scipy import ndimage
from skimage.segmentation import watershed

_LARGEST = 180  # voxels a side in training


def coarser(case: FillCase) -> FillCase:
    """The same with fewer voxels in its slices, as a filling of a large volume sees it."""
    factor = -(-max(case.truth.shape[1:]) // _LARGEST)
    if factor == 1:
        return case
    grey = ndimage.uniform_filter(case.volume.array[0].astype(np.float32), (1, factor, factor))
    grey = grey[None, :, ::factor, ::factor]
    spacing = case.volume.spacing * np.array([factor, factor, 1])
    volume = Volume(np.ascontiguousarray(grey), case.volume.origin, spacing, case.volume.direction, case.volume.name)
    return FillCase(case.set, case.name, volume, np.ascontiguousarray(case.truth[:, ::factor, ::factor]))


def longer_ct(data: Path) -> FillCase:
    """The whole CT of which ``ts_ct_3mm`` is a part; it has no labels."""
    volume = read_volume(data / "ct_sample" / "ts_ct_3mm" / "image_full_unlabelled.nii.gz")
    return FillCase("ts_ct_3mm", "longer", volume, np.zeros(volume.array.shape[1:], np.uint8))


def made_up_structures(case: FillCase, random: np.random.Generator) -> FillCase:
    """Structures of a real image that grey levels decide: between thresholds, or up to the edges around random points.

    This is how tools that grow and threshold make them.
    """
    grey = case.volume.array[0].astype(np.float32)
    sharp = random.random() < 0.5  # each voxel by its own grey level
    smooth = grey if sharp else ndimage.gaussian_filter(grey, random.choice([0.5, 0.8, 1.2]))
    if random.random() < 0.5:
        limits = np.sort(np.percentile(smooth, random.uniform(15, 97, random.integers(1, 4))))
        classes = np.digitize(smooth, limits)
        classes = classes if sharp else ndimage.median_filter(classes, 3)
        masks = [piece for value in range(len(limits) + 1) for piece in _largest_pieces(classes == value, 2)]
    else:
        edges = ndimage.gaussian_gradient_magnitude(grey, 0.5 if sharp else 1.0)
        markers = np.zeros(grey.shape, np.int32)
        count = random.integers(15, 60)
        markers[tuple(random.integers(0, n, count) for n in grey.shape)] = np.arange(1, count + 1)
        regions = watershed(edges, markers)
        masks = [regions == value for value in np.unique(regions)]
    masks = [mask for mask in masks if 0.001 < mask.mean() < 0.4]
    truth = np.zeros(grey.shape, np.uint8)
    for number, place in enumerate(random.permutation(len(masks))[:6], start=1):
        truth[masks[place]] = number
    return FillCase(case.set, "made-up", case.volume, truth)


def _largest_pieces(mask: np.ndarray, count: int) -> list[np.ndarray]:
    pieces, found = ndimage.label(mask)
    sizes = np.bincount(pieces.ravel())[1:]
    return [pieces == value + 1 for value in np.argsort(sizes)[::-1][:count]] if found else []


def made_up_volume(random: np.random.Generator) -> FillCase:
    """Smooth structures in a noisy image, some of which no grey level tells from what is around them.

    Outlines differ a little from slice to slice, as those of a hand do.
    """
    shape = (int(random.integers(16, 40)), int(random.integers(48, 88)), int(random.integers(48, 88)))
    thickness = float(random.choice([1, 1, 2, 4]))
    scale = np.array([1 / thickness, 1, 1])
    around = np.digitize(_field(shape, random.uniform(3, 10) * scale, random), np.sort(random.normal(0, 0.8, 3)))
    grey = random.normal(0, 1, 4)[around]
    truth = np.zeros(shape, np.uint8)
    hand = random.uniform(0, 1.0)
    for value in range(1, random.integers(2, 5)):
        centre = np.array(shape) * random.uniform(0.3, 0.7, 3)
        radius = np.array(
            [random.uniform(0.25, 0.6) * shape[0], *(random.uniform(0.08, 0.3) * min(shape[1:]) for _ in "yx")]
        )
        place = (np.indices(shape) - centre[:, None, None, None]) / radius[:, None, None, None]
        lean = random.normal(0, 0.4, 2)
        place[1:] += lean[:, None, None, None] * place[0]
        distance = (1 - np.sqrt((place**2).sum(0))) * radius[1:].min()
        distance += random.uniform(0.5, 3) * _field(shape, random.uniform(2.5, 8) * scale, random)
        distance += hand * _field(shape, np.array([0, 2.5, 2.5]), random)
        mask = (distance > 0) & (truth == 0)
        truth[mask] = value
        grey = np.where(
            mask, random.choice([0.3, 0.7, 1.0]) * random.normal() + random.choice([0, 0.3, 1]) * grey, grey
        )
    grey = ndimage.gaussian_filter(grey, np.array([0.3, 0.7, 0.7]) * random.uniform(0.5, 1.5))
    grey += random.uniform(0, 0.5) * _field(shape, 15 * scale, random) + random.uniform(0.02, 0.35) * random.normal(
        size=shape
    )
    volume = Volume(grey[None].astype(np.float32), np.zeros(3), np.array([1, 1, thickness]), np.eye(3), "made up")
    return FillCase("shapes", "made-up", volume, truth)


def _field(shape: tuple[int, ...], width: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A smooth random field of mean 0 and deviation 1."""
    field = ndimage.gaussian_filter(random.normal(size=shape), width, mode="wrap")
    return (field - field.mean()) / field.std()
