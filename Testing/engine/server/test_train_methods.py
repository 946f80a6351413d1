"""The server's ``train``: a whole small run, its progress, cancelling it, and data that do not fit."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import SimpleITK as sitk
from sam2adapt.imaging.terminology import describe
from sam2adapt.modelfiles.card import read_card
from sam2adapt.modelfiles.case_names import neutral
from sam2adapt.server.train_methods import _report
from sam2adapt.training.clock import Progress
from serve_client import Client, patched
from trained import SHORT_EPOCHS

CLASSES = [{"id": 1, "name": "right lung"}, {"id": 2, "name": "my nodule", "color": [0, 0.5, 1]}]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    home = str(tmp_path_factory.mktemp("home"))
    with Client(patched(SHORT_EPOCHS), SAM2ADAPT_HOME=home, OMP_NUM_THREADS="1") as client:
        client.receive()
        yield client


@pytest.fixture
def data(folders, tmp_path) -> dict:
    """A request for a run that takes a second."""
    return {**folders, "output": str(tmp_path / "m.safetensors")}


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict:
    """Two CT volumes of noise in which two boxes are brighter, and their labels."""
    generator = np.random.default_rng(0)
    folder = tmp_path_factory.mktemp("data")
    labels = np.zeros((4, 32, 32), np.uint8)
    labels[:, 4:14, 4:14], labels[:, 18:28, 18:28] = 1, 2
    for name in ("a", "b"):
        image = (generator.normal(-600, 30, labels.shape) + 400.0 * labels).astype(np.int16)
        for part, array in (("images", image), ("labels", labels)):
            (folder / part).mkdir(exist_ok=True)
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / part / f"{name}.nrrd"))
    return {
        "images": str(folder / "images"), "labels": str(folder / "labels"), "classes": CLASSES, "base": "nano",
        "method": "head", "epochs": 2, "crop": 32, "size": 32, "batchSize": 4, "device": "cpu", "modality": "CT",
        "split": {"train": ["a"], "val": ["b"]},
    }  # fmt: skip


def test_model_is_written_and_another_starts_from_it(server, data, tmp_path):
    options = {
        "name": "small", "license": "CC0-1.0", "fillHoles": ["My nodule"], "minimumMl": 0.5, "flips": ["columns"],
        "largestTogether": ["My nodule", "right lung"], "seed": 7, "learningRate": 0.01, "dataSummary": "two boxes",
    }  # fmt: skip
    running = server.send("train", **data, **options)
    result = server.answer(running)["result"]
    assert result["bundle"] == data["output"]
    card = read_card(Path(data["output"]))
    # The file calls its cases by numbers, the answer by names.
    assert neutral(result["card"])[0] == card != result["card"]
    assert result["dice"] == card["metrics"]["dice"]
    assert result["dice"].keys() == {"mean", "right lung", "my nodule"}
    assert (card["name"], card["license"], card["method"]["name"]) == ("small", "CC0-1.0", "head")
    assert result["card"]["training"]["split"] == data["split"]
    assert card["training"]["data"]["summary"] == "two boxes"
    cleaning = {"largest_together": [2, 1], "largest_component": [], "fill_holes": [2], "minimum_ml": 0.5}
    assert card["postprocessing"] == cleaning
    settings = card["training"]["settings"]
    assert (settings["seed"], settings["learning_rate"], settings["flips"], settings["epochs"]) == (7, 0.01, [1], 2)
    first, second = card["classes"]
    assert first == describe(1, "right lung").to_json()
    assert second == {**describe(2, "my nodule").to_json(), "color": [0, 0.5, 1]}
    progress = server.seen_of("progress", running)
    assert progress[0]["stage"] == "reading"
    training = [p for p in progress if p["stage"] == "training"]
    assert training[-1]["fraction"] == 1
    assert (training[-1]["done"], training[-1]["total"], training[-1]["unit"]) == (2, 2, "epoch")
    assert all(p["loss"] > 0 for p in training)
    assert training[-1]["dice"].keys() == result["dice"].keys()
    assert 0 <= training[-1]["dice"]["mean"] <= training[-1]["bestDice"] <= 1
    fractions = [p["fraction"] for p in progress]
    assert fractions == sorted(fractions)
    assert any("training case" in log["message"] for log in server.seen_of("log", running))
    parent = server.result("addModel", path=data["output"])
    again = {**data, **options, "name": "second", "epochs": 1, "init": "small"}
    again["output"] = str(tmp_path / "second.safetensors")
    second = server.result("train", **again)
    assert second["card"]["parent"] == parent["digest"]
    assert second["before"] == pytest.approx(result["dice"]), "the parent on the same validation cases"
    assert result["before"].keys() == result["dice"].keys()


def test_cancelled_training_is_gone_on_with(server, data):
    running = server.send("train", **{**data, "epochs": 100_000})
    while (progress := server.progress(running))["stage"] != "training" or progress["done"] < 2:
        pass
    server.send("cancel", id=running)
    error = server.answer(running)["error"]
    assert error["data"]["kind"] == "CancelledError"
    assert not Path(data["output"]).exists()
    done = read_log(data)
    assert server.result("train", **{**data, "epochs": done + 1, "resume": True})["bundle"] == data["output"]
    assert read_log(data) == done + 1


def read_log(data: dict) -> int:
    """Epochs in the log of the run, which has a header and the Dice before the first."""
    return len((Path(data["output"]).with_suffix(".run") / "log.csv").read_text("utf-8").splitlines()) - 2


@pytest.mark.parametrize(
    ("changes", "kind", "word"),
    [
        ({"images": "/nowhere"}, "InputFileError", "/nowhere"),
        ({"labels": None}, "InputFileError", "dataset.json"),
        ({"classes": None}, "ClassesError", "No classes are given"),
        ({"classes": CLASSES[:1]}, "ClassesError", "label value 2"),
        ({"classes": [*CLASSES, {"id": 2, "name": "x"}]}, "ClassesError", "twice"),
        ({"classes": [*CLASSES, {"id": 3, "name": "Right lung "}]}, "ClassesError", "twice"),
        ({"classes": [*CLASSES, {"id": 255, "name": "x"}]}, "ClassesError", "255"),
        ({"classes": [*CLASSES, {"id": 3, "name": "Mean"}]}, "ClassesError", "mean"),
        ({"split": {"train": ["z"], "val": []}}, "TrainingDataError", "'z'"),
        ({"method": "magic"}, "SettingsError", "magic"),
        ({"settings": {"nonsense": 1}}, "SettingsError", "nonsense"),
        ({"preset": "slow", "method": None}, "SettingsError", "slow"),
        ({"base": "tiny"}, "WeightsMissingError", "tiny"),
        ({"flips": ["diagonal"]}, "SettingsError", "diagonal"),
        ({"fillHoles": ["spleen"]}, "ClassesError", "spleen"),
        ({"largestTogether": ["spleen"]}, "ClassesError", "spleen"),
        ({"init": "unheard-of"}, "ModelNotFoundError", "unheard-of"),
        ({"output": "/nowhere/\x7f/m.pt"}, "OutputError", "m.pt"),
        ({"device": "cuda:77"}, "DeviceError", "cuda:77"),
    ],
)
def test_training_that_is_not_possible(changes, kind, word, server, data):
    error = server.error("train", **{**data, **changes})
    assert error["code"] == 1, error
    assert error["data"]["kind"] == kind
    assert word in error["message"]
    assert error["data"]["remedy"]
    assert not Path(data["output"]).exists()


def test_held_and_ended_by_control(server, data):
    running = server.send("train", **data | {"epochs": 1000})
    while server.progress(running)["stage"] != "training":
        pass
    assert server.result("control", id=running, action="pause") is True
    while server.progress(running)["stage"] != "paused":
        pass
    assert server.result("control", id=running, action="run") is True
    while server.progress(running)["stage"] == "paused":
        pass
    assert server.result("control", id=running, action="stop") is True
    result = server.answer(running)["result"]
    assert 0 < result["epochs"] < 1000 and Path(result["bundle"]).is_file()
    assert server.result("control", id=running, action="stop") is False


def test_every_stage_is_told_before_the_first_epoch_too():
    """A pause that is not told cannot be ended by the user."""
    told = []
    task = SimpleNamespace(progress=lambda stage, done, total, unit, *_, **__: told.append((stage, done, total, unit)))
    for stage in ("preparing", "paused", "validating"):
        _report(task, Progress(0.0, 0, 9, None, None, 1.0, prepared=0.5, stage=stage))
    assert told == [("preparing", 50, 100, "%"), ("paused", 50, 100, "%"), ("validating", 0, 9, "epoch")]


def test_preview_is_the_latest_validation(server, data, tmp_path):
    running = server.send("train", **data | {"epochs": 2}, preview=str(tmp_path / "preview.npy"))
    result = server.answer(running)["result"]
    told = [(p["preview"], p["previewCase"]) for p in server.seen_of("progress", running) if p.get("preview")]
    assert told and set(told) == {(str(tmp_path / "preview.npy"), "b")}
    labels = np.load(tmp_path / "preview.npy")
    assert labels.shape == (4, 32, 32) and labels.dtype == np.uint8
    assert [case["id"] for case in result["cases"]] == ["b"]


def test_estimate_measures_and_leaves_nothing(server, data, tmp_path):
    output = Path(data["output"])
    one, two = (server.result("estimate", **data | {"epochs": epochs}) for epochs in (10, 20))
    assert two["steps"] == 2 * one["steps"]
    assert one["minutes"] * 60 >= one["steps"] * one["secondsPerStep"] > 0
    assert one["memoryBytes"] is None or one["memoryBytes"] > 1e8
    assert server.result("estimate", **data | {"epochs": 1000, "maxMinutes": 0.01})["minutes"] == 0.01
    assert list(output.parent.iterdir()) == []


def test_estimate_refuses_what_training_would(server, data):
    error = server.error("estimate", **data | {"classes": [{"id": 9, "name": "heart"}]})
    assert error["data"]["kind"] == "ClassesError"
