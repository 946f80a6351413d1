"""Slices of a volume: the same ones however it is stored, and the exact way back."""

from itertools import permutations, product

import numpy as np
import pytest
import torch
from conftest import blobs, rotation, stored, unstored
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sam2adapt.imaging.volume import Volume
from sam2adapt.segmenting.slices import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    Normalization,
    SliceSettings,
    SliceStack,
    check_modality,
    normalise,
    orientation_axes,
    with_neighbours,
)
from sam2adapt.shared.errors import ModalityError, VolumeError

ORDERS = [(order, flips) for order in permutations(range(3)) for flips in product((False, True), repeat=3)]
PERCENTILE = Normalization("percentile", 0.5, 99.5)
LETTER = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
# Half of right angles and thirds of turns, where two axes are equally close to one anatomical direction.
EXACT = [np.eye(3), *(rotation(a, np.pi / 4) for a in np.eye(3)), np.eye(3) - 2 / 3]


def settings_of(**changes) -> SliceSettings:
    return SliceSettings(**{"normalization": PERCENTILE, "size": 12, **changes})


def numbered(size, spacing=(1, 1, 1), direction=None, kind=np.float32, **changes) -> Volume:
    """A volume whose every voxel has a number of its own, in a disorder."""
    values = np.random.default_rng(0).permutation(int(np.prod(size))).reshape(1, *size[::-1])
    direction = np.eye(3) if direction is None else direction
    return Volume(values.astype(kind), np.zeros(3), np.array(spacing, float), direction, **changes)


def physical_rotations():
    turned = st.builds(
        rotation, st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda a: np.linalg.norm(a) > 0.1), st.floats(0, np.pi)
    )
    return st.one_of(st.sampled_from(EXACT), turned)


volumes = st.builds(
    numbered,
    size=st.tuples(*[st.integers(1, 6)] * 3).filter(lambda size: sorted(size)[1] > 1),
    spacing=st.tuples(*[st.sampled_from((0.4, 1.0, 1.0, 2.5, 7.0))] * 3),
    direction=physical_rotations(),
    kind=st.sampled_from([np.float32, np.int16, np.uint8]),
)


@settings(max_examples=25, deadline=None)
@given(volumes, st.sampled_from(["LPS", "RAS", "SRA"]), st.sampled_from([(None, 12), ((1.3, 0.8), None)]))
@example(numbered((5, 6, 1)), "LPS", (None, 12))
@example(numbered((1, 5, 6)), "LPS", ((1.3, 0.8), None))
def test_slices_do_not_depend_on_how_the_volume_is_stored(volume, orientation, grid):
    spacing, size = grid
    given_settings = settings_of(orientation=orientation, spacing=spacing, size=size)
    reference = SliceStack(volume, given_settings)
    expected = reference.batch(0, len(reference))
    for order, flips in ORDERS:
        stack = SliceStack(stored(volume, order, flips), given_settings)
        assert stack.axis == reference.axis
        assert stack.size == reference.size
        assert stack.native_spacing == reference.native_spacing
        np.testing.assert_array_equal(stack.array, reference.array)
        assert torch.equal(stack.batch(0, len(stack)), expected)


@settings(max_examples=40, deadline=None)
@given(volumes, st.sampled_from(ORDERS))
def test_the_way_back_is_exact(volume, way):
    volume = stored(volume, *way)
    stack = SliceStack(volume, settings_of())
    labels = np.random.default_rng(1).integers(0, 255, volume.array.shape[1:], np.uint8)
    assert stack.oriented(labels).shape == stack.array.shape[1:]
    np.testing.assert_array_equal(stack.restored(stack.oriented(labels)), labels)
    np.testing.assert_array_equal(stack.restored(stack.array[0]), volume.array[0])


@settings(max_examples=60, deadline=None)
@given(volumes, st.sampled_from(["LPS", "RAS", "ALI"]), st.sampled_from(["axial", "coronal", "sagittal"]))
def test_axes_increase_towards_their_letters(volume, orientation, axis):
    volume.physical = False  # one-slice volumes of another plane are allowed then
    positions = np.zeros((3, *volume.array.shape[1:]))
    for index, length in enumerate(volume.size):
        steps = np.arange(length).reshape([-1 if n == 2 - index else 1 for n in range(3)])
        positions += (volume.direction[:, index] * volume.spacing[index]).reshape(3, 1, 1, 1) * steps
    stack = SliceStack(volume, settings_of(orientation=orientation, axis=axis))
    slicing = orientation[stack.axis]
    in_plane = [letter for letter in orientation[::-1] if letter != slicing]
    for number, letter in enumerate([slicing, *in_plane]):
        row, sign = LETTER[letter]
        along = stack.oriented(sign * positions[row])
        assert (np.diff(along, axis=number) > 0).all()


@settings(max_examples=100, deadline=None)
@given(physical_rotations(), st.sampled_from(["LPS", "RAS", "SRA"]))
def test_every_voxel_axis_is_used_once(direction, orientation):
    axes, _ = orientation_axes(direction, orientation)
    assert sorted(axes) == [0, 1, 2]


