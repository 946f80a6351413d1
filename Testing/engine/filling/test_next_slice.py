"""The slice to draw next."""

import numpy as np
import pytest
from sam2adapt.filling.drawings import Drawings
from sam2adapt.filling.next_slice import doubt_about_ends, next_slice


@pytest.mark.parametrize(
    "wrong, drawn, expected",
    [
        ([0, 1, 1, 1, 1, 1, 0], [0, 6], 3),
        ([0, 1, 1, 0, 5, 5, 5, 0], [0, 3, 7], 5),
        ([0, 1, 1, 1, 0, 1, 1, 1, 1, 1, 1, 1, 0], [0, 4, 12], 8),
        ([0, 2, 0], [0, 1, 2], 1),
        ([0, 0, 0], [0, 2], None),
        # Where it is hard draws the slice there, but a long gap is worse than two of middle length.
        ([k**2 * k * (30 - k) for k in range(31)], [0, 30], 17),
    ],
)
def test_the_slice_to_draw_next_saves_most(wrong, drawn, expected):
    assert next_slice(np.array(wrong, float), drawn) == expected


def test_nobody_knows_where_a_structure_ends_between_two_drawn_slices():
    first, second, third = np.zeros((3, 9, 4, 4), bool)
    first[0, :2] = first[4, :1] = True  # in slices 0 and 4 of 0, 4 and 8
    second[8, :3] = True
    masks = np.stack([first, second, third])
    drawings = Drawings(["a", "b", "nowhere"], masks, [((0, 4, 8), (), ())] * 3)
    doubt = doubt_about_ends(drawings, [0])
    np.testing.assert_allclose(doubt[0], [0, 0, 0, 0, 0, 1, 2, 1, 0])  # quarters of the 4 voxels in slice 4
    np.testing.assert_allclose(doubt[1], [0, 0, 0, 0, 0, 3, 6, 3, 0])
    np.testing.assert_allclose(doubt[2], np.array([0, 3, 4, 3, 0, 3, 4, 3, 0]) / 16)  # in either gap


def test_a_structure_that_is_drawn_nowhere_yet_is_looked_for_in_the_longest_gap():
    masks = np.zeros((2, 21, 4, 4), bool)
    masks[0] = True
    drawings = Drawings(["seen", "nowhere"], masks, [((0, 6, 20), (), ())] * 2)
    assert next_slice(doubt_about_ends(drawings, [0]).sum(0), [0, 6, 20]) == 13


def test_ends_are_seen_where_a_structure_is_drawn_along_two_directions():
    masks = np.zeros((1, 5, 4, 4), bool)
    masks[0, :2] = True
    along = [((0, 4), (1,), ())]
    assert not doubt_about_ends(Drawings(["a"], masks, along), [0, 1]).any()
    assert doubt_about_ends(Drawings(["a"], masks, along), [0]).any()
