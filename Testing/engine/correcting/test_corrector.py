"""Gestures on volumes: however these are stored, the same place is corrected, and bad gestures get a sentence."""

import numpy as np
import pytest
from conftest import blobs, rotation, stored, unstored
from sam2adapt.correcting.corrector import Corrector
from sam2adapt.imaging.volume import Volume
from sam2adapt.shared.errors import SettingsError

SHAPE = (5, 24, 30)  # K, J, I
WHOLE = tuple(slice(0, n) for n in SHAPE)


def point(voxel, positive=True, kind="point"):
    voxels = np.reshape(voxel, (-1, 3)).tolist()
    return {"kind": kind, "positive": positive, "voxels": voxels}


@pytest.fixture
def ball():
    k, j, i = np.indices(SHAPE)
    return np.hypot(j - 12, i - 15) <= np.array([5, 8, 8, 8, 3])[k]


@pytest.fixture
def corrector(ball):
    """Of a grey volume without a model, with 4 mm between slices."""
    noise = np.random.default_rng(0).normal(0, 2, SHAPE)
    return Corrector(
        Volume((np.where(ball, 90, 30) + noise)[None].astype(np.float32), (0, 0, 0), (1, 1, 4), np.eye(3)), None
    )


def half(ball, slices=(2,)):
    mask = ball.copy()
    mask[list(slices), :, :15] = False
    return mask


def test_a_point_corrects_its_slice_alone(corrector, ball):
    assert corrector.axis == "K"
    mask = half(ball)
    result = corrector.correct("ball", mask, WHOLE, [point((11, 12, 2))])
    assert result.slices == [2] and result.carried == []
    assert (
        result.masks[2, 12, 11]
        and np.count_nonzero(result.masks[2] != ball[2]) < np.count_nonzero(mask[2] != ball[2]) / 2
    )
    others = [0, 1, 3, 4]
    assert np.array_equal(result.masks[others], mask[others])
    part = corrector.correct("ball", mask[1:3], (slice(1, 3), *WHOLE[1:]), [point((11, 12, 2))])
    assert np.array_equal(part.masks, result.masks[1:3]) and part.slices == [2]


def test_a_change_is_carried_as_far_as_slices_look_alike(corrector, ball):
    mask = half(ball, (1, 2, 3))
    result = corrector.correct("ball", mask, WHOLE, [point((11, 12, 2))], carry=4)
    assert sorted(result.carried) == [1, 3] and result.slices[0] == 2
    for k in (1, 3):
        assert np.count_nonzero(result.masks[k] != ball[k]) < np.count_nonzero(mask[k] != ball[k]) / 2
    assert np.array_equal(result.masks[[0, 4]], mask[[0, 4]])
    assert corrector.correct("ball", ball, WHOLE, [point((15, 12, 2))], carry=4).carried == []  # nothing to change


def test_earlier_gestures_stay_obeyed_unless_drawn_over(corrector, ball):
    mask = half(ball)
    mask[2, 12, 12] = False
    against = point((12, 12, 2), False)
    result = corrector.correct("ball", mask, WHOLE, [against, point((11, 12, 2))])
    assert not result.masks[2, 12, 12] and result.masks[2, 12, 11]
    again = corrector.correct("ball", result.masks, WHOLE, [against, point((12, 12, 2))])
    assert again.masks[2, 12, 12]  # the newest counts
    mask[2, 12, 12] = True
    drawn = corrector.correct("ball", mask, WHOLE, [against, point((11, 12, 2))])
    assert drawn.masks[2, 12, 12]


def test_scribbles_and_boxes(corrector, ball):
    mask = half(ball)
    scribble = [(i, 12, k) for k in (1, 2) for i in range(8, 14)]
    result = corrector.correct("ball", mask, WHOLE, [point(scribble, kind="scribble")])
    assert all(result.masks[k, j, i] for i, j, k in scribble) and sorted(result.slices) == [1, 2]
    cleared = corrector.correct("ball", ball, WHOLE, [point([(0, 0, 2), (14, 23, 2)], False, "box")])
    assert not cleared.masks[2, :, :15].any() and np.array_equal(cleared.masks[2, :, 15:], ball[2, :, 15:])
    empty = np.zeros(SHAPE, bool)
    grown = corrector.correct("ball", empty, WHOLE, [point([(23, 4, 2), (7, 20, 2)], kind="box")]).masks
    assert 2 * np.count_nonzero(grown & ball[[2]].repeat(5, 0) & (np.arange(5) == 2)[:, None, None]) > np.count_nonzero(
        ball[2]
    )
    assert not grown[2, :4].any() and not grown[2, 21:].any()