@pytest.mark.parametrize("channels", [1, 3])
def test_unchanged_where_it_is_stored_as_the_model_wants(channels):
    volume = blobs(channels=channels)
    stack = SliceStack(volume, settings_of(axis="axial"))
    assert np.shares_memory(stack.array, volume.array)
    np.testing.assert_array_equal(stack.array, volume.array)


@pytest.mark.parametrize(("axis", "number"), [("sagittal", 0), ("coronal", 1), ("axial", 2)])
def test_named_axis(axis, number):
    volume = numbered((4, 5, 6), spacing=(9, 2, 3))
    stack = SliceStack(volume, settings_of(axis=axis))
    assert stack.axis == number
    assert len(stack) == volume.size[number]
    rows, columns = [a for a in (2, 1, 0) if a != number]
    assert stack.native_size == (volume.size[rows], volume.size[columns])
    assert stack.native_spacing == (volume.spacing[rows], volume.spacing[columns])
    np.testing.assert_array_equal(stack.array[0], np.moveaxis(volume.array[0], 2 - number, 0))


@pytest.mark.parametrize(
    ("spacing", "axis"), [((5, 1, 1), 0), ((1, 5, 1), 1), ((1, 1, 5), 2), ((1, 1, 1), 2), ((2, 2, 1), 1)]
)
def test_acquisition_axis_has_the_largest_spacing(spacing, axis):
    assert SliceStack(numbered((4, 5, 6), spacing=spacing), settings_of()).axis == axis


@pytest.mark.parametrize("noise", [-1e-6, 1e-6])
@pytest.mark.parametrize("spacing", [1.0, 0.9950125, 0.7, np.exp(0.005)])
def test_acquisition_axis_does_not_hang_on_rounding(spacing, noise):
    volume = numbered((4, 5, 6), spacing=(spacing + noise, spacing, spacing - noise))
    assert SliceStack(volume, settings_of()).axis == 2


@pytest.mark.parametrize("thin", [0, 1, 2])
def test_one_slice_is_sliced_along_its_thin_axis(thin):
    size = [5, 6, 7]
    size[thin] = 1
    stack = SliceStack(numbered(size, spacing=(1, 2, 9)), settings_of())
    assert (stack.axis, len(stack)) == (thin, 1)


def test_one_slice_of_another_plane_is_refused():
    volume = numbered((1, 5, 6), name="scout")
    with pytest.raises(VolumeError, match=r"scout.*axial"):
        SliceStack(volume, settings_of(axis="axial"))
    assert SliceStack(volume, settings_of(axis="sagittal")).axis == 0


def test_picture_has_no_plane():
    picture = numbered((6, 5, 1), physical=False)
    assert SliceStack(picture, settings_of(axis="coronal")).axis == 2


def test_fit_mode_gives_the_longest_side_its_size():
    assert SliceStack(numbered((40, 20, 3)), settings_of(size=16)).size == (8, 16)
    assert SliceStack(numbered((1000, 2, 3), spacing=(1, 1, 2)), settings_of(size=16)).size == (1, 16)


def test_spacing_mode_keeps_the_field_of_view():
    stack = SliceStack(numbered((30, 20, 3), spacing=(0.5, 0.8, 4)), settings_of(spacing=(0.4, 0.3), size=None))
    assert stack.size == (40, 50)  # rows 20 * 0.8 / 0.4, columns 30 * 0.5 / 0.3


def test_resampling_maps_edges_onto_edges():
    ramp = np.broadcast_to(np.arange(8, dtype=np.float32), (1, 2, 6, 8))
    volume = Volume(ramp, np.zeros(3), np.array([1, 1, 3.0]), np.eye(3))
    stack = SliceStack(volume, settings_of(size=16, normalization=Normalization("range", 0, 7)))
    row = stack.grey(0, 1)[0, 0, 3] * 7
    # Pixel w of the finer grid has its centre at (w + 1/2) / 2 - 1/2.
    torch.testing.assert_close(row[1:-1], (torch.arange(16) / 2 - 0.25)[1:-1])


