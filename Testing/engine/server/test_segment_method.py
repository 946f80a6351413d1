"""The server's ``segment`` with the bundled model: the labels of ``predict.segment``, and all that is refused."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import slicerio
from conftest import blobs, noise, rotation, stored
from sam2adapt.imaging.volume import Volume, read_volume
from sam2adapt.modelfiles import catalog
from sam2adapt.requests.arrays import read_input, write_array
from sam2adapt.segmenting import predict
from sam2adapt.segmenting.model import load_model
from sam2adapt.server.warm_models import WarmModels
from sam2adapt.shared.errors import GeometryError, InputFileError, OutputError, VolumeError
from serve_client import Client, assert_refused, described, patched

CHEST = Path(str(slicerio.get_testdata_file("CTChest4.nrrd")))
# Tells of every load of a model; for volumes of certain names memory runs out once, or a GPU proved too small.
PATCH = """
import logging, torch
from sam2adapt.segmenting import model, predict
load, compute, failed, names = model.load_model, predict._logits, [], []
def load_model(*arguments):
    logging.getLogger("sam2adapt.segmenting.model").warning("a model is loaded")
    return load(*arguments)
def logits(*arguments):
    if names[-1] == "huge" and not failed:
        failed.append(True)
        raise torch.OutOfMemoryError("full")
    return compute(*arguments)
run = predict.segment
def segment(volume, model, *arguments):
    names.append(volume.name)
    result = run(volume, model, *arguments)
    if volume.name == "too large for the GPU":
        result.device = torch.device("meta")
    return result
