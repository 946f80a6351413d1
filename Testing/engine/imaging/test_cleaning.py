"""Cleaning of label volumes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from sam2adapt.imaging import cleaning
from sam2adapt.shared.errors import SettingsError
from sam2adapt.shared.labels import label_runs
from scipy import ndimage


def clean(labels, largest=(), fill=(), minimum=0.0, voxel_ml=0.001, together=None):
    steps = {"largest_component": list(largest), "fill_holes": list(fill), "minimum_ml": minimum}
    if together is not None:  # cards of older models lack it
        steps["largest_together"] = list(together)
    result = labels.copy(order="K")
    cleaning.clean(result, steps, voxel_ml)
    return result


def volume(*boxes, shape=(8, 10, 12)):
    """A volume with boxes (value, k, j, i) painted in turn, each range a pair."""
    labels = np.zeros(shape, np.uint8)
    for value, *ranges in boxes:
        labels[tuple(slice(*pair) for pair in ranges)] = value
    return labels


def test_nothing_asked_changes_nothing():
    labels = np.random.default_rng(0).integers(0, 4, (5, 6, 7)).astype(np.uint8)
    assert np.array_equal(clean(labels), labels)


def test_largest_piece_of_the_named_structures_only():
    small_1, small_2 = (1, (6, 8), (0, 2), (0, 2)), (2, (6, 8), (8, 10), (0, 2))
    large = ((1, (0, 4), (0, 4), (0, 4)), (2, (0, 4), (6, 10), (0, 4)))
    result = clean(volume(*large, small_1, small_2), largest=[1])
    assert np.array_equal(result, volume(*large, small_2))


def test_what_lies_apart_from_its_neighbours_goes_before_the_largest_piece_is_chosen():
    """A right ventricle beside the left one, and a larger piece of liver that was taken for it."""
    heart = ((1, (0, 3), (0, 4), (0, 2)), (2, (0, 3), (0, 4), (2, 6)))
    liver, spleen = (1, (5, 8), (6, 10), (0, 5)), (3, (5, 8), (6, 10), (6, 8))
    both = volume(*heart, liver, spleen)
    assert np.array_equal(clean(both, largest=[1, 2]), volume(heart[1], liver, spleen))
    assert np.array_equal(clean(both, largest=[1, 2], together=[1, 2]), volume(*heart, spleen))
    assert np.array_equal(clean(both, together=[1, 2]), volume(*heart, spleen))


def test_voxels_that_touch_at_a_corner_are_one_piece():
    labels = volume((1, (0, 2), (0, 2), (0, 2)), (1, (2, 4), (2, 4), (2, 4)))
    assert np.array_equal(clean(labels, largest=[1]), labels)


def test_equally_large_pieces_keep_the_first():
    labels = volume((1, (0, 1), (0, 2), (0, 2)), (1, (5, 6), (0, 2), (0, 2)))
    assert np.array_equal(clean(labels, largest=[1]), volume((1, (0, 1), (0, 2), (0, 2))))


def test_other_structures_inside_the_box_are_kept():
    """The box of structure 1 holds all of structure 2, which no step for 1 may touch."""
    labels = volume((1, (0, 8), (0, 10), (0, 12)), (0, (1, 7), (1, 9), (1, 11)), (2, (3, 5), (3, 5), (3, 5)))
    labels[3, 6, 6] = 1
    expected = labels.copy()
    expected[3, 6, 6] = 0
    assert np.array_equal(clean(labels, largest=[1]), expected)


def test_holes_are_filled_and_other_structures_in_them_kept():
    shell = ((1, (1, 7), (1, 9), (1, 11)), (0, (2, 6), (2, 8), (2, 10)), (2, (3, 5), (3, 5), (3, 5)))
    filled = volume((1, (1, 7), (1, 9), (1, 11)), (2, (3, 5), (3, 5), (3, 5)))
    assert np.array_equal(clean(volume(*shell), fill=[1]), filled)
    assert np.array_equal(clean(volume(*shell), fill=[2]), volume(*shell))


def test_open_cavity_is_no_hole():
    shell = volume((1, (1, 7), (1, 9), (1, 11)), (0, (2, 6), (2, 8), (2, 10)), (0, (4, 5), (4, 5), (0, 3)))
    assert np.array_equal(clean(shell, fill=[1]), shell)
    at_border = volume((1, (0, 4), (0, 6), (0, 6)), (0, (0, 3), (2, 4), (2, 4)))
    assert np.array_equal(clean(at_border, fill=[1]), at_border)


def test_hole_that_is_open_at_a_corner_only_is_filled():
    """A structure's voxels join at corners, so background must not pass there."""
    shell = volume((1, (1, 6), (1, 6), (1, 6)), (0, (2, 5), (2, 5), (2, 5)), (0, (1, 2), (1, 2), (1, 2)))
    expected = volume((1, (1, 6), (1, 6), (1, 6)), (0, (1, 2), (1, 2), (1, 2)))
    assert np.array_equal(clean(shell, fill=[1]), expected)


def test_small_pieces_are_dropped_from_every_structure():
    kept = ((1, (0, 1), (0, 2), (0, 4)), (2, (4, 6), (0, 2), (0, 2)))
    dropped = ((1, (3, 4), (0, 1), (0, 7)), (3, (7, 8), (8, 10), (8, 10)))
    assert np.array_equal(clean(volume(*kept, *dropped), minimum=0.008), volume(*kept))