def test_several_new_gestures_are_carried_out_one_after_the_other(corrector, ball):
    mask = half(ball, (1, 2, 3))
    one, other = point((11, 12, 1)), point((11, 12, 3))
    result = corrector.correct("ball", mask, WHOLE, [one, other], new=2)
    first = corrector.correct("ball", mask, WHOLE, [one]).masks
    assert np.array_equal(result.masks, corrector.correct("ball", first, WHOLE, [one, other]).masks)
    assert result.slices == [1, 3] and np.array_equal(result.masks[2], mask[2])
    carried = corrector.correct("ball", mask, WHOLE, [one, other], carry=2, new=2)
    assert set(carried.carried) <= {0, 2, 4} and 2 in carried.carried and carried.slices[:2] == [1, 3]
    kept = corrector.correct("ball", mask, WHOLE, [point((12, 12, 2), False), point((11, 12, 2))], new=2).masks
    assert kept[2, 12, 11] and not kept[2, 12, 12]  # the second leaves what the first wants


def test_what_is_drawn_counts_piece_by_piece(corrector, ball):
    mask = half(ball)
    mask[2, 10:15, 15:23] = False
    pieces = [[(i, 12, 2) for i in range(8, 12)], [(18 + n, 11 + n, 2) for n in range(3)]]  # the second is diagonal
    together = corrector.correct("ball", mask, WHOLE, [point([*pieces[0], *pieces[1]], kind="drawn")]).masks
    apart = corrector.correct("ball", mask, WHOLE, [point(piece, kind="scribble") for piece in pieces], new=2).masks
    assert np.array_equal(together, apart)
    assert all(together[k, j, i] for piece in pieces for i, j, k in piece)
    against = corrector.correct("ball", ball, WHOLE, [point(pieces[0], False, kind="drawn")]).masks
    assert not any(against[k, j, i] for i, j, k in pieces[0])


def test_bad_gestures_get_a_sentence(corrector, ball):
    cases = [
        ([point((30, 0, 2))], WHOLE, r"voxel 30, 0, 2 lies outside of .* \(30 x 24 x 5 voxels\)"),
        ([point((0, -1, 2))], WHOLE, "outside"),
        ([point((3, 3, 0))], (slice(1, 3), *WHOLE[1:]), "lies in slice 0; 1 to 2 were sent"),
        ([point((3, 3, 0))], (WHOLE[0], slice(0, 20), WHOLE[2]), "pixels a slice"),
    ]
    for gestures, region, words in cases:
        with pytest.raises(SettingsError, match=words):
            corrector.correct("ball", ball[region], region, gestures)


def test_same_patient_same_correction(make_model):
    model = make_model()
    volume = blobs((20, 18, 7), direction=rotation((1, 2, -1), 0.5))
    name = model.structures[0].name
    _, j, i = np.indices((7, 18, 20))
    mask, seeds = np.hypot(j - 9, i - 8) <= 4, np.zeros((7, 18, 20), np.uint8)
    seeds[3, 9, 14] = 1
    expected = None
    for order, flips in [((0, 1, 2), (False,) * 3), ((2, 0, 1), (False, True, True)), ((1, 2, 0), (True, True, False))]:
        corrector = Corrector(stored(volume, order, flips), model)
        ways = [stored(volume.with_array(array), order, flips).array[0] for array in (mask.astype(np.uint8), seeds)]
        voxel = np.argwhere(ways[1])[0][::-1]
        region = tuple(slice(0, n) for n in ways[0].shape)
        after = corrector.correct(name, ways[0] > 0, region, [point(voxel)], carry=1).masks
        after = unstored(after.astype(np.uint8), order, flips)
        assert after[3, 9, 14]
        expected = after if expected is None else expected
        np.testing.assert_array_equal(after, expected)


def test_a_model_says_what_it_knows(make_model, ball):
    model = make_model()
    evidence = Corrector(blobs((20, 18, 7)), model).evidence
    assert evidence.class_of(f" {model.structures[1].name.upper()}") == 2
    assert evidence.class_of("tumour") is None and not evidence.takes_prompts
