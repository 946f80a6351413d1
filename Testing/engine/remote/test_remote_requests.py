"""What panels ask goes through the relay as to a local engine: trials, clicks, pages, DICOM and measures."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_samples import write_series
from drawn_phantom import phantom
from sam2adapt.imaging.volume import Volume
from sam2adapt.requests.correct import correct
from sam2adapt.server.remote.session import Session
from sam2adapt.shared.requests.server_actions import Correct
from serve_client import COMMAND, Client, described
from ssh_host import relay

pytest_plugins = ["batch_testing"]
pytestmark = pytest.mark.usefixtures("own_home")
CLASSES = [{"id": 1, "name": "ball"}]


@pytest.fixture(scope="module")
def engines(home_of_models, tmp_path_factory):
    """A local engine and one behind a relay, which has the base of the models and none of these."""
    far = tmp_path_factory.mktemp("far")
    (far / "bases").mkdir()
    os.link(home_of_models / "bases" / "nano.safetensors", far / "bases" / "nano.safetensors")
    variables = {"SAM2ADAPT_HOME": str(home_of_models), "OMP_NUM_THREADS": "1"}
    behind = relay("--command", "env", f"SAM2ADAPT_HOME={far}", *COMMAND, "--stream")
    with Client(**variables) as local, Client(behind, **variables) as remote:
        for engine in (local, remote):
            assert engine.receive()["method"] == "ready"
        yield local, remote


def hounsfield() -> Volume:
    """The phantom with the grey levels of CT."""
    volume, truth = phantom()
    return replace(volume, array=np.where(truth, 60, -1000).astype(np.int16)[None], modality="CT")


def both(engines, method: str, **params) -> tuple[dict, dict]:
    """The results of the local engine and of the one behind the relay."""
    return tuple(engine.result(method, **params) for engine in engines)


def test_the_trial_of_a_model_in_the_first_minute(engines, model, tmp_path):
    params = {"model": str(model), "input": described(hounsfield(), tmp_path), "device": "cpu"}
    local, remote = both(engines, "tryModel", **params)
    assert local == remote and {"found", "score"} <= remote.keys()


@pytest.mark.parametrize("with_model", [False, True])
def test_a_correction_by_clicks(engines, model, tmp_path, with_model):
    volume, truth = phantom()
    np.save(tmp_path / "labels.npy", np.zeros(truth.shape, np.uint8))
    clicks = [{"kind": "point", "positive": True, "voxels": [[18, 16, 4]]}]
    params = {
        "input": described(volume, tmp_path), "structure": "ball", "device": "cpu", "anyModality": True,
        "model": str(model) if with_model else None,
    }  # fmt: skip
    assert "axis" in both(engines, "correct", **params)[1]  # what Slicer asks when the effect opens
    found = []
    for engine in engines:
        files = {name: str(tmp_path / f"{name}.npy") for name in ("labels", "masks")}
        roi = [0, truth.shape[2], 0, truth.shape[1], 0, truth.shape[0]]
        for carry in (0, 1):  # the second click finds what the first one has left warm
            result = engine.result("correct", **params, gestures=clicks, roi=roi, carry=carry, **files)
        assert result["output"] == files["masks"]
        found.append(np.load(files["masks"]))
        os.unlink(files["masks"])
    assert np.array_equal(*found) and found[1].shape == truth.shape
    assert found[1].any()


def test_a_second_click_finds_what_the_first_has_left_warm(tmp_path, home):
    """Each request has folders of its own, so the volume is known by the file, not by its path."""
    digest, session, keys = "0" * 64, Session(), []
    np.save(tmp_path / "v.npy", np.zeros((2, 32, 32), np.int16))
    os.link(tmp_path / "v.npy", session.store("voxels").path(digest))
    for token in ("{sam2adapt-000000000001}", "{sam2adapt-000000000002}"):
        array = {"file": digest, "store": "voxels", "name": "v.npy", "token": token}
        given = described(phantom()[0], tmp_path) | {"array": array}
        message = {"id": 1, "method": "correct", "params": {"input": given, "structure": "ball"}}
        session.resolve(message)
        with pytest.raises(KeyboardInterrupt):
            correct(Correct.from_params(message["params"]), keep=lambda key, make: _note(keys, key))
    assert keys[0] == keys[1]
    session.close()


def _note(keys: list, key: tuple):
    keys.append(key)
    raise KeyboardInterrupt


def test_the_page_of_a_volume(engines, tmp_path):
    volume, truth = phantom()
    np.save(tmp_path / "labels.npy", truth.astype(np.uint8)[None])
    pages = []
    for name, engine in zip(("local", "remote"), engines, strict=True):
        page = tmp_path / f"{name}.html"
        params = {"input": described(volume, tmp_path), "labels": str(tmp_path / "labels.npy"), "classes": CLASSES}
        assert engine.result("report", **params, output=str(page)) == {"output": str(page)}
        assert page.stat().st_mode & 0o077 == 0
        pages.append(page.read_text("utf-8"))
    assert len(pages[0]) == len(pages[1]) and "ball" in pages[1]


def test_files_of_a_series_and_a_dicom_segmentation_of_it(engines, tmp_path):
    series = write_series(tmp_path / "series", indices=range(4))
    uid = pydicom.dcmread(_sorted(series)[0], stop_before_pixels=True).SeriesInstanceUID
    local, remote = both(engines, "seriesFiles", input=str(series), series=uid)
    assert local == remote and sorted(map(Path, remote)) == _sorted(series)
    whole = sitk.ReadImage(remote)
    labels = np.zeros(whole.GetSize()[::-1], np.uint8)
    labels[1:3, 20:40, 20:40] = 1
    np.save(tmp_path / "labels.npy", labels)
    given = {
        "array": str(tmp_path / "labels.npy"), "origin": whole.GetOrigin(), "spacing": whole.GetSpacing(),
        "direction": whole.GetDirection(),
    }  # fmt: skip
    output = tmp_path / "seg.dcm"
    params = {"input": given, "classes": CLASSES, "reference": str(series), "output": str(output)}
    assert engines[1].result("writeDicomSeg", **params) == {"output": str(output)}
    assert pydicom.dcmread(output).SegmentSequence[0].SegmentLabel == "ball"
    gone = engines[1].error("seriesFiles", input=str(series), series="1.2.3")
    assert gone["data"]["kind"] == "SeriesError" and str(series) in gone["message"] + gone["data"]["remedy"]


def _sorted(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_the_measure_of_a_corrected_case(engines, model, tmp_path):
    labels = sitk.GetImageFromArray(phantom()[1].astype(np.uint8))
    about = {"ID": "s", "Name": "left lung", "LabelValue": "1", "Layer": "0", "Extent": "0 35 0 31 0 8"}
    for key, value in about.items():
        labels.SetMetaData(f"Segment0_{key}", value)
    files = {"image": str(tmp_path / "image.nrrd"), "labels": str(tmp_path / "labels.seg.nrrd")}
    sitk.WriteImage(sitk.GetImageFromArray(hounsfield().array[0]), files["image"])
    sitk.WriteImage(labels, files["labels"])
    local, remote = both(engines, "measureCase", model=str(model), device="cpu", **files)
    assert local["dice"] == remote["dice"]
    Path(files["labels"]).write_text("no labels", encoding="utf-8")
    assert files["labels"] in engines[1].error("measureCase", model=str(model), device="cpu", **files)["message"]