@pytest.mark.parametrize(("voxel_ml", "minimum"), [(0.1, 0.3), (0.7, 2.1), (1e-4, 3e-4), (0.00122, 0.00366)])
def test_piece_of_exactly_the_smallest_volume_is_kept(voxel_ml, minimum):
    labels = volume((1, (0, 1), (0, 1), (0, 3)), (1, (4, 5), (0, 1), (0, 2)))
    result = clean(labels, minimum=minimum, voxel_ml=voxel_ml)
    assert np.array_equal(result, volume((1, (0, 1), (0, 1), (0, 3))))


@pytest.mark.parametrize("voxel_ml", [0.0, float("nan"), float("inf"), -1.0])
def test_smallest_volume_needs_the_size_of_a_voxel(voxel_ml):
    with pytest.raises(SettingsError, match="size of a voxel"):
        clean(volume((1, (0, 1), (0, 1), (0, 1))), minimum=0.1, voxel_ml=voxel_ml)
    clean(volume((1, (0, 1), (0, 1), (0, 1))), voxel_ml=voxel_ml)


def test_pieces_go_before_holes_are_filled():
    """A speck of structure 2 inside structure 1 goes, and what it leaves is filled."""
    labels = volume((1, (0, 8), (0, 10), (0, 12)), (2, (3, 4), (3, 4), (3, 4)))
    assert np.array_equal(clean(labels, fill=[1], minimum=0.01), volume((1, (0, 8), (0, 10), (0, 12))))


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_one_slice_is_cleaned_in_its_plane(axis):
    plane = np.zeros((9, 9), np.uint8)
    plane[1:6, 1:6] = 1
    plane[3, 3] = 0
    plane[8, 8] = 1
    expected = np.zeros((9, 9), np.uint8)
    expected[1:6, 1:6] = 1
    result = clean(np.expand_dims(plane, axis), largest=[1], fill=[1])
    assert np.array_equal(result, np.expand_dims(expected, axis))


@pytest.mark.parametrize("shape", [(1, 1, 5), (1, 5, 1), (1, 1, 1), (5, 1, 1)])
def test_lines_and_single_voxels(shape):
    labels = np.ones(shape, np.uint8)
    assert np.array_equal(clean(labels, largest=[1], fill=[1], minimum=0.001), labels)


def test_empty_and_absent_structures():
    labels = np.zeros((3, 4, 5), np.uint8)
    assert np.array_equal(clean(labels, largest=[1, 2], fill=[3], minimum=1.0), labels)


def test_input_may_be_a_view_in_any_order():
    labels = volume((1, (0, 4), (0, 4), (0, 4)), (1, (6, 8), (0, 2), (0, 2)), (2, (0, 2), (6, 8), (6, 8)))
    expected = clean(labels, largest=[1])
    view = np.asfortranarray(labels)[::-1, :, ::-1]
    assert np.array_equal(clean(view, largest=[1])[::-1, :, ::-1], expected)
    assert not view.flags.c_contiguous and not clean(view).flags.c_contiguous


def reference(labels, together, largest, fill, minimum):
    """The same steps on the whole volume, one voxel set at a time, with SciPy."""
    labels, concerned = labels.copy(), np.isin(labels, list(together))
    pieces, count = ndimage.label(concerned, np.ones((3, 3, 3)))
    if count:
        labels[concerned & (pieces != np.bincount(pieces.ravel())[1:].argmax() + 1)] = 0
    result = labels.copy()
    for value in range(1, 4):
        pieces, count = ndimage.label(labels == value, np.ones((3, 3, 3)))
        sizes = [(pieces == n).sum() for n in range(1, count + 1)]
        best = int(np.argmax(sizes)) if sizes else None
        for n, size in enumerate(sizes):
            if size < minimum or (value in largest and n != best):
                result[pieces == n + 1] = 0
    for value in sorted(fill):
        solid = ndimage.binary_fill_holes(result == value)
        result[solid & (result == 0)] = value
    return result


@given(
    st_numpy.arrays(np.uint8, st.tuples(*[st.integers(2, 6)] * 3), elements=st.integers(0, 3), fill=st.just(1)),
    st.sets(st.integers(1, 3)),
    st.sets(st.integers(1, 3)),
    st.sets(st.integers(1, 3)),
    st.integers(0, 5),
)
@settings(max_examples=150, deadline=None)
def test_agrees_with_plain_steps_on_the_whole_volume(labels, together, largest, fill, minimum):
    result = clean(labels, largest, fill, minimum * 0.5, voxel_ml=0.5, together=together)
    assert result.dtype == labels.dtype
    assert np.array_equal(result, reference(labels, together, largest, fill, minimum))


def test_runs_are_found_in_portions(monkeypatch):
    labels = np.random.default_rng(2).integers(0, 3, (9, 5, 6)).astype(np.uint8)
    whole = label_runs.find_runs(labels)
    monkeypatch.setattr(label_runs, "_VOXELS_AT_ONCE", 60)
    portions = label_runs.find_runs(labels)
    for part in ("row", "start", "stop", "label"):
        assert np.array_equal(getattr(portions, part), getattr(whole, part))
    assert label_runs.count_labels(labels).tolist() == np.bincount(labels.ravel(), minlength=256).tolist()
    painted = np.zeros_like(labels)
    for value in (1, 2):
        portions[portions.label == value].paint(painted, value)
    assert np.array_equal(painted, labels)


def test_share_of_the_largest_piece_of_structures_taken_as_one():
    heart = (1, (0, 3), (0, 4), (0, 2)), (2, (0, 3), (0, 4), (2, 6))  # 24 and 48 voxels that touch
    labels = volume(*heart, (1, (6, 8), (8, 10), (8, 10)))  # 8 more
    assert cleaning.largest_shares(labels, [(1,), (2,), (1, 2), (3,)]) == [24 / 32, 1, 72 / 80, None]
