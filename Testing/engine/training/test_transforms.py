"""Augmentation of colour: photographs change their balance, neighbouring slices stay alike."""

import numpy as np
import torch
from sam2adapt.training.prepare import PreparedCase
from sam2adapt.training.samples import AugmentedSlices
from sam2adapt.training.settings import TrainSettings


def balances(channels: int) -> torch.Tensor:
    """How far the first two channels of uniform slices are from each other after augmentation, for 24 samples."""
    grey = np.full((4, channels, 48, 48), 0.5, np.float16)
    target = np.zeros((4, 48, 48), np.uint8)
    target[:, 8:40, 8:40] = 1
    case = PreparedCase("a", grey, target, [0, 1, 2, 3], [0, 1, 2, 3])
    settings = TrainSettings(rotation=0.0, scale=0.0)
    drawn = AugmentedSlices([case], (32, 32), 1, settings).samples(1)
    middles = torch.stack([drawn[index][0][:, 8:24, 8:24].mean(dim=(1, 2)) for index in range(24)])
    return (middles[:, 0] - middles[:, 1]).abs()


def test_colours_change_by_themselves_and_slices_do_not():
    assert (balances(3) > 0.02).sum() >= 6
    assert balances(1).max() < 0.01, "only noise tells the neighbours of equal slices apart"


def test_colour_of_a_sample_can_be_drawn_again():
    assert torch.equal(balances(3), balances(3))
