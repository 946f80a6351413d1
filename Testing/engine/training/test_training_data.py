"""From cases to training samples: what is refused, what is decided, and that every sample can be drawn again."""

import threading
from collections import Counter

import numpy as np
import pytest
import torch
from conftest import blobs, stored
from sam2adapt.evaluation.cases import Case, find_cases, read_split, select
from sam2adapt.imaging.terminology import Structure, describe
from sam2adapt.imaging.volume import Volume, read_volume, write_labels, write_volume
from sam2adapt.segmenting.slices import SliceStack
from sam2adapt.shared.errors import (
    ClassesError,
    GeometryError,
    ModalityError,
    TrainingDataError,
    VolumeError,
)
from sam2adapt.shared.labels.annotation import IGNORE
from sam2adapt.shared.safety.stored_array import StoredArray
from sam2adapt.training.losses import SegmentationLoss
from sam2adapt.training.prepare import PreparedCase, fingerprint, load_case, prepare
from sam2adapt.training.samples import EpochSamples, augmentation, epoch_slices
from sam2adapt.training.settings import TrainSettings

STRUCTURES = [describe(1, "liver"), describe(4, "spleen")]
NAMES = [Structure(value, f"label {value}") for value in range(1, 256)]


def labels_of(volume: Volume, slices=None) -> Volume:
    """Two boxes of label 1 and 4; slices that are not listed are 255, not annotated."""
    _, depth, height, width = volume.array.shape
    array = np.zeros((1, depth, height, width), np.uint8)
    array[0, :, 2 : height // 2, 2 : width // 2] = 1
    array[0, : depth - 1, height // 2 : -2, width // 2 : -2] = 4
    if slices is not None:
        array[0, [k for k in range(depth) if k not in slices]] = IGNORE
    return volume.with_array(array)


def add_case(root, name: str, volume: Volume | None = None, labels: Volume | None = None, suffix=".nii.gz") -> Case:
    """Write an image and its labels into the folders ``images`` and ``labels``."""
    volume = blobs((24, 20, 6)) if volume is None else volume
    case = Case(name, root / "images" / f"{name}{suffix}", root / "labels" / f"{name}{suffix}")
    for path in (case.image, case.label):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_volume(case.image, volume)
    write_labels(case.label, labels_of(volume) if labels is None else labels, NAMES)
    return case


def test_case_as_it_is(tmp_path):
    case = add_case(tmp_path, "a")
    volume, values = load_case(case, STRUCTURES)
    assert volume.size == (24, 20, 6)
    np.testing.assert_array_equal(values, labels_of(volume).array[0])


def changed(field: str, change):
    volume = blobs((24, 20, 6))
    setattr(volume, field, change(getattr(volume, field)))
    return volume


@pytest.mark.parametrize(
    "other",
    [
        blobs((24, 20, 5)),
        changed("origin", lambda v: v + np.array([0, 0, 4])),
        changed("spacing", lambda v: v * 1.01),
        changed("direction", lambda v: v * (-1, -1, 1)),
        stored(blobs((24, 20, 6)), (1, 0, 2)),
    ],
    ids=["size", "origin", "spacing", "direction", "axis order"],
)
def test_labels_of_another_geometry(tmp_path, other):
    case = add_case(tmp_path, "a", labels=labels_of(other))
    with pytest.raises(GeometryError, match=r"a\.nii\.gz") as caught:
        load_case(case, STRUCTURES)
    assert "Resample" in caught.value.remedy


def test_label_value_among_no_classes(tmp_path):
    case = add_case(tmp_path, "a")
    with pytest.raises(ClassesError, match="label value 4") as caught:
        load_case(case, STRUCTURES[:1])
    assert "1=liver" in caught.value.message


def test_image_that_cannot_be_trained_on(tmp_path):
    volume = blobs((24, 20, 6), kind=np.float32)
    volume.array[0, 0, 0, 0] = np.nan
    with pytest.raises(VolumeError, match="NaN"):
        load_case(add_case(tmp_path, "a", volume), STRUCTURES)


def fingerprint_of(cases, structures=STRUCTURES, **changes):
    return fingerprint(cases, structures, TrainSettings(**changes))


def test_class_without_a_voxel(tmp_path):
    cases = [add_case(tmp_path, "a"), add_case(tmp_path, "b")]
    with pytest.raises(ClassesError, match="kidney"):
        fingerprint_of(cases, [*STRUCTURES, describe(2, "kidney")])


def test_class_only_in_one_of_the_cases(tmp_path):
    volume = blobs((24, 20, 6))
    labels = labels_of(volume)
    labels.array[labels.array == 4] = 0
    cases = [add_case(tmp_path, "a", volume, labels), add_case(tmp_path, "b")]
    assert fingerprint_of(cases).voxels == {1: 2 * 6 * 8 * 10, 4: 5 * 8 * 10}


def test_no_annotated_voxel_at_all(tmp_path):
    case = add_case(tmp_path, "a", labels=labels_of(blobs((24, 20, 6)), slices=()))
    with pytest.raises(ClassesError, match="liver"):
        fingerprint_of([case])


def case_with_lowest(root, name: str, lowest: int) -> Case:
    """A case whose lowest grey level is given."""
    volume = blobs((24, 20, 6))
    volume.array[...] += lowest - volume.array.min()
    return add_case(root, name, volume)


def test_modalities_do_not_mix(tmp_path):
    cases = [case_with_lowest(tmp_path, "a", -10), case_with_lowest(tmp_path, "b", -1000)]
    assert (fingerprint_of(cases[:1]).modality, fingerprint_of(cases[1:]).modality) == ("MR", "CT")
    with pytest.raises(ModalityError, match="CT, MR"):
        fingerprint_of(cases)
    assert fingerprint_of(cases, modality="MR").modality == "MR"


def test_images_whose_grey_levels_do_not_say_follow_the_others(tmp_path):
    """-250 may be CT without air or MR with negative values: it is of the kind of the others, else of none known."""
    cases = [case_with_lowest(tmp_path, str(lowest), lowest) for lowest in (0, -250, -1000)]
    assert fingerprint_of(cases[1:]).modality == "CT"
    assert fingerprint_of(cases[:2]).modality == "MR"
    assert fingerprint_of(cases[1:2]).modality == "OTHER"
    with pytest.raises(ModalityError, match="CT, MR"):
        fingerprint_of(cases)


@pytest.mark.parametrize(
    ("former", "lowest", "expected"),
    [("CT", -250, "CT"), ("MR", -250, "MR"), ("MR", -1000, "CT"), ("RGB", -250, "OTHER"), (None, -250, "OTHER")],
)
def test_images_whose_grey_levels_do_not_say_follow_the_model_that_is_continued(tmp_path, former, lowest, expected):
    case = case_with_lowest(tmp_path, "a", lowest)
    assert fingerprint([case], STRUCTURES, TrainSettings(), former=former).modality == expected


def test_grey_pictures_are_of_no_known_kind(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (1, 1, 20, 24), np.uint8)
    volume = Volume(picture, np.zeros(3), np.ones(3), np.eye(3), physical=False)
    labels = volume.with_array(np.where(picture > 99, 1, 4).astype(np.uint8))
    assert fingerprint_of([add_case(tmp_path, "a", volume, labels, suffix=".png")]).modality == "OTHER"


def test_grey_levels_of_ct_are_fixed_and_of_mr_are_not(tmp_path):
    ct = blobs((24, 20, 6))
    ct.array[...] -= 500
    found = fingerprint_of([add_case(tmp_path, "a", ct)]).slices.normalization
    inside = ct.array[0][labels_of(ct).array[0] > 0]
    assert found.kind == "window"
    assert found.low <= np.percentile(inside, 0.5) and found.high >= np.percentile(inside, 99.5)
    assert fingerprint_of([add_case(tmp_path, "b")]).slices.normalization.kind == "percentile"


def test_levels_of_voxels_that_are_not_annotated_do_not_count(tmp_path):
    ct = blobs((24, 20, 6))
    ct.array[...] -= 1000
    few = labels_of(ct, slices=(0, 2))
    expected = fingerprint_of([add_case(tmp_path, "a", ct, few)]).slices.normalization
    ct.array[0, [1, 3, 4, 5]] = 3000
    assert fingerprint_of([add_case(tmp_path, "b", ct, few)]).slices.normalization == expected


def test_grid_follows_the_data(tmp_path):
    volume = blobs((24, 20, 6), spacing=(10, 8, 30))
    found = fingerprint_of([add_case(tmp_path, "a", volume)])
    assert (found.slices.axis, found.slices.size) == ("acquisition", None)
    assert found.slices.spacing == (1.5, 1.5)  # 240 mm on at least 160 pixels
    assert found.median_size == (107, 160)
    assert found.slices_per_case == 6
    assert fingerprint_of([add_case(tmp_path, "b", volume)], size=240).slices.spacing == (1.0, 1.0)


def test_nearly_isotropic_volumes_are_cut_axially(tmp_path):
    volume = blobs((24, 20, 6), spacing=(1.2, 1, 1))
    assert fingerprint_of([add_case(tmp_path, "a", volume)]).slices.axis == "axial"
    assert fingerprint_of([add_case(tmp_path, "b", volume)], axis="coronal").slices.axis == "coronal"


def test_pictures_have_no_millimetres(tmp_path):
    picture = blobs((40, 30, 1), channels=3, kind=np.uint8)
    found = fingerprint_of([add_case(tmp_path, "a", picture, all_slices(picture), suffix=".png")])
    assert (found.modality, found.slices.spacing, found.slices.size) == ("RGB", None, 160)
    assert found.median_size == (120, 160)
    assert (found.slices.normalization.low, found.slices.normalization.high) == (0.0, 255.0)


def all_slices(volume: Volume) -> Volume:
    """Labels 1 and 4 in every slice."""
    array = np.zeros((1, *volume.array.shape[1:]), np.uint8)
    array[..., 3:9, 3:9], array[..., 10:16, 10:16] = 1, 4
    return volume.with_array(array)


def prepared_of(root, *cases, **changes) -> list[PreparedCase]:
    found = fingerprint_of(list(cases), size=32, **changes)
    return prepare(list(cases), STRUCTURES, found.slices, root / "prepared")


def test_prepared_slices_are_those_of_prediction(tmp_path):
    case = add_case(tmp_path, "a", stored(blobs((24, 20, 6)), (2, 0, 1), (True, False, True)))
    found = fingerprint_of([case], size=32)
    (prepared,) = prepare([case], STRUCTURES, found.slices, tmp_path / "prepared")
    stack = SliceStack(read_volume(case.image), found.slices)
    assert prepared.grey.dtype == np.float16 and prepared.target.dtype == np.uint8
    torch.testing.assert_close(
        torch.from_numpy(np.asarray(prepared.grey, np.float32)), stack.grey(0, len(stack)), atol=1e-3, rtol=0
    )
    assert prepared.target.shape == (len(stack), *stack.size)
    assert set(np.unique(prepared.target)) == {0, 1, 2}


def test_prepared_slices_are_read_from_the_disk(tmp_path):
    prepared = prepared_of(tmp_path, add_case(tmp_path, "a"), add_case(tmp_path, "b"))
    assert all(isinstance(array, StoredArray) for case in prepared for array in (case.grey, case.target))
    assert [case.id for case in prepared] == ["a", "b"]


def test_targets_are_class_indices(tmp_path):
    """Label 4 is the second class; 255 stays what it is."""
    volume = blobs((32, 32, 6))
    case = add_case(tmp_path, "a", volume, labels_of(volume, slices=(0, 1, 5)))
    (prepared,) = prepared_of(tmp_path, case)
    assert [sorted(set(np.unique(slice_))) for slice_ in prepared.target] == [[0, 1, 2]] * 2 + [[IGNORE]] * 3 + [[0, 1]]
    assert (prepared.annotated, prepared.foreground) == ([0, 1, 5], [0, 1, 5])


def test_no_annotated_slice(tmp_path):
    case = add_case(tmp_path, "a")
    found = fingerprint_of([case], size=32)
    write_labels(case.label, labels_of(blobs((24, 20, 6)), slices=()), NAMES)
    with pytest.raises(TrainingDataError, match="annotated"):
        prepare([case], STRUCTURES, found.slices, tmp_path / "prepared")


def numbered_case(annotated, foreground, count=9) -> PreparedCase:
    grey = np.random.default_rng(1).random((count, 1, 48, 40)).astype(np.float16)
    target = np.full((count, 48, 40), IGNORE, np.uint8)
    for k in annotated:
        target[k] = 0
    for k in foreground:
        target[k, 10:30, 10:30] = 1 + k % 2
    return PreparedCase("n", grey, target, list(annotated), list(foreground))


CASES = [numbered_case((0, 3, 4, 8), (3, 8)), numbered_case((1, 2, 5), (1, 5))]


def test_slices_that_nobody_annotated_are_never_shown():
    for epoch in range(20):
        shown = set(epoch_slices(CASES, 0, epoch))
        assert shown <= {(0, 0), (0, 3), (0, 4), (0, 8), (1, 1), (1, 2), (1, 5)}
        assert shown >= {(0, 3), (0, 8), (1, 1), (1, 5)}, "every slice with a structure is shown in every epoch"


def test_small_sets_are_repeated_evenly_and_large_ones_are_not():
    counts = Counter(epoch_slices(CASES, 0, 1))
    assert sum(counts.values()) >= 128 and max(counts.values()) == min(counts.values())
    large = [numbered_case(range(200), range(150), 200)]
    counts = Counter(epoch_slices(large, 0, 1))
    assert len(counts) == sum(counts.values()) == 150 + 50


def test_epochs_differ_and_can_be_drawn_again():
    assert epoch_slices(CASES, 0, 1) == epoch_slices(CASES, 0, 1)
    assert epoch_slices(CASES, 0, 1) != epoch_slices(CASES, 0, 2)
    assert epoch_slices(CASES, 0, 1) != epoch_slices(CASES, 1, 1)
    assert {k for epoch in range(9) for c, k in epoch_slices(CASES, 0, epoch) if c == 0} == {0, 3, 4, 8}


def samples(seed=0, epoch=1, context=1, cases=CASES) -> EpochSamples:
    return EpochSamples(cases, augmentation((32, 32), 20.0, 0.25, [1]), context, seed, epoch)


def test_threads_that_begin_after_the_batches_have_as_many_cores_as_before():
    before, found = torch.get_num_threads(), []
    torch.set_num_threads(3)
    try:
        assert len(list(samples().batches([[0, 1], [2]]))) == 2
        thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
        thread.start()
        thread.join()
    finally:
        torch.set_num_threads(before)
    assert found == [3]


def same(a, b) -> bool:
    return torch.equal(a[0], b[0]) and torch.equal(a[1], b[1])


def test_sample_follows_from_seed_epoch_and_position():
    one, other = samples(), samples()
    forward = {index: one[index] for index in range(8)}
    np.random.seed(5)  # noqa: NPY002  neither numpy's nor torch's own random numbers may matter
    torch.manual_seed(5)
    disorder = {index: other[index] for index in (5, 7, 6, 0, 4, 3, 2, 1)}
    assert all(same(forward[index], disorder[index]) for index in forward)
    assert not same(forward[0], samples(seed=1)[0])
    assert not same(forward[0], samples(epoch=2)[0])


def test_repeated_slices_are_augmented_differently():
    drawn = samples()
    first = drawn.slices[0]
    again = next(i for i in range(1, len(drawn)) if drawn.slices[i] == first)
    assert not same(drawn[0], drawn[again])


def test_form_of_a_sample():
    drawn, values = samples(), set()
    for index in range(20):
        image, target = drawn[index]
        assert image.shape == (3, 32, 32) and image.dtype == torch.float32
        assert target.shape == (32, 32) and target.dtype == torch.uint8
        assert image.min() >= 0 and image.max() <= 1
        values |= set(target.unique().tolist())
    assert values == {0, 1, 2}


def test_channels_of_a_sample_are_the_neighbours():
    case = numbered_case(range(5), range(5), 5)
    with_context, without = samples(cases=[case]), samples(context=0, cases=[case])
    for k, wanted in ((0, (0, 0, 1)), (2, (1, 2, 3)), (4, (3, 4, 4))):
        np.testing.assert_array_equal(with_context._channels(case.grey, k), case.grey[list(wanted), 0])
        np.testing.assert_array_equal(without._channels(case.grey, k), case.grey[[k, k, k], 0])


def test_image_and_target_stay_together():
    """Grey levels that are the classes must still be the classes after augmentation."""
    case = numbered_case(range(6), range(6), 6)
    case.grey[:, 0] = (case.target > 0).astype(np.float16)
    drawn = samples(cases=[case], context=0)
    agreement = []
    for index in range(12):
        image, target = drawn[index]
        middle = (image[1].max() + image[1].min()) / 2
        agreement.append(((image[1] > middle) == (target > 0)).float().mean())
    assert np.mean(agreement) > 0.97


def test_voxels_not_annotated_have_no_part_in_the_loss():
    loss = SegmentationLoss({"ce": 1.0, "dice": 1.0})
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 8, 8, generator=generator, requires_grad=True)
    target = torch.randint(0, 3, (2, 8, 8), generator=generator).to(torch.uint8)
    target[:, :4] = IGNORE
    loss(logits, target).backward()
    assert (logits.grad[:, :, :4] == 0).all()
    assert (logits.grad[:, :, 4:] != 0).any()
    other = logits.detach().clone()
    other[:, :, :4] = 50
    torch.testing.assert_close(loss(other, target), loss(logits.detach(), target))


def test_batch_without_any_annotated_voxel():
    logits = torch.randn(1, 3, 8, 8, requires_grad=True)
    loss = SegmentationLoss({"ce": 1.0, "dice": 1.0})(logits, torch.full((1, 8, 8), IGNORE, dtype=torch.uint8))
    loss.backward()
    assert loss.isfinite() and (logits.grad == 0).all()


@pytest.mark.parametrize(
    ("name", "structures"), [("acdc", {1: "rv", 2: "myo", 3: "lv"}), ("hippocampus", {1: "a", 2: "p"})]
)
def test_real_data(data_path, tmp_path, name, structures):
    cases = find_cases(data_path / name / "images", data_path / name / "labels")
    split = read_split(data_path / name / "split.json")
    train, val = select(cases, split, "train"), select(cases, split, "val")
    assert len(train) + len(val) == len(cases)
    assert not {case.id for case in train} & {case.id for case in val}
    found = fingerprint(val[:2], [describe(i, n) for i, n in structures.items()], TrainSettings())
    assert found.modality == "MR"
    assert 160 <= max(found.median_size) <= 256
    assert found.slices.axis == ("acquisition" if name == "acdc" else "axial")
