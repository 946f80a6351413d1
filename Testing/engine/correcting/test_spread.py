"""Clicks on made-up slices: clicked pixels obey whatever picture and model say, and errors become smaller."""

import numpy as np
import pytest
from sam2adapt.correcting.neighbourhood import Slice, consistent, margin_of_mask
from sam2adapt.correcting.spread import Click, spread

SHAPE = (48, 56)


def disc(row, column, radius):
    rows, columns = np.indices(SHAPE)
    return np.hypot(rows - row, columns - column) <= radius


def picture(truth, seed=0):
    noise = np.random.default_rng(seed).normal(0, 0.04, SHAPE)
    return (np.where(truth, 0.7, 0.3) + noise).clip(0, 1).astype(np.float32)[None]


def dice(a, b):
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


@pytest.mark.parametrize("is_known", [True, False])
@pytest.mark.parametrize("positive", [True, False])
def test_a_click_corrects_what_is_like_it(positive, is_known):
    truth = disc(24, 28, 11)
    wrong = disc(16, 20, 9) & truth if positive else disc(24, 44, 6) & ~truth
    mask = truth & ~wrong if positive else truth | wrong
    margin = np.where(mask, 1.5, -1.5).astype(np.float32) if is_known else margin_of_mask(mask)
    pixels = np.array([[17, 21]] if positive else [[24, 45]])
    after = spread(Slice(picture(truth), margin, mask, is_known), Click(pixels, positive))
    assert dice(after, truth) > (1 + dice(mask, truth)) / 2  # at least half of the error is gone
    changed = after != mask
    assert changed.any() and (after[changed] == positive).all()


def test_clicked_pixels_obey_and_changes_are_in_one_piece_with_them():
    rng = np.random.default_rng(1)
    for trial in range(60):
        channels = 1 if trial % 3 else 3
        grey = rng.random((channels, *SHAPE), np.float32)
        mask = [np.zeros(SHAPE, bool), np.ones(SHAPE, bool), rng.random(SHAPE) > 0.5][trial % 3]
        part = Slice(grey, rng.normal(0, 5, SHAPE).astype(np.float32), mask, bool(trial % 2))
        pixels = rng.integers(0, SHAPE, (1 + trial % 4, 2))
        positive = bool(rng.integers(2))
        before = mask.copy()
        after = spread(part, Click(pixels, positive))
        assert (after[tuple(pixels.T)] == positive).all()
        assert np.array_equal(mask, before) and (after[after != before] == positive).all()


def test_a_margin_follows_what_was_drawn():
    margin, mask = np.array([[2.0, -3.0]]), np.array([[False, False]])
    assert consistent(margin, mask).tolist() == [[-2.0, -3.0]]
