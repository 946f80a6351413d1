"""``benchmark speed`` beside the networks: segment, engine, training, memory and scaling measure what they say."""

import importlib.util
import json
from pathlib import Path

import pytest
import torch
from sam2adapt import adapters
from sam2adapt.network.weights import write_base
from sam2adapt.segmenting import predict
from speed import material, memory, models
from speed.context import Context
from speed.report import markdown
from speed.run import measure
from speed.sections import engine as engine_section
from speed.sections import memory as memory_section
from speed.sections import scaling as scaling_section
from speed.sections import segment as segment_section
from speed.sections import training as training_section
from speed.server import Server
from speed.targets import targets

QUICK = Context(quick=True, rounds=1)
FIGURE = Path(__file__).resolve().parents[2] / "benchmarks" / "scaling.py"


@pytest.fixture(autouse=True)
def small_ct(monkeypatch):
    """A CT of a few voxels in the place of the made-up one."""
    monkeypatch.setattr(material, "CT_SIZE", (64, 48, 6))


@pytest.fixture
def small_models(small_base, monkeypatch):
    """The small configuration in the place of every base."""
    made = models.build

    def build(base: str, *others):
        return made("small-test", *others)

    monkeypatch.setattr(models, "build", build)


def test_segment_tells_parts_and_the_network_alone(small_models):
    found = segment_section.measure(QUICK)
    assert [(row["volume"], row["model"]) for row in found["rows"]] == [("CT", "torso-ct"), ("CT", "tiny dual-lw")]
    for row in found["rows"]:
        parts = row["parts"]
        assert tuple(row["size"]) == (64, 48, 6)
        assert parts["slices"] == 6
        assert {"read", "prepare", "network", "post-process", "write", "total", "alone"} <= parts.keys()
        assert row["shares"] == [1 - parts["alone"] / (parts["total"] - parts["read"])]


def test_the_network_alone_is_given_what_it_was_given(small_models):
    model = models.random_model("tiny", "CT", 32, torch.device("cpu"))
    with segment_section._Batches(model) as batches:
        predict.segment(material.ct_volume(None), model, predict.Options(batch_size=4))
    sizes, calls = [len(given[0]) for given in batches._given], []
    assert sizes == [4, 2]
    model.network.register_forward_pre_hook(lambda _, given: calls.append(len(given[0])))
    assert batches.seconds() > 0
    assert calls == sizes


def test_mr_is_segmented_where_there_is_data(small_models, data_path, monkeypatch):
    monkeypatch.setattr(material, "CT", material.MR)  # the real one takes its time
    monkeypatch.setattr(segment_section, "bundled_model", lambda d: models.random_model("nano", "CT", 32, d))
    monkeypatch.setattr(predict, "check_modality", lambda *_: None)
    found = segment_section.measure(Context(data=data_path, quick=True, rounds=1))
    assert [row["volume"] for row in found["rows"]] == ["CT", "CT", "cardiac MR", "cardiac MR"]
    assert found["rows"][2]["parts"]["slices"] == 12


def test_engine_starts_and_answers():
    found = engine_section.measure(QUICK)
    assert 0 < found["ready"] < found["first"]
    (request,) = found["requests"]
    assert request["wall"] == found["warm"] >= request["seconds"]["network"] > 0
    assert found["clicks"] is None  # without a real CT


@pytest.mark.skipif(not engine_section._can_click(), reason="needs Slicer's libraries and a Qt")
def test_click_is_measured_by_the_repositorys_script(data_path, monkeypatch):
    monkeypatch.setattr(material, "CT", Path("ct_sample/ts_ct_3mm/image.nii.gz"))
    found = engine_section._clicks(Context(data=data_path, quick=True, rounds=1))
    assert found["total"] == pytest.approx(sum(found[part] for part in ("transfer", "engine", "import", "other")))
    assert found["engine"] > found["network"] > 0
    assert found["device"] == "cpu"


def test_an_engine_that_fails_is_not_measured(tmp_path):
    params = {"input": {"array": str(tmp_path / "none.npy")}, "model": "none", "labels": "x"}
    with Server(1) as server, pytest.raises(RuntimeError, match="answered"):
        server.result("segment", **params)


def test_methods_are_trained_for_a_few_steps(small_base, home, monkeypatch):
    assert {*training_section.WAYS} == {*adapters.METHODS, "quick adapt"}
    ways = ("dual-lw", "quick adapt")  # the others take their time
    monkeypatch.setattr(training_section, "WAYS", ways)
    write_base(home / "bases" / "small-test.safetensors", "small-test", small_base, {})
    monkeypatch.setattr(training_section, "BASE", "small-test")
    made_up = material.made_up
    monkeypatch.setattr(material, "made_up", lambda _, spacing: made_up((64, 64, 12), spacing))
    found = training_section.measure(QUICK)
    assert tuple(row["way"] for row in found["rows"]) == ways
    for row in found["rows"]:
        assert (row["steps"], row["batch"]) == (16, 8)
        assert row["rounds"] == [row["seconds"]]
        assert row["seconds"] > 0


