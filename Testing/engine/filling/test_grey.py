"""Grey levels are scaled alike whatever a scanner pads its images with."""

import numpy as np
import pytest
from sam2adapt.filling.grey import features_across, scale_grey


@pytest.fixture
def body() -> np.ndarray:
    """(6, 40, 40) like a CT: air at -1000, tissue round 50."""
    random = np.random.default_rng(0)
    images = random.normal(-1000, 10, (6, 40, 40))
    images[:, 10:30, 10:30] = random.normal(50, 40, (6, 20, 20))
    return images.astype(np.float32)


@pytest.fixture
def outside() -> np.ndarray:
    """(6, 40, 40) bool, what lies round the circle that a scanner sees."""
    rows, columns = np.ogrid[:40, :40]
    return np.broadcast_to((rows - 19.5) ** 2 + (columns - 19.5) ** 2 > 400, (6, 40, 40))


@pytest.mark.parametrize("padding", [-2000, -3024, -32768])
def test_padding_does_not_squeeze_what_lies_inside(body, outside, padding):
    padded = scale_grey(np.where(outside, np.float32(padding), body))
    assert padded[~outside] == pytest.approx(scale_grey(body)[~outside], abs=0.05)
    assert (padded[outside] == -2).all()


def test_grey_levels_without_padding_span_the_first_to_the_last_percent(body):
    low, high = np.percentile(body, [1, 99])
    assert scale_grey(body) == pytest.approx(np.clip((body - low) / (high - low) * 2 - 1, -2, 2), abs=1e-4)


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_image_of_two_values_keeps_both(share):
    images = np.zeros((4, 10, 10), np.float32)
    images.reshape(4, -1)[:, : round(100 * share)] = 100
    assert np.unique(scale_grey(images)).tolist() == [-1, 1]


@pytest.mark.parametrize("step, seen", [(1.0, True), (10.0, False)])
def test_gaussians_across_reach_into_slices_that_are_near(step, seen):
    images = np.zeros((9, 20, 20), np.float32)
    images[5] = 1.0
    fine, coarse = features_across(images, 4, step)[3:]
    assert (coarse > 0.1).all() == (fine > 0.1).all() == seen
    assert features_across(images, 5, step)[3:].min() > (0.1 if seen else 0.99)
    assert features_across(images, 0, step)[:2].max() == 0  # beyond the first slice lies the first
