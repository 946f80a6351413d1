"""Prediction keeps memory bounded, goes on with less when it runs out, and leaves the network as it was."""

import threading
import weakref

import numpy as np
import pytest
import torch
from cards import STRUCTURES
from conftest import blobs
from sam2adapt.evaluation.cases import Case
from sam2adapt.evaluation.evaluate import mean_dice
from sam2adapt.imaging.volume import Volume, write_labels, write_volume
from sam2adapt.segmenting import predict
from sam2adapt.segmenting.predict import Options, segment
from sam2adapt.segmenting.slices import SliceStack
from sam2adapt.shared.errors import CancelledError, DeviceError


def labels_of(volume: Volume, model, **options) -> np.ndarray:
    return segment(volume, model, Options(**options)).labels.array[0]


@pytest.fixture
def model(make_model):
    return make_model()


def test_only_batches_of_probabilities_exist(model):
    """Memory must not grow with slices: of a whole volume only one-byte labels are kept."""
    volume, seen, alive = blobs((16, 14, 30)), [], []
    forward = model.network.forward

    def watched(images):
        alive.append(sum(reference() is not None for reference in seen))
        return forward(images)

    def observe(stack, start, probabilities):
        seen.append(weakref.ref(probabilities))
        assert len(probabilities) <= 4
        assert probabilities.shape[1:] == (4, 14, 16)
        assert isinstance(stack, SliceStack) and start == 4 * (len(seen) - 1)

    model.network.forward = watched
    found = segment(volume, model, Options(batch_size=4, observe=observe))
    assert alive == [0] * 8, "probabilities of an earlier batch are still held"
    assert found.labels.array.dtype == np.uint8
    assert found.uncertainty is None


def test_batch_follows_the_size_of_the_slices(make_model, monkeypatch):
    lengths = []
    model = make_model(slices={"size": 64})
    monkeypatch.setitem(predict._PIXELS_PER_BATCH, "cpu", 3 * 64 * 64)
    segment(blobs((16, 16, 7)), model, Options(observe=lambda s, start, p: lengths.append(len(p))))
    assert lengths == [3, 3, 1]


def test_result_does_not_depend_on_the_batch(model, float32):
    volume = blobs()
    expected = labels_of(volume, model, batch_size=7)
    for size in (1, 2, 3):
        np.testing.assert_array_equal(labels_of(volume, model, batch_size=size), expected)


def test_slices_may_be_prepared_ahead(model, monkeypatch):
    """As on a GPU: the same labels, the same smaller batches, and no thread is left behind."""
    volume, threads = blobs(), set(threading.enumerate())
    expected = labels_of(volume, model, batch_size=2)
    monkeypatch.setattr(predict, "_reads_ahead", lambda device: True)
    np.testing.assert_array_equal(labels_of(volume, model, batch_size=2), expected)
    with pytest.raises(CancelledError):
        segment(volume, model, Options(batch_size=2), cancelled=lambda: True)
    asked = limited(model.network, 1)
    labels_of(volume, model, batch_size=4)
    assert asked == [4, 2, *[1] * 7]
    assert set(threading.enumerate()) == threads


def limited(network, largest: int, error=torch.OutOfMemoryError) -> list[int]:
    """Let a network run out of memory for larger batches; gives the list of batches that it was asked for."""
    forward, asked = network.forward, []

    def watched(images):
        asked.append(len(images))
        if len(images) > largest:
            raise error("CUDA out of memory. [enforce fail] DefaultCPUAllocator: can't allocate memory")
        return forward(images)

    network.forward = watched
    return asked


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_smaller_batches_when_memory_runs_out(model, error, caplog):
    volume = blobs()
    expected = labels_of(volume, model, batch_size=1)
    asked = limited(model.network, 2, error)
    np.testing.assert_array_equal(labels_of(volume, model, batch_size=7), expected)
    assert asked == [7, 3, *[1] * 7]
    assert "Memory ran out" in caplog.text


def test_no_memory_for_a_single_slice(model):
    limited(model.network, 0)
    with pytest.raises(DeviceError, match="single slice") as caught:
        segment(blobs(), model)
    assert "smaller base network" in caught.value.remedy and caught.value.setting == ("model",)


def test_other_errors_of_the_network_are_ours(model):
    def broken(images):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    model.network.forward = broken
    with pytest.raises(RuntimeError, match="mat1"):
        segment(blobs(), model)


def test_network_is_left_as_it_was(model):
    for training in (True, False):
        model.network.train(training)
        segment(blobs(), model)
        assert model.network.training is training
    limited(model.network.train(), 0)
    with pytest.raises(DeviceError):
        segment(blobs(), model)
    assert model.network.training


def on_a_full_gpu(model, monkeypatch) -> list[str]:
    """Give the model a GPU whose memory holds no slice; the list tells where its network is moved."""
    moves, real = [], predict._segment_slices

    def segmenting(model, *arguments):
        if model.device.type != "cpu":
            raise torch.OutOfMemoryError("full")
        return real(model, *arguments)

    monkeypatch.setattr(predict, "_segment_slices", segmenting)
    monkeypatch.setattr(model.network, "to", lambda device: moves.append(str(device)))
    model.device = torch.device("mps")
    return moves


def test_network_that_went_on_with_the_cpu_returns_to_the_gpu(model, monkeypatch, float32, caplog):
    volume = blobs()
    expected = labels_of(volume, model)
    moves = on_a_full_gpu(model, monkeypatch)
    result = segment(volume, model)
    np.testing.assert_array_equal(result.labels.array[0], expected)
    assert (result.device.type, model.device.type) == ("cpu", "mps")
    assert moves == ["cpu", "mps"]
    assert "ran out with 7 slices at once; going on with 3" in caplog.messages[0], "the volume has 7"


def test_network_returns_to_the_gpu_after_an_error_too(model, monkeypatch):
    moves = on_a_full_gpu(model, monkeypatch)
    with pytest.raises(CancelledError):
        segment(blobs(), model, cancelled=lambda: True)
    limited(model.network, 0)
    with pytest.raises(DeviceError, match="single slice"):
        segment(blobs(), model)
    model.network.forward = lambda images: torch.zeros(0)  # a defect
    with pytest.raises((IndexError, RuntimeError)):
        segment(blobs(), model)
    assert moves == ["cpu", "mps"] * 3 and model.device.type == "mps"


def test_validation_leaves_the_network_in_training_where_it_is(model, monkeypatch, tmp_path, float32):
    volume = blobs()
    case = Case("a", tmp_path / "image.nrrd", tmp_path / "label.nrrd")
    write_volume(case.image, volume)
    write_labels(case.label, segment(volume, model).labels, STRUCTURES)
    moves = on_a_full_gpu(model, monkeypatch)
    model.network.train()
    assert mean_dice(model, [case])["mean"] == pytest.approx(1.0)
    assert moves == ["cpu", "mps"] and model.device.type == "mps" and model.network.training


def test_network_that_finds_no_place_on_the_gpu_any_more(model, monkeypatch):
    """It is then whole on the CPU, and that is said."""
    moves = on_a_full_gpu(model, monkeypatch)

    def to(device):
        moves.append(str(device))
        if device.type == "mps":
            raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(model.network, "to", to)
    with pytest.raises(DeviceError, match="no longer holds the model"):
        segment(blobs(), model)
    assert moves == ["cpu", "mps", "cpu"] and model.device.type == "cpu"
