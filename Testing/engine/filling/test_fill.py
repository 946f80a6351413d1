"""Filling: what is drawn stays, what is told holds, and the answer does not depend on how voxels are stored."""

import numpy as np
import pytest
import slicerio
from drawn_phantom import dice
from sam2adapt.filling import learner
from sam2adapt.filling.drawings import drawings_from_labels, drawings_from_masks
from sam2adapt.filling.filler import Filler
from sam2adapt.filling.stack_filler import StackFiller
from sam2adapt.imaging.volume import Volume, read_segments, read_volume
from sam2adapt.shared.errors import CancelledError, DrawingError, VolumeError


@pytest.fixture(scope="module", autouse=True)
def short_learning():
    """Properties hold however long the learner is trained."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(learner, "_STEPS", 40)
        patch.setattr(learner, "_BATCH", 1024)
        yield


RNG = np.random.default_rng(0)
SPACING = np.array([1.0, 1.0, 4.0])


def ball(shape: tuple[int, int, int], centre, radius: float, stretch=(1, 1, 1)) -> np.ndarray:
    grid = np.indices(shape).astype(float)
    return sum(((grid[k] - centre[k]) / stretch[k]) ** 2 for k in range(3)) < radius**2


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    """Labels (13, 40, 44) of two structures side by side, the second of which ends before the first."""
    labels = np.zeros((13, 40, 44), np.uint8)
    labels[ball(labels.shape, (6, 20, 16), 9, (0.8, 1, 1))] = 1
    labels[ball(labels.shape, (5, 20, 32), 7, (0.5, 1, 1)) & (labels == 0)] = 2
    return labels


@pytest.fixture(scope="module")
def volume(truth) -> Volume:
    grey = np.choose(truth, [0.0, 100.0, 60.0]) + RNG.normal(0, 8, truth.shape)
    return Volume(grey[np.newaxis].astype(np.float32), np.zeros(3), SPACING, np.eye(3), "phantom")


def sparse(truth: np.ndarray, drawn, axis: int = 0) -> np.ndarray:
    labels = np.full_like(truth, 255)
    np.moveaxis(labels, axis, 0)[list(drawn)] = np.moveaxis(truth, axis, 0)[list(drawn)]
    return labels


def fill(volume: Volume, labels: np.ndarray, **more):
    return Filler(volume).fill(drawings_from_labels(labels, {1: "one", 2: "two"}), **more)


@pytest.fixture(scope="module")
def filling(volume, truth):
    return fill(volume, sparse(truth, range(0, 13, 3)))


def test_accurate_and_drawn_slices_unchanged(filling, truth):
    drawn = list(range(0, 13, 3))
    for value, mask in enumerate(filling.masks, start=1):
        assert np.array_equal(mask[drawn], truth[drawn] == value)
        assert dice(mask, truth == value) > 0.93
    assert not (filling.masks[0] & filling.masks[1]).any()
    assert filling.next_slice not in drawn
    assert (filling.uncertainty[drawn] == 0).all() and filling.uncertainty[filling.next_slice] > 0


def test_expected_dice_is_near_the_true_one(filling, truth):
    between = [k for k in range(13) if k % 3]
    for value, expected in enumerate(filling.expected_dice, start=1):
        assert expected == pytest.approx(dice(filling.masks[value - 1][between], (truth == value)[between]), abs=0.06)


def test_structure_ends_between_drawn_slices(volume, truth):
    labels = sparse(truth, range(0, 13, 3))
    assert (labels[9] == 2).sum() == 0 < (labels[6] == 2).sum()
    two = fill(volume, labels).masks[1]
    assert two[7].any() and not two[9:].any()


def test_same_answer_again_and_for_the_same_seed(volume, truth, filling):
    again = fill(volume, sparse(truth, range(0, 13, 3)))
    assert np.array_equal(filling.masks, again.masks) and filling.expected_dice == again.expected_dice


@pytest.mark.parametrize("order", [(2, 1, 0), (1, 0, 2)])
def test_same_physical_answer_for_another_order_of_axes(volume, truth, filling, order):
    turned = Volume(
        volume.array[0].transpose(order)[np.newaxis].copy(), volume.origin,
        np.array([volume.spacing[::-1][k] for k in order])[::-1], np.eye(3),
    )  # fmt: skip
    masks = fill(turned, sparse(truth, range(0, 13, 3)).transpose(order).copy()).masks
    back = masks.transpose(0, *(1 + np.argsort(order)))
    assert all(dice(a, b) > 0.97 for a, b in zip(back, filling.masks, strict=True))


def test_same_physical_answer_for_flipped_slices(volume, truth, filling):
    turned = Volume(volume.array[:, ::-1].copy(), volume.origin, volume.spacing, volume.direction)
    masks = fill(turned, sparse(truth, range(0, 13, 3))[::-1].copy()).masks[:, ::-1]
    assert all(dice(a, b) > 0.97 for a, b in zip(masks, filling.masks, strict=True))


def test_two_directions_at_once(volume, truth):
    one = sparse(truth, [0, 6, 12])
    both = np.where(one == 255, sparse(truth, [10, 20, 30], axis=1), one)
    result = fill(volume, both)
    for value, mask in enumerate(result.masks, start=1):
        assert np.array_equal(mask[both != 255], (truth == value)[both != 255])
    assert dice(result.masks[0], truth == 1) >= dice(fill(volume, one).masks[0], truth == 1) - 0.01


def test_single_strokes_are_kept_and_told(volume, truth):
    labels = sparse(truth, range(0, 13, 3))
    labels[4, 1:3, 1:3] = 2  # far from where it belongs
    result = fill(volume, labels)
    assert result.masks[1][4, 1:3, 1:3].all() and not result.masks[0][4, 1:3, 1:3].any()
    assert "4 drawn voxels" in result.warnings[0]


def test_overlapping_segments_stay_overlapping(volume, truth):
    whole, part = truth > 0, truth == 2
    masks = np.zeros((2, *truth.shape), bool)
    for mask, source in zip(masks, (whole, part), strict=True):
        mask[::3] = source[::3]
    result = Filler(volume).fill(drawings_from_masks(masks, ["whole", "part"]))
    between = [k for k in range(1, 9) if k % 3]
    assert dice(result.masks[1][between], part[between]) > 0.7
    assert (result.masks[1] & result.masks[0]).sum() > 0.95 * result.masks[1].sum()


def test_declared_empty_ends_a_segment(volume, truth):
    masks = np.zeros((2, *truth.shape), bool)
    masks[0, ::3], masks[1, :9:3] = (truth == 1)[::3], (truth == 2)[:9:3]
    open_end = Filler(volume).fill(drawings_from_masks(masks, ["one", "two"])).masks[1]
    ended = Filler(volume).fill(drawings_from_masks(masks, ["one", "two"], empty={"two": [9]})).masks[1]
    assert not open_end[7:].any()  # nothing is said of what lies beyond the last drawn slice
    assert ended[7].any() and not ended[9:].any()


def test_first_answer_comes_before_the_full_one_and_progress_grows(volume, truth):
    told, shown = [], []
    result = fill(
        volume, sparse(truth, range(0, 13, 3)),
        progress=told.append, preview=lambda masks: shown.append((len(told), masks.copy())),
    )  # fmt: skip
    assert told == sorted(told) and told[-1] <= 1 and len(told) > 10
    ((when, first),) = shown
    assert when == 0 and dice(first[0], truth == 1) > 0.85
    assert dice(result.masks[0], truth == 1) >= dice(first[0], truth == 1)


def test_cancelled(volume, truth):
    asked = []
    with pytest.raises(CancelledError):
        fill(volume, sparse(truth, [0, 6, 12]), cancelled=lambda: asked.append(0) or len(asked) > 3)


def test_same_drawings_again_get_the_same_answer_from_a_warm_filler(volume, truth, filling):
    """That of a new filler, and at once; a caller may change what it got."""
    filler, shown = Filler(volume), []
    drawn = sparse(truth, range(0, 13, 3))
    first = filler.fill(drawings_from_labels(drawn, {1: "one", 2: "two"}))
    first.masks[:] = True
    again = filler.fill(drawings_from_labels(drawn, {1: "one", 2: "two"}), preview=shown.append)
    assert np.array_equal(again.masks, filling.masks) and again.expected_dice == filling.expected_dice
    assert again.next_slice == filling.next_slice and len(shown) == 1
    fewer = filler.fill(drawings_from_labels(sparse(truth, [0, 6, 12]), {1: "one", 2: "two"}))
    assert not np.array_equal(fewer.masks, again.masks)


def test_filling_again_with_one_more_slice_uses_what_is_known(volume, truth):
    filler = Filler(volume)
    filler.fill(drawings_from_labels(sparse(truth, [0, 6, 12]), {1: "one", 2: "two"}))
    _, stack = filler._stacks[0]
    carried = dict(stack.evidence._carried)
    filler.fill(drawings_from_labels(sparse(truth, [0, 3, 6, 12]), {1: "one", 2: "two"}))
    assert filler._stacks[0][1] is stack
    kept = [key for key, value in stack.evidence._carried.items() if carried.get(key) is value]
    assert {key[1:3] for key in kept} == {(6, 12), (12, 6)}


def test_chest_ct_better_than_interpolated_distances():
    volume = read_volume(slicerio.get_testdata_file("CTChest4.nrrd"))
    segments = {one.name: mask for one, mask in read_segments(slicerio.get_testdata_file("Segmentation.seg.nrrd"))}
    truth = np.zeros(volume.array.shape[1:], np.uint8)
    truth[segments["right lung"]], truth[segments["left lung"]] = 1, 2
    drawn = range(0, 33, 8)
    shown = []
    result = fill(volume, sparse(truth, drawn), preview=lambda masks: shown.append(masks.copy()))
    between = [k for k in range(33) if k % 8]
    for value, (first, mask) in enumerate(zip(shown[0], result.masks, strict=True), start=1):
        right = (truth == value)[between]
        assert dice(mask[between], right) > max(0.92, dice(first[between], right) + 0.05)


@pytest.mark.parametrize(
    "labels, message",
    [
        (lambda t: np.full_like(t, 255), "No structure is drawn"),
        (lambda t: sparse(t, [6]), "Only one slice is drawn"),
        (lambda t: t, "Everything is drawn already"),
        (lambda t: sparse(t, [5, 6]), "No slice lies between"),
        (lambda t: np.where(RNG.random(t.shape) < 0.5, t, 255).astype(np.uint8), "No slice is drawn wholly"),
    ],
)
def test_refused(volume, truth, labels, message):
    with pytest.raises(DrawingError, match=message) as caught:
        fill(volume, labels(truth))
    assert caught.value.remedy


def test_structure_in_one_slice_only_is_told(volume, truth):
    masks = np.zeros((2, *truth.shape), bool)
    masks[0, ::3], masks[1, 6] = (truth == 1)[::3], (truth == 2)[6]
    result = Filler(volume).fill(drawings_from_masks(masks, ["one", "two"]))
    assert "'two' is drawn in one slice only" in result.warnings[0]
    assert np.array_equal(result.masks[1], masks[1]) and np.isnan(result.expected_dice[1])


def test_contradiction_of_two_directions(truth):
    mask = np.zeros(truth.shape, bool)
    mask[[0, 6, 12]] = ball(truth.shape, (6, 20, 12), 8)[6]
    mask[:, [14, 20, 26]] |= ball(truth.shape, (6, 20, 34), 8, (0.6, 1, 1))[:, [14, 20, 26]]
    with pytest.raises(DrawingError, match="contradict each other"):
        drawings_from_masks(mask[None], ["one"])


def test_declared_empty_where_drawn(truth):
    masks = np.zeros((1, *truth.shape), bool)
    masks[0, ::3] = (truth == 1)[::3]
    with pytest.raises(DrawingError, match="declared empty in slice 6"):
        drawings_from_masks(masks, ["one"], empty={"one": [6]})


def test_volume_that_cannot_be_filled(volume, truth):
    array = volume.array.copy()
    array[0, 2, 3, 4] = np.nan
    with pytest.raises(VolumeError, match="1 NaN"):
        Filler(volume.with_array(array))
    with pytest.raises(VolumeError, match="3 values a voxel"):
        Filler(volume.with_array(np.repeat(volume.array, 3, 0)))
    with pytest.raises(DrawingError, match="44 x 40 x 12 voxels"):
        fill(volume, sparse(truth, [0, 6, 12])[:12])


def crossed(own: list[int], other: list[int]) -> tuple[Volume, np.ndarray, np.ndarray]:
    """A bright cone in 12 slices, drawn in some; and a dark disc far from it, drawn in others.

    The pixels are not square, so that the slices are filled on another grid than that of the volume.
    """
    shape = (12, 20, 24)
    rows, columns = np.ogrid[:20, :24]
    cone = np.stack([(rows - 10) ** 2 + (columns - 12) ** 2 <= (3 + 0.4 * k) ** 2 for k in range(12)])
    disc = (rows - 16) ** 2 + (columns - 20) ** 2 <= 8
    grey = np.random.default_rng(0).normal(100, 20, shape) + 200 * cone - 200 * (disc & ~cone)
    masks = np.zeros((2, *shape), bool)
    masks[0, own] = cone[own]
    masks[1, other] = disc & ~cone[-1]
    return Volume(grey[np.newaxis].astype(np.float32), np.zeros(3), np.array([0.7, 0.9, 3]), np.eye(3)), cone, masks


@pytest.mark.parametrize("other", [[2, 9], [4, 5, 6], [1, 2], [5], [0, 11], [1, 3, 5, 7, 9], []])
def test_structures_drawn_in_different_slices_do_not_spoil_each_other(other):
    volume, cone, masks = crossed([0, 4, 8, 11], other)
    disc = masks[1].any(0)
    result = Filler(volume).fill(drawings_from_masks(masks, ["cone", "disc"]))
    assert dice(result.masks[0], cone) >= 0.98 and result.expected_dice[0] > 0.9
    assert np.isfinite(result.uncertainty).all()
    if len(other) < 2:
        assert np.array_equal(result.masks[1], masks[1])
    else:
        between = slice(other[0], other[-1] + 1)
        assert dice(result.masks[1][between], np.broadcast_to(disc, cone.shape)[between]) > 0.9
    warned = any("'disc' is drawn in one slice only" in text for text in result.warnings)
    assert warned == (len(other) == 1)


def test_two_structures_of_two_directions_do_not_spoil_each_other():
    volume, cone, masks = crossed([0, 4, 8, 11], [])
    masks[1, :, [1, 5, 9], :3] = True
    result = Filler(volume).fill(drawings_from_masks(masks, ["cone", "side"]))
    assert dice(result.masks[0], cone) >= 0.97


def test_first_answer_of_structures_drawn_in_different_slices():
    volume, cone, masks = crossed([0, 4, 8, 11], [4, 5, 6])
    shown = []
    Filler(volume).fill(drawings_from_masks(masks, ["cone", "disc"]), preview=lambda one: shown.append(one.copy()))
    assert dice(shown[0][0], cone) > 0.95


def test_overlap_is_left_open_between_structures_that_share_no_drawn_slice():
    """Nothing drawn says whether a part that is drawn in other slices than its whole belongs to it."""
    volume, cone, masks = crossed([0, 4, 8, 11], [])
    masks[1, [2, 6]] = ball((12, 20, 24), (0, 10, 12), 3, (100, 1, 1))[0]
    result = Filler(volume).fill(drawings_from_masks(masks, ["whole", "part"]))
    assert dice(result.masks[0], cone) >= 0.98
    assert (result.masks[0] & result.masks[1])[2:7].sum() > 0.9 * result.masks[1].sum()


def test_what_is_drawn_of_one_structure_is_not_given_to_its_neighbour():
    """Drawn together in one slice without overlap, so that they overlap nowhere: least of all where one is drawn."""
    volume, cone, masks = crossed([0, 4, 8, 11], [])
    masks[1, [0, 2, 6]] = np.roll(cone[[0, 2, 6]], 6, 2)  # half of it lies in the bright cone
    masks[1, 0] &= ~cone[0]
    result = Filler(volume).fill(drawings_from_masks(masks, ["one", "two"]))
    assert (result.masks[1][[0, 2, 6]] == masks[1][[0, 2, 6]]).all()
    assert not (result.masks[0] & result.masks[1]).any()


def test_a_slice_to_draw_next_is_named_where_other_structures_fill_the_gaps():
    volume, _, masks = crossed([0, 2, 4, 6, 8, 10], [1, 3, 5, 7, 9])
    result = Filler(volume).fill(drawings_from_masks(masks, ["cone", "disc"]))
    assert result.next_slice is not None and result.uncertainty[result.next_slice] > 0


def test_learner_sees_the_same_inputs_when_it_learns_as_when_it_predicts(monkeypatch):
    """Among them what is expected of a structure in a slice in which only another one is drawn."""
    given = []
    fit = learner.PixelLearner.fit
    monkeypatch.setattr(learner.PixelLearner, "fit", lambda own, *more: given.append(more[:3]) or fit(own, *more))
    volume, _, masks = crossed([0, 4, 8, 11], [2, 6, 9])
    Filler(volume).fill(drawings_from_masks(masks, ["cone", "disc"]))
    ((inputs, _, known),) = given
    only_disc = known[:, 1] & ~known[:, 0]
    assert only_disc.any() and inputs[only_disc, :3].any(1).all()


def test_a_structure_that_is_nowhere_more_likely_than_not_does_not_vanish(volume, truth, monkeypatch):
    monkeypatch.setattr(StackFiller, "logits", lambda self, place: np.where(self.images[[place]] > 0, -0.4, -6.0))
    filling = Filler(volume).fill(drawings_from_labels(np.where(truth == 2, 0, sparse(truth, (0, 6, 12))), {1: "one"}))
    assert filling.masks[0, 3].sum() > 0.9 * (truth[3] == 1).sum()