model.load_model, predict._logits, predict.segment = load_model, logits, segment
"""


@pytest.fixture(scope="module")
def server():
    with Client(patched(PATCH), OMP_NUM_THREADS="1") as client:
        client.receive()
        yield client


@pytest.fixture(scope="module")
def model():
    return load_model("torso-ct")


@pytest.fixture(scope="module")
def chest() -> Volume:
    """Ten real slices through both lungs, coarser in plane."""
    volume = read_volume(CHEST)
    return replace(volume, array=volume.array[:, 10:20, ::3, ::3].copy(), spacing=volume.spacing * [3, 3, 1])


def request(volume: Volume, folder: Path, **changes) -> dict:
    params = {"input": described(volume, folder), "model": "torso-ct", "labels": str(folder / "labels.npy")}
    return {**params, "device": "cpu", **changes}


def expected(volume: Volume, model, **options) -> predict.Segmentation:
    return predict.segment(volume, model, predict.Options(**options))


OBLIQUE = rotation((1, 2, 3), 0.4)


@pytest.mark.parametrize(
    ("name", "order", "flips", "turned"),
    [
        ("as stored", (0, 1, 2), (False, False, False), np.eye(3)),
        ("left-handed", (0, 1, 2), (False, False, True), np.eye(3)),
        ("sagittal, reversed", (2, 1, 0), (True, False, True), np.eye(3)),
        ("oblique", (0, 1, 2), (False, False, False), OBLIQUE),
        ("oblique, left-handed, coronal", (0, 2, 1), (False, True, False), OBLIQUE),
    ],
)
def test_labels_are_those_of_predict(name, order, flips, turned, server, chest, model, tmp_path):
    volume = stored(chest, order, flips)
    volume.direction = turned @ volume.direction
    answer = server.result("segment", **request(volume, tmp_path))
    labels = np.load(tmp_path / "labels.npy")
    wanted = expected(volume, model).labels.array[0]
    assert labels.dtype == np.uint8
    np.testing.assert_array_equal(labels, wanted)
    assert set(np.unique(labels)) == {0, 1, 2}
    assert answer["slices"] == 10
    for structure in answer["structures"]:
        assert structure["voxels"] == (labels == structure["id"]).sum()
        assert structure["ml"] == pytest.approx(structure["voxels"] * np.prod(volume.spacing) / 1000, abs=1e-3)


def test_result_says_all_about_the_run(server, chest, model, tmp_path):
    answer = server.result("segment", **request(chest, tmp_path))
    card = model.card
    assert answer["model"] == {"name": "torso-ct", "version": card["version"], "digest": card["digest"]}
    assert answer["device"] == "cpu"
    assert answer["deviceReason"] == "cpu, as requested"
    parts = {"load", "prepare", "network", "post-process", "write"}
    assert answer["seconds"].keys() == parts | {"total", "read", "model"}
    assert answer["seconds"]["load"] == answer["seconds"]["read"] + answer["seconds"]["model"]
    assert sum(answer["seconds"][part] for part in parts) <= answer["seconds"]["total"] + 0.01  # each is rounded
    for structure, entry in zip(answer["structures"], card["classes"], strict=True):
        assert {key: structure[key] for key in ("id", "name", "terminology", "color")} == entry


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ({"structures": ["Left Lung"]}, {"structures": ["left lung"]}),
        ({"roi": [5, 30, 5, 40, 2, 6]}, {"roi": (5, 30, 5, 40, 2, 6)}),
        ({"tta": True}, {"tta": True}),
        ({"postProcess": False}, {"post_process": False}),
        ({"roi": None, "structures": None, "uncertainty": None}, {}),
    ],
)
def test_options(changes, options, server, chest, model, tmp_path):
    answer = server.result("segment", **request(chest, tmp_path, **changes))
    wanted = expected(chest, model, **options)
    np.testing.assert_array_equal(np.load(tmp_path / "labels.npy"), wanted.labels.array[0])
    assert answer["slices"] == wanted.slices
    assert [s["name"] for s in answer["structures"]] == changes.get("structures") or ["right lung", "left lung"]


def test_uncertainty(server, chest, model, tmp_path):
    server.result("segment", **request(chest, tmp_path, uncertainty=str(tmp_path / "u.npy")))
    uncertainty = np.load(tmp_path / "u.npy")
    assert uncertainty.dtype == np.float32
    assert 0 <= uncertainty.min() < uncertainty.max() <= 1
    np.testing.assert_array_equal(uncertainty, expected(chest, model, uncertainty=True).uncertainty.array[0])


@pytest.mark.parametrize("kind", [">i2", "<f8", ">f4", "i8"])
def test_kinds_of_numbers_and_orders_in_memory(kind, chest, tmp_path):
    params = described(chest, tmp_path)
    np.save(tmp_path / "input.npy", np.asfortranarray(chest.array[0].astype(kind)))
    volume = read_input(params)
    assert volume.array.dtype.itemsize <= 8
    assert volume.array.dtype != np.float64
    np.testing.assert_array_equal(volume.array, chest.array)


def test_warm_model_is_not_loaded_again_until_its_file_changes(server, chest, tmp_path):
    path = tmp_path / "model.safetensors"
    shutil.copy(catalog.find_model("torso-ct"), path)
    params = request(chest, tmp_path, model=str(path))
    assert server.result("segment", **params)["warnings"] == ["a model is loaded"]
    assert server.result("segment", **params)["warnings"] == []
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    assert server.result("segment", **params)["warnings"] == ["a model is loaded"]


def test_two_models_stay_loaded(monkeypatch, tmp_path):
    loaded = []
    load = "sam2adapt.segmenting.model.load_model"
    monkeypatch.setattr(load, lambda path, device: loaded.append(path.stem) or object())
    engine = WarmModels()
    paths = {name: tmp_path / f"{name}.safetensors" for name in "abc"}
    for path in paths.values():
        path.touch()
    for name in "abacab":
        model = engine.model(str(paths[name]), "cpu")
        assert engine.model(str(paths[name]), "cpu") is model
    assert loaded == list("abcb")


@pytest.mark.parametrize("used", [True, False])
def test_memory_of_a_gpu_is_left_to_others_between_requests(used, monkeypatch):
    calls = []
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: used)
    monkeypatch.setattr("torch.cuda.empty_cache", lambda: calls.append(1))
    WarmModels().rest()
    assert len(calls) == used


def test_progress_goes_up_to_the_last_slice(server, chest, tmp_path):
    running = server.send("segment", **request(chest, tmp_path))
    server.answer(running)
    progress = server.seen_of("progress", running)
    assert (progress[0]["stage"], progress[-1]["stage"]) == ("loading", "finishing")
    slices = [p for p in progress if p["stage"] == "segmenting"]
    assert (slices[0]["done"], slices[-1]["done"]) == (0, 10)
    assert {p["total"] for p in slices} == {10}
    fractions = [p["fraction"] for p in progress]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 1
    assert all(p["unit"] == "slice" for p in slices)


def large(chest: Volume) -> Volume:
    """So many slices that the network needs several seconds."""
    return replace(chest, array=np.tile(chest.array, (1, 60, 1, 1)))


def test_cancel_in_the_middle_leaves_no_labels(server, chest, tmp_path):
    running = server.send("segment", **request(large(chest), tmp_path))
    while not server.progress(running)["done"]:
        pass
    server.send("cancel", id=running)
    error = server.answer(running)["error"]
    assert error["data"]["kind"] == "CancelledError"
    assert server.seen_of("progress", running)[-1]["fraction"] < 1
    assert not (tmp_path / "labels.npy").exists()
    assert server.result("segment", **request(chest, tmp_path))["structures"][0]["voxels"]


def test_end_of_input_in_the_middle_of_a_run(chest, tmp_path):
    with Client() as client:
        client.receive()
        running = client.send("segment", **request(large(chest), tmp_path))
        while not client.progress(running)["done"]:
            pass
        client.process.stdin.close()
        assert client.ended() == 0
    assert not (tmp_path / "labels.npy").exists()


def test_folder_that_vanishes_on_the_way(server, chest, tmp_path):
    folder = tmp_path / "private"
    folder.mkdir()
    running = server.send("segment", **request(large(chest), folder, roi=[0, 2, 0, 2, 0, 100]))
    while server.progress(running)["stage"] != "segmenting":
        pass
    shutil.rmtree(folder)
    error = server.answer(running)["error"]
    assert error["data"]["kind"] == "OutputError"
    assert "private" in error["message"]


def with_voxel(value: float) -> np.ndarray:
    array = noise(4, 20, 20).astype(np.float32)
    array[1, 2, 3] = value
    return array


BAD_ARRAYS = {
    "NaN": (with_voxel(np.nan), "VolumeError", "1 NaN"),
    "infinite": (with_voxel(np.inf), "VolumeError", "1 infinite"),
    "beyond float32": (with_voxel(5).astype(np.float64) * 1e300, "VolumeError", "infinite"),
    "constant": (np.full((4, 20, 20), 7, np.int16), "VolumeError", "constant"),
    "4-D": (noise(5, 4, 20, 20), "VolumeError", "4 dimensions"),
    "2-D": (noise(20, 20), "VolumeError", "2 dimensions"),
    "empty": (noise(0, 20, 20), "VolumeError", "size zero"),
    "a line": (noise(9, 1, 1), "VolumeError", "1 x 1"),
    "complex": (noise(4, 20, 20).astype(np.complex64), "VolumeError", "complex64"),
    "colour": (np.abs(noise(4, 20, 20, 3)).astype(np.uint8), "ModalityError", "colour"),
    "MR": (np.abs(noise(4, 20, 20)), "ModalityError", "grey levels of MR"),
}


@pytest.mark.parametrize("case", BAD_ARRAYS)
def test_arrays_that_cannot_be_segmented(case, server, tmp_path):
    array, kind, word = BAD_ARRAYS[case]
    params = request(blobs(size=(20, 20, 4)), tmp_path)
    np.save(tmp_path / "input.npy", array)
    assert_refused(server.error("segment", **params), kind, word)
    assert not (tmp_path / "labels.npy").exists()


def test_other_modality_is_let_through_when_asked_for(server, tmp_path):
    params = request(blobs(size=(20, 20, 4)), tmp_path)
    params["input"]["modality"] = "MR"
    assert_refused(server.error("segment", **params), "ModalityError", "is MR")
    assert server.result("segment", **params, anyModality=True)["slices"] == 4


@pytest.mark.parametrize(
    ("changes", "kind", "word"),
    [
        ({"model": "torso-cd"}, "ModelNotFoundError", "torso-cd"),
        ({"model": "nowhere/m.safetensors"}, "InputFileError", "m.safetensors"),
        ({"structures": ["spleen"]}, "ClassesError", "spleen"),
        ({"roi": [0, 500, 0, 5, 0, 5]}, "SettingsError", "is not inside the volume"),
        ({"device": "cuda:77"}, "DeviceError", "cuda:77"),
        ({"device": "abacus"}, "DeviceError", "abacus"),
        ({"labels": "/nowhere/labels.npy"}, "OutputError", "/nowhere"),
        ({"uncertainty": "/nowhere/u.npy"}, "OutputError", "/nowhere"),
    ],
)
def test_parameters_that_are_not_possible(changes, kind, word, server, chest, tmp_path):
    assert_refused(server.error("segment", **request(chest, tmp_path, **changes)), kind, word)
    assert not (tmp_path / "labels.npy").exists()


def test_missing_array_is_refused_by_the_server(server, chest, tmp_path):
    params = request(chest, tmp_path)
    (tmp_path / "input.npy").unlink()
    assert_refused(server.error("segment", **params), "InputFileError", "input.npy")


@pytest.mark.parametrize("content", [b"", b"no array", b"half", b"pickle"])
def test_files_that_are_no_arrays(content, chest, tmp_path):
    params = described(chest, tmp_path)
    path = tmp_path / "input.npy"
    if content == b"half":
        content = path.read_bytes()[:3000]
    elif content == b"pickle":
        np.save(path, np.array([{}], dtype=object))
        content = path.read_bytes()
    path.write_bytes(content)
    with pytest.raises(InputFileError, match=r"input\.npy"):
        read_input(params)


def test_sheared_axes_are_refused(chest, tmp_path):
    params = described(chest, tmp_path)
    params["direction"] = [1, 0.2, 0, 0, 1, 0, 0, 0, 1]
    with pytest.raises(GeometryError, match="perpendicular"):
        read_input(params)
    np.save(tmp_path / "input.npy", np.zeros((2, 2, 2), bool))
    with pytest.raises(VolumeError, match="bool"):
        read_input(params | {"direction": np.eye(3).ravel().tolist()})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk(tmp_path):
    (tmp_path / "labels.npy").symlink_to("/dev/full")
    with pytest.raises(OutputError, match="disk is full"):
        write_array(tmp_path / "labels.npy", np.zeros((40, 40, 40), np.uint8))


def test_memory_that_runs_out_is_told_at_once_and_with_the_result(server, chest, tmp_path):
    running = server.send("segment", **request(replace(chest, name="huge"), tmp_path))
    answer = server.answer(running)["result"]
    log = server.seen_of("log", running)[-1]
    assert log["level"] == "warning"
    assert "Memory ran out with" in log["message"]
    assert answer["warnings"][-1] == log["message"]


def test_device_that_was_left_on_the_way_is_said_and_the_model_stays_loaded(server, chest, tmp_path):
    answer = server.result("segment", **request(replace(chest, name="too large for the GPU"), tmp_path))
    assert answer["device"] == "meta"
    assert answer["deviceReason"] == "CPU: the GPU's memory is too small for this volume"
    answer = server.result("segment", **request(chest, tmp_path))
    assert (answer["device"], answer["warnings"]) == ("cpu", [])
