"""What is filled, and how right it is expected to be."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sam2adapt.filling.decision import expected_dice, promised_dice, sums_of, thresholds

SHARES = arrays(np.float64, (2, 4, 5), elements=st.floats(0, 1, width=16))


def test_expected_dice_is_lower_where_less_is_promised_or_drawn():
    promised = np.array([[70, 100, 100], [90, 100, 100], [99, 100, 100], [0, 0, 0]], float)
    few, many = (expected_dice(promised, np.full(4, count)) for count in (2, 9))
    assert 0 < few[0] < few[1] < few[2] < 1 and np.isnan(few[3])
    assert (few[:3] < many[:3]).all()


def test_a_structure_that_is_likely_nowhere_is_filled_where_it_is_likeliest():
    probability = np.full((1, 10, 20), 0.02)
    probability[0, :, :10] = 0.4
    [threshold] = thresholds(sums_of(probability, probability > 0.5))
    assert 0.02 < threshold < 0.4
    # 40 of the 42 pixels to be expected lie in the 100 that are filled.
    np.testing.assert_allclose(promised_dice(sums_of(probability, probability > threshold)), 2 * 40 / (100 + 42))


def test_a_structure_that_is_sure_is_filled_from_half_on():
    probability = np.zeros((1, 10, 10))
    probability[0, :5] = 1
    assert thresholds(sums_of(probability, probability > 0.5)) == 0.5


@given(SHARES)
def test_no_more_dice_is_promised_with_half_as_threshold(probability):
    sums = sums_of(probability, probability > 0.5)
    filled = probability > thresholds(sums)[:, None, None]
    best = np.nan_to_num(promised_dice(sums_of(probability, filled)))
    assert (best >= np.nan_to_num(promised_dice(sums)) - 1e-9).all()
