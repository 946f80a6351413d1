"""Grey-level features of pixels: the image and its neighbours at several scales, edges, texture and place."""

import math

import numpy as np
from scipy import ndimage

_ACROSS = (1, 2)  # pixels: of Gaussians that reach into the slices around
_PADDING_GAP = 0.5  # of the range of all else: a least value that lies farther below it is no grey level


def scale_grey(images: np.ndarray) -> np.ndarray:
    """Grey levels as float32, the first and last percent at -1 and 1, clipped at -2 and 2.

    Padding, such as the -3024 round the circle that a CT scanner sees, is left out of the percents: it would squeeze
    everything else into what remains.
    """
    sample = images[:: max(1, len(images) // 32)]
    low, high = map(float, np.percentile(sample, [1, 99]))
    inner = sample[sample > sample.min()]
    if inner.size > sample.size / 2:  # otherwise it is the background
        inner_low, inner_high = map(float, np.percentile(inner, [1, 99]))
        if inner_low - low > _PADDING_GAP * (inner_high - inner_low) > 0:
            low, high = inner_low, inner_high
    scaled = images.astype(np.float32)  # one copy, then in place: a CT has tens of millions of voxels
    scaled -= low
    scaled /= max(high - low, 1e-6)
    scaled *= 2
    scaled -= 1
    return np.clip(scaled, -2, 2, out=scaled)


def pixel_features(images: np.ndarray, index: int) -> np.ndarray:
    """Features (20, H, W) of one slice of a stack (N, H, W)."""
    image = images[index]
    below, above = images[max(index - 1, 0)], images[min(index + 1, len(images) - 1)]
    fine, medium, coarse, coarsest = (_smooth(image, sigma) for sigma in (1, 2, 4, 8))
    mean = ndimage.uniform_filter(image, 5)
    texture = np.sqrt(np.maximum(ndimage.uniform_filter(image**2, 5) - mean**2, 0))
    rows, columns = (np.linspace(-1, 1, n, dtype=np.float32) for n in image.shape)
    features = [
        image, below, above, fine, _smooth(below, 1), _smooth(above, 1), medium, coarse, coarsest,
        _gradient(fine), _gradient(medium), fine - medium, medium - coarse,
        ndimage.laplace(fine), ndimage.laplace(medium), texture,
        ndimage.maximum_filter(image, 5), ndimage.minimum_filter(image, 5),
        np.broadcast_to(rows[:, None], image.shape), np.broadcast_to(columns, image.shape),
    ]  # fmt: skip
    return np.stack(features).astype(np.float32)


def features_across(images: np.ndarray, index: int, step: float) -> np.ndarray:
    """Features (5, H, W) of how a slice of a stack (N, H, W) goes on in those around it.

    :param step: distance of the slices in pixels: the farther they are, the less they have in common.
    """
    places = np.clip(np.arange(index - 2, index + 3), 0, len(images) - 1)
    features = [images[places[0]], images[places[-1]], _smooth(images[places[3]] - images[places[1]], 1)]
    for sigma in _ACROSS:
        reach = math.ceil(2 * sigma / step)
        away = np.arange(-reach, reach + 1)
        weights = np.exp(-0.5 * (away * step / sigma) ** 2)
        around = images[np.clip(index + away, 0, len(images) - 1)]
        features.append(_smooth(np.tensordot((weights / weights.sum()).astype(np.float32), around, 1), sigma))
    return np.stack(features).astype(np.float32)


def edges_of(image: np.ndarray) -> np.ndarray:
    """The gradient (H, W) of a slightly smoothed slice, in grey levels a pixel."""
    return _gradient(_smooth(image, 1))


def _smooth(image: np.ndarray, sigma: float) -> np.ndarray:
    return ndimage.gaussian_filter(image, sigma, truncate=3)


def _gradient(image: np.ndarray) -> np.ndarray:
    return np.hypot(np.gradient(image, axis=0), np.gradient(image, axis=1))
