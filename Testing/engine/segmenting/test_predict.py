"""Prediction: the same patient gives the same labels, memory stays bounded, and bad input is said clearly."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from cards import STRUCTURES
from conftest import blobs, rotation, shake, stored, unstored, untrained
from hypothesis import given, settings
from hypothesis import strategies as st
from sam2adapt.imaging.volume import Volume
from sam2adapt.network.weights import load_base
from sam2adapt.segmenting import predict
from sam2adapt.segmenting.model import load_model
from sam2adapt.segmenting.predict import Options, segment
from sam2adapt.segmenting.slices import SliceStack
from sam2adapt.shared.errors import (
    CancelledError,
    ClassesError,
    InputFileError,
    ModalityError,
    ModelNotFoundError,
    SettingsError,
    VolumeError,
    WeightsMissingError,
)

ORDERS = [
    ((0, 1, 2), (True, False, False)),
    ((2, 1, 0), (False, False, False)),
    ((1, 2, 0), (True, True, False)),
    ((2, 0, 1), (False, True, True)),
    ((0, 2, 1), (True, True, True)),
]
OBLIQUE = rotation((1, 2, -1), 0.5)


def labels_of(volume: Volume, model, **options) -> np.ndarray:
    return segment(volume, model, Options(**options)).labels.array[0]


@pytest.fixture
def model(make_model):
    return make_model()


@pytest.mark.parametrize("direction", [np.eye(3), OBLIQUE, rotation((0, 0, 1), np.pi / 4)], ids=["", "oblique", "45°"])
@pytest.mark.parametrize("size", [(20, 18, 7), (20, 18, 1)], ids=["stack", "one slice"])
@pytest.mark.parametrize("kind", [np.int16, np.float32])
def test_same_patient_same_labels(model, direction, size, kind):
    volume = blobs(size, direction=direction, kind=kind)
    result = segment(volume, model, Options(uncertainty=True))
    expected, doubt = result.labels.array[0], result.uncertainty.array[0]
    assert len(np.unique(expected)) >= 3, "the random network must say something"
    for order, flips in ORDERS:
        way = stored(volume, order, flips)
        found = segment(way, model, Options(uncertainty=True))
        np.testing.assert_array_equal(unstored(found.labels.array[0], order, flips), expected)
        np.testing.assert_array_equal(unstored(found.uncertainty.array[0], order, flips), doubt)
        for output in (found.labels, found.uncertainty):
            assert output.size == way.size
            for field in ("origin", "spacing", "direction"):
                np.testing.assert_array_equal(getattr(output, field), getattr(way, field))


def test_post_processing_does_not_depend_on_how_the_volume_is_stored(make_model, monkeypatch):
    """Of two pieces of equal size always the same one must stay."""
    model = make_model(postprocessing={"largest_component": [1], "fill_holes": [1]})
    volume = blobs((12, 10, 6))
    mask = np.zeros((6, 10, 12), bool)
    mask[1:3, 2:5, 1:4] = mask[3:5, 6:9, 7:10] = True
    expected = None
    for order, flips in [((0, 1, 2), (False,) * 3), *ORDERS]:
        way = stored(volume, order, flips)
        truth = stored(volume.with_array(mask), order, flips).array[0]
        monkeypatch.setattr(predict, "_logits", _given(SliceStack(way, model.slices).oriented(truth)))
        found = unstored(labels_of(way, model), order, flips)
        expected = found if expected is None else expected
        assert (found == 1).sum() == 18
        np.testing.assert_array_equal(found, expected)


def _given(mask: np.ndarray, classes: int = len(STRUCTURES) + 1):
    """A stand-in for the network: class 1 where the mask (N, H, W) of all slices is true."""
    inside = torch.from_numpy(mask.astype(np.float32))
    result = torch.zeros(len(inside), classes, *inside.shape[1:])
    result[:, 0], result[:, 1] = 1 - inside, inside
    return lambda model, images, scales: [result]


def test_labels_are_the_ids_of_the_card(make_model, monkeypatch):
    """Class k of the network is the k-th entry of the card, whatever its label value."""
    model = make_model()
    assert model.label_values == [0, 1, 7, 3]
    volume = blobs((8, 8, 4))

    logits = torch.eye(4).view(4, 4, 1, 1).expand(4, 4, 8, 8)
    monkeypatch.setattr(predict, "_logits", lambda model, images, scales: [logits])
    found = labels_of(volume, model)
    assert [int(slice_[0, 0]) for slice_ in found] == [0, 1, 7, 3]
    assert labels_of(volume, model, structures=["left lung"]).max() == 7
    assert set(np.unique(labels_of(volume, model, structures=["Heart ", "RIGHT LUNG"]))) == {0, 1, 3}


def test_structures_filter_keeps_the_others_voxels_away(model):
    volume = blobs()
    whole = labels_of(volume, model)
    some = labels_of(volume, model, structures=["left lung"])
    assert (whole == 7).any()
    np.testing.assert_array_equal(some, np.where(whole == 7, 7, 0))


def test_result_lists_what_was_asked_for(model):
    """Once each, in the order and with the names of the model."""
    assert segment(blobs(), model).structures == STRUCTURES
    asked = Options(structures=[" HEART", "left \t Lung", "Left lung "])
    result = segment(blobs(), model, asked)
    assert [structure.name for structure in result.structures] == ["left lung", "heart"]
    assert set(np.unique(result.labels.array)) <= {0, 3, 7}
    voxels = {value: int((result.labels.array == value).sum()) for value in (7, 3)}
    assert result.sizes == [
        {"id": 7, "name": "left lung", "voxels": voxels[7], "ml": round(voxels[7] * 0.006, 3)},
        {"id": 3, "name": "heart", "voxels": voxels[3], "ml": round(voxels[3] * 0.006, 3)},
    ]


def test_pictures_have_no_millilitres(model):
    sizes = segment(replace(blobs((20, 18, 1)), physical=False), model, Options(structures=["heart"])).sizes
    assert [(size["name"], size["ml"]) for size in sizes] == [("heart", None)]


@pytest.mark.parametrize("names", [["heart", "spleen"], ["spleen", "kidney"], ["leftlung"], [" "], ["heart", ""]])
def test_unknown_structure_is_refused(model, names):
    unknown = next(name for name in names if name != "heart")
    with pytest.raises(ClassesError) as caught:
        segment(blobs(), model, Options(structures=names))
    assert caught.value.message == f"Model 'test' does not segment '{unknown.strip()}'."
    assert caught.value.remedy == "It segments: right lung, left lung, heart."


def test_an_empty_choice_is_refused(model):
    with pytest.raises(ClassesError, match="No structure of model 'test' was chosen") as caught:
        segment(blobs(), model, Options(structures=[]))
    assert "right lung, left lung, heart" in caught.value.remedy


@pytest.mark.parametrize("way", [((0, 1, 2), (False,) * 3), *ORDERS])
def test_region_clips_on_the_volume_as_it_is_stored(model, way, float32):
    volume = stored(blobs(), *way)
    whole = segment(volume, model, Options(uncertainty=True))
    sizes = volume.size
    roi = (1, sizes[0] - 2, 2, sizes[1] - 1, 2, sizes[2] - 2)
    found = segment(volume, model, Options(uncertainty=True, roi=roi))
    inside = np.zeros(volume.array.shape[1:], bool)
    inside[roi[4] : roi[5], roi[2] : roi[3], roi[0] : roi[1]] = True
    for part in ("labels", "uncertainty"):
        expected, clipped = getattr(whole, part).array[0], getattr(found, part).array[0]
        np.testing.assert_allclose(clipped, np.where(inside, expected, 0), atol=1e-6)
    assert found.slices < whole.slices


def test_region_comes_before_the_largest_piece(make_model, monkeypatch):
    """The largest piece is that of the region: a larger one elsewhere must not take it away."""
    model = make_model(postprocessing={"largest_component": [1]})
    mask = np.zeros((6, 10, 12), bool)
    mask[1:5, 1:9, 1:6] = mask[2:4, 4:6, 9:11] = True
    monkeypatch.setattr(predict, "_logits", _given(mask))
    volume = blobs((12, 10, 6))
    assert labels_of(volume, model).sum() == 4 * 8 * 5
    found = labels_of(volume, model, roi=(8, 12, 0, 10, 0, 6))
    np.testing.assert_array_equal(found, mask & (np.arange(12) >= 8))


@pytest.mark.parametrize("roi", [(0, 21, 0, 5, 0, 5), (5, 5, 0, 5, 0, 5), (-1, 5, 0, 5, 0, 5), (0, 5, 0, 5, 6, 3)])
def test_region_outside_the_volume_is_refused(model, roi):
    with pytest.raises(SettingsError, match="20 x 18 x 7"):
        segment(blobs(), model, Options(roi=roi))


@pytest.mark.parametrize("tta", [False, True])
def test_uncertainty_is_an_entropy(model, tta):
    found = segment(blobs(), model, Options(uncertainty=True, tta=tta)).uncertainty
    assert found.array.dtype == np.float32
    assert found.array.min() >= 0 and found.array.max() <= 1
    assert np.ptp(found.array) > 0.01


@pytest.mark.parametrize("probabilities", [(1, 0, 0, 0), (0.5, 0.5, 0, 0), (0.25, 0.25, 0.25, 0.25)])
def test_uncertainty_of_known_probabilities(model, monkeypatch, probabilities):
    logits = torch.tensor(probabilities, dtype=torch.float32).log().view(1, 4, 1, 1)
    monkeypatch.setattr(predict, "_logits", lambda model, images, scales: [logits.repeat(len(images), 1, 18, 20)])
    expected = {1: 0.0, 0.5: 0.5, 0.25: 1.0}[probabilities[0]]
    found = segment(blobs(), model, Options(uncertainty=True)).uncertainty.array
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.max() <= 1


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 12), st.integers(0, 999))
def test_equal_classes_are_never_more_than_wholly_uncertain(classes, seed):
    logits = torch.randn(1, 1, 9, 9, generator=torch.Generator().manual_seed(seed)).repeat(1, classes, 1, 1)
    found = predict.entropy_of(logits.softmax(1))
    assert (found <= 1).all() and (found > 0.9999).all()


def test_augmentation_averages_three_scales(model):
    volume, sizes = blobs(), []
    forward = model.network.forward

    def watched(images):
        sizes.append(tuple(images.shape[-2:]))
        return forward(images)

    model.network.forward = watched
    batches = []
    plain = segment(volume, model, Options(observe=lambda s, start, p: batches.append(p)))
    assert sizes == [(29, 32)]
    augmented = segment(volume, model, Options(tta=True, observe=lambda s, start, p: batches.append(p)))
    assert sizes[1:] == [(29, 32), (25, 28), (33, 36)]
    first, second = batches
    assert first.shape == second.shape == (7, 4, 18, 20)
    torch.testing.assert_close(second.sum(1), torch.ones(7, 18, 20))
    assert not torch.equal(first, second)
    assert plain.labels.array.shape == augmented.labels.array.shape


def test_progress_counts_the_slices(model):
    seen = []
    segment(blobs(), model, Options(batch_size=3), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(0, 7), (3, 7), (6, 7), (7, 7)]


def test_cancelled_between_batches(model):
    observed = []
    options = Options(batch_size=2, observe=lambda s, start, p: observed.append(start))
    with pytest.raises(CancelledError):
        segment(blobs(), model, options, cancelled=lambda: len(observed) == 2)
    assert observed == [0, 2]


def test_cancelled_anywhere_within_the_slices_of_a_batch():
    """A large picture takes a CPU seconds, and a user who cancels does not wait for it."""
    model, volume, looks = load_model("hippocampus-mr"), blobs((10, 10, 2)), []
    options = Options(tta=True, uncertainty=True, any_modality=True)
    expected = segment(volume, model, options)

    def count_to(last: int):
        looks.clear()
        return lambda: looks.append(0) or len(looks) == last

    found = segment(volume, model, options, cancelled=count_to(0))
    np.testing.assert_array_equal(found.uncertainty.array, expected.uncertainty.array)
    every, blocks = len(looks), len(model.network.plain.base.image_encoder.trunk.blocks)
    assert every > 3 * (blocks + 20)  # at three scales, with the layers of what draws thin structures
    for last in range(1, every + 1, every // 6):
        with pytest.raises(CancelledError, match="The segmentation was cancelled"):
            segment(volume, model, options, cancelled=count_to(last))
        assert len(looks) == last
    np.testing.assert_array_equal(segment(volume, model, options).labels.array, expected.labels.array)


def test_volume_is_not_changed(model):
    volume = blobs()
    before = volume.array.copy()
    segment(volume, model, Options(tta=True, roi=(1, 5, 1, 5, 1, 5)))
    np.testing.assert_array_equal(volume.array, before)


def test_colour_for_a_ct_model_is_refused(model):
    picture = blobs((12, 10, 1), channels=3, kind=np.uint8)
    with pytest.raises(ModalityError, match="colour"):
        segment(picture, model)
    assert labels_of(picture, model, any_modality=True).shape == (1, 10, 12)


def test_colour_model(make_model):
    model = make_model(modality="RGB", slices={"normalization": {"kind": "range", "low": 0.0, "high": 255.0}})
    found = labels_of(blobs((40, 33, 1), channels=3, kind=np.uint8), model)
    assert found.shape == (1, 33, 40)
    with pytest.raises(ModalityError, match="not a colour image"):
        segment(blobs(), model)


def broken_volume(change) -> Volume:
    volume = blobs(kind=np.float32)
    change(volume.array)
    return volume


@pytest.mark.parametrize(
    ("volume", "said"),
    [
        (broken_volume(lambda a: a.__setitem__((0, 1, 2, 3), np.nan)), "NaN"),
        (broken_volume(lambda a: a.__setitem__((0, 1, 2, 3), np.inf)), "infinite"),
        (broken_volume(lambda a: a.fill(7)), "constant"),
        (Volume(np.zeros((1, 0, 5, 5)), np.zeros(3), np.ones(3), np.eye(3)), "size zero"),
        (Volume(np.arange(9.0).reshape(1, 9, 1, 1), np.zeros(3), np.ones(3), np.eye(3)), "1 x 1"),
    ],
    ids=["NaN", "infinite", "constant", "size zero", "1x1 in plane"],
)
def test_voxels_that_cannot_be_segmented_are_refused(model, volume, said):
    with pytest.raises(VolumeError, match=said) as caught:
        segment(volume, model)
    assert caught.value.remedy


@pytest.mark.parametrize("size", [(2, 2, 1), (1, 2, 2), (2, 40, 3), (3, 2, 2)])
def test_smallest_volumes(model, size):
    volume = blobs(size)
    volume.array.flat[0] += 100
    assert labels_of(volume, model, any_modality=True).shape == size[::-1]


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64, ">i2"])
def test_any_kind_of_number(model, kind):
    volume = blobs(kind=np.uint8)
    expected = labels_of(volume, model, any_modality=True)
    np.testing.assert_array_equal(
        labels_of(volume.with_array(volume.array.astype(kind)), model, any_modality=True), expected
    )


def test_model_from_its_file(bundle_file):
    """What training writes and what is loaded for prediction, with everything fused, say the same."""
    model = load_model("test")
    assert model.structures == STRUCTURES
    assert not model.network.training
    assert not any(parameter.requires_grad for parameter in model.network.parameters())
    network, _ = untrained(model.card)
    network.base.load_state_dict(load_base("small-test")[0].state_dict(), strict=False)  # as stored, in half precision
    shake(network)
    images = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(model.network(images), network.eval()(images), atol=1e-4, rtol=1e-4)
    assert len(np.unique(labels_of(blobs(), model))) >= 3


def test_model_without_its_base(bundle_file, home):
    (home / "bases" / "small-test.safetensors").unlink()
    with pytest.raises(WeightsMissingError, match="small-test"):
        load_model(bundle_file)


def test_unknown_model(bundle_file, tmp_path):
    with pytest.raises(ModelNotFoundError, match="tset") as caught:
        load_model("tset")
    assert "'test'" in caught.value.remedy
    with pytest.raises(InputFileError, match=r"none\.safetensors"):
        load_model(tmp_path / "none.safetensors")