@pytest.mark.skipif(not memory.KNOWN, reason="only Linux tells what a process holds")
def test_memory_of_networks_and_engine(monkeypatch):
    found = memory_section.measure(Context(only="nano bare exported", quick=True, rounds=1))
    (network,) = found["networks"]
    assert network["name"].startswith("nano bare exported")
    assert network["name"].endswith("512 batch 1")
    assert 512 * 512 * 4 * 4 < network["above"] < network["idle"]  # its logits at least
    (engine,) = found["engine"]
    assert (engine["input"], engine["labels"]) == (8 * 64 * 48 * 2, 8 * 64 * 48)
    assert 0 <= engine["above"] < engine["idle"]


def test_each_curve_has_its_points(small_models, monkeypatch):
    found = scaling_section.measure(QUICK)
    points = {(row["curve"], row["base"], row["value"]) for row in found["rows"]}
    assert points == {
        ("side", "nano", 128), ("side", "tiny", 128), ("classes", "nano", 2), ("batch", "nano", 1),
        ("threads", "nano", 1), ("threads", "tiny", 1),
    }  # fmt: skip
    assert all(row["seconds"] > 0 for row in found["rows"])


def test_points_are_what_they_say(small_models, monkeypatch):
    """Each point changes one thing of what is segmented."""
    seen, segment, threads = [], predict.segment, torch.get_num_threads()

    def watch(volume, model, options):
        seen.append((volume.size[0], len(model.card["classes"]) + 1, options.batch_size, torch.get_num_threads()))
        return segment(volume, model, options)

    monkeypatch.setattr(scaling_section.predict, "segment", watch)
    scaling_section.measure(QUICK)
    usual = (256, 4, None, threads)
    assert set(seen) == {(128, *usual[1:]), (256, 2, *usual[2:]), (256, 4, 1, threads), (*usual[:3], 1)}
    assert torch.get_num_threads() == threads


def test_all_of_it_is_written_down_and_drawn(small_models, monkeypatch, tmp_path):
    """The engine's numbers are made up here, since its processes are measured above."""
    engine = {
        "volume": [64, 48, 6], "model": "m", "ready": 0.2, "first": 4.0, "warm": 1.5, "warm_parts": {"network": 1.0},
        "clicks": {"voxels": [64, 48, 6], "total": 2.0, "transfer": 0.1, "engine": 1.6, "import": 0.2, "other": 0.1},
    }  # fmt: skip
    training = {"base": "nano", "slices": "", "rows": [
        {"way": "head", "seconds": 5.0, "steps": 16, "batch": 8, "above": 2e8},
    ]}  # fmt: skip
    peaks = {"plane": [512, 512], "model": "m", "networks": [{"name": "nano", "idle": 8e8, "above": 9e7}]}
    peaks["engine"] = [
        {"slices": n, "idle": 8e8, "above": 2e8, "input": n * 5e5, "labels": n * 2e5, "wall": n / 60}
        for n in (78, 1000)
    ]  # fmt: skip
    for section, made_up in ((engine_section, engine), (training_section, training), (memory_section, peaks)):
        monkeypatch.setattr(section, "measure", lambda context, found=made_up: found)
    result = json.loads(json.dumps(measure(QUICK, ("segment", "engine", "training", "memory", "scaling"))))
    text = markdown(result)
    for line in (
        "| another request (warm) | 1.50 | network 1.00 |",
        "| a warm click on Auto-segment | 2.00 | transfer 0.10, engine 1.60, import 0.20, other 0.10 |",
        "| head | 5.0 | 200 |",
        "| nano | 800 | 90 |",
        "| 1000 | 800 | 200 | 500 | 200 | 16.7 |",
        "| 64 x 48 x 6 CT | bridge and transfer add at most 0.3 s to a warm click | 0.40 s | **falls short** |",
    ):
        assert line in text
    assert text.count("| CT | 64 x 48 x 6 |") == 2
    assert [target["claim"] for target in result["targets"]] == [target.claim for target in targets(result)]
    drawn = _figure().draw(result)
    lines = {line.get_label(): list(line.get_ydata()) for line in drawn.axes[5].lines}
    assert lines["measured"] == [200, 200]
    assert lines["target"][1] == lines["input + labels"][1] + 1000 == 1700
    sides = {line.get_label(): list(line.get_xdata()) for line in drawn.axes[1].lines}
    assert sides == {"nano": [128], "tiny": [128]}


def _figure():
    """The script that draws, as a module."""
    pytest.importorskip("matplotlib")
    specification = importlib.util.spec_from_file_location("scaling", FIGURE)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module
