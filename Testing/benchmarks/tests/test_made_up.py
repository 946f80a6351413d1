"""Made-up slices and random contrast, from which a base learns shapes."""

import numpy as np
import pytest
import torch
from made_up import KINDS, SIDE, made_up_slice, random_contrast

pytest.importorskip("dynamic_network_architectures")

from pretrain_data import MadeUp, Steps


def slices(count: int) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Made-up slices of the first seeds."""
    return [made_up_slice(np.random.default_rng(seed)) for seed in range(count)]


def test_made_up_slices_show_every_kind_of_shape_in_any_grey():
    made = slices(40)
    for image, target in made:
        assert image.shape == (3, SIDE, SIDE) and image.dtype == torch.float32
        assert target.shape == (SIDE, SIDE) and target.dtype == torch.uint8
        assert 0 <= image.min() and image.max() <= 1
    for value in range(1, len(KINDS) + 1):
        levels = [image[1][target == value].mean().item() for image, target in made if (target == value).sum() > 50]
        assert len(levels) > 5 and np.ptp(levels) > 0.5, "no grey level stands for a shape"


def test_shapes_can_be_seen():
    """The outlines of a target lie where the grey levels change, far more than elsewhere."""
    changes = []
    for image, target in slices(10):
        steps = (image[1][:, 1:] - image[1][:, :-1]).abs()
        outline = target[:, 1:] != target[:, :-1]
        changes.append((steps[outline].mean() / steps[~outline].mean()).item())
    assert np.mean(changes) > 2


def test_neighbouring_slices_are_alike_and_not_the_same():
    alike = []
    for image, _ in slices(10):
        before, here, after = image
        assert not torch.equal(before, after)
        alike.append(torch.corrcoef(torch.stack([before.flatten(), here.flatten()]))[0, 1].item())
    assert np.mean(alike) > 0.5


def test_random_contrast_keeps_outlines_and_reverses_grey_levels_at_times():
    ramp = torch.linspace(0, 1, 64).expand(3, 64, 64)
    slopes = []
    for seed in range(20):
        changed = random_contrast(ramp, np.random.default_rng(seed))
        assert changed.shape == ramp.shape and changed.dtype == torch.float32
        assert 0 <= changed.min() and changed.max() <= 1
        slopes.append((changed[0, :, 48:].mean() - changed[0, :, :16].mean()).item())
    assert min(slopes) < -0.2 and max(slopes) > 0.2


def test_batches_follow_from_seed_and_step():
    steps = Steps([MadeUp([0, *range(5, 11)], 1.0)], 3, 0)
    number, images, targets = steps[7]
    assert number == 0 and images.shape == (3, 3, SIDE, SIDE) and targets.shape == (3, SIDE, SIDE)
    assert torch.equal(images, steps[7][1]) and torch.equal(targets, steps[7][2])
    assert not torch.equal(images, steps[8][1])
    assert not torch.equal(images, Steps(steps.parts, 3, 1)[7][1])