def test_neighbours_are_the_channels_and_the_ends_are_repeated():
    volume = numbered((12, 12, 5), spacing=(1, 1, 3))
    stack = SliceStack(volume, settings_of(normalization=Normalization("range", 0, 720)))
    mean, deviation = (torch.tensor(v).view(3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    for start, stop in ((0, 5), (0, 1), (1, 3), (4, 5), (2, 5)):
        batch = stack.batch(start, stop)
        assert batch.shape == (stop - start, 3, 12, 12)
        for k in range(start, stop):
            wanted = np.stack([volume.array[0, min(max(n, 0), 4)] for n in (k - 1, k, k + 1)])
            wanted = (torch.from_numpy(wanted) / 720 - mean) / deviation
            torch.testing.assert_close(batch[k - start], wanted)


def test_without_context_the_channel_is_repeated():
    stack = SliceStack(blobs(), settings_of(context=0))
    grey = stack.grey(2, 4)
    torch.testing.assert_close(stack.batch(2, 4), normalise(grey.repeat(1, 3, 1, 1)))


def test_colour_is_passed_through():
    volume = blobs((12, 10, 3), spacing=(1, 1, 2), channels=3, kind=np.uint8)
    stack = SliceStack(volume, settings_of(normalization=Normalization("range", 0, 255)))
    grey = stack.grey(1, 3)
    assert grey.shape == (2, 3, 10, 12)
    torch.testing.assert_close(grey, torch.from_numpy(volume.array[:, 1:3].swapaxes(0, 1) / np.float32(255)))
    assert torch.equal(with_neighbours(grey, 0, 2, 1), grey)


def test_context_of_a_batch_does_not_depend_on_its_limits():
    stack = SliceStack(blobs((15, 16, 7)), settings_of())
    whole = stack.batch(0, 7)
    for size in (1, 2, 3):
        parts = [stack.batch(start, min(7, start + size)) for start in range(0, 7, size)]
        torch.testing.assert_close(torch.cat(parts), whole, atol=1e-6, rtol=0)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 99), st.sampled_from([np.int16, np.float32, np.uint16]))
@example(41, np.float32)
def test_percentiles(seed, kind):
    array = np.random.default_rng(seed).gamma(2, 300, (1, 6, 40, 40)).astype(kind)
    low, high = PERCENTILE.limits(array)
    shuffled = np.random.default_rng(seed).permutation(array.ravel()).reshape(array.shape)
    assert PERCENTILE.limits(shuffled) == (low, high)
    step = (float(array.max()) - float(array.min())) / 65536
    # Of voxels, not between two of them, which may lie further apart than the histogram's bins.
    assert low <= np.percentile(array, 0.5, method="higher") + 2 * step
    assert high >= np.percentile(array, 99.5, method="lower") - 2 * step
    assert np.mean(array < low) <= 0.005 and np.mean(array > high) <= 0.005
    if kind != np.float32:  # whole numbers are counted first, and give what the voxels one by one give
        assert PERCENTILE.limits(array.astype(np.float64)) == (low, high)


@pytest.mark.parametrize("factor", [1e-9, 1e-3, 1.0, 1e6])
def test_unit_of_the_grey_levels_does_not_matter(factor):
    """An ADC map in m²/s has values of 1e-9."""
    volume = blobs(kind=np.float32)
    scaled = volume.with_array(volume.array * np.float32(factor))
    expected = SliceStack(volume, settings_of()).grey(0, 7)
    assert expected.min() < 0.1 and expected.max() > 0.9
    torch.testing.assert_close(SliceStack(scaled, settings_of()).grey(0, 7), expected, atol=1e-3, rtol=0)


def test_window_clips_and_does_not_depend_on_the_volume():
    window = Normalization("window", -100.0, 300.0)
    volume = blobs()
    stack = SliceStack(volume, settings_of(size=20, axis="axial", normalization=window))
    assert stack.limits == (-100.0, 300.0)
    expected = np.clip((volume.array[0] + 100) / 400, 0, 1).astype(np.float32)
    np.testing.assert_allclose(stack.grey(0, 7)[:, 0].numpy(), expected, atol=1e-6)


def test_settings_survive_the_card():
    for changes in ({}, {"spacing": (1.5, 0.7), "size": None, "axis": "coronal", "context": 0, "orientation": "RAS"}):
        original = settings_of(**changes)
        assert SliceSettings.from_card(original.to_card()) == original


def test_inverse_of_the_storage_helper():
    volume = numbered((3, 4, 5))
    for order, flips in ORDERS:
        changed = stored(volume, order, flips)
        np.testing.assert_array_equal(unstored(changed.array[0], order, flips), volume.array[0])
        last = np.array(changed.size) - 1
        place = changed.affine @ [*last, 1]
        at = np.linalg.solve(volume.affine, place)[:3].round().astype(int)
        assert changed.array[0, -1, -1, -1] == volume.array[0, at[2], at[1], at[0]]


@pytest.mark.parametrize(
    ("channels", "modality", "wanted"), [(3, "RGB", "CT"), (1, "CT", "RGB"), (1, "MR", "CT"), (1, "CT", "MR")]
)
def test_other_modality_is_refused(channels, modality, wanted):
    volume = blobs(channels=channels)
    volume.modality = modality
    with pytest.raises(ModalityError, match="blobs") as caught:
        check_modality(volume, wanted, "torso")
    assert wanted in caught.value.message and "torso" in caught.value.message


@pytest.mark.parametrize(("modality", "wanted"), [("", "CT"), ("", "MR"), ("CT", "CT"), ("MR", "OTHER"), ("", "OTHER")])
def test_unknown_modality_is_let_through(modality, wanted):
    volume = blobs()
    volume.modality = modality
    check_modality(volume, wanted, "torso")
