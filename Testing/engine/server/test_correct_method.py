"""The server's method ``correct``: what is kept between clicks, the answers, and refusals."""

import os
from pathlib import Path

import numpy as np
import pytest
from drawn_phantom import phantom
from sam2adapt.requests.correct import correct
from sam2adapt.server.warm_models import WarmModels
from sam2adapt.shared.errors import (
    CancelledError,
    DrawingError,
    InputFileError,
    ModalityError,
    SettingsError,
    UserError,
)
from sam2adapt.shared.requests.server_actions import Correct
from serve_client import Client, assert_refused, described


@pytest.fixture
def params(tmp_path: Path) -> dict:
    """A click into the missing half of a ball, of which one slice is sent."""
    volume, truth = phantom()
    mask = truth.copy()
    mask[4, :, :16] = 0
    np.save(tmp_path / "labels.npy", mask[4:5])
    missing = np.argwhere(truth[4] > mask[4])
    row, column = missing[len(missing) // 2].tolist()
    size = volume.size
    return {
        "input": described(volume, tmp_path), "structure": "ball", "labels": str(tmp_path / "labels.npy"),
        "roi": [0, size[0], 0, size[1], 4, 5], "masks": str(tmp_path / "masks.npy"),
        "gestures": [{"kind": "point", "positive": True, "voxels": [[column, row, 4]]}],
    }  # fmt: skip


def test_a_click_through_the_server(params):
    with Client(OMP_NUM_THREADS="1") as server:
        server.receive()
        result = server.answer(server.send("correct", **params))["result"]
        before, after, truth = np.load(params["labels"]), np.load(params["masks"]), phantom()[1][4:5]
        assert result["axis"] == "K" and result["slices"] == [4] and not result["carried"]
        assert result["changed"] == np.count_nonzero(after != before)
        assert not result["knowsStructure"] and not result["takesPrompts"] and result["seconds"] > 0
        assert np.count_nonzero(after != truth) < np.count_nonzero(before != truth) / 2
        outside = {**params, "gestures": [{"kind": "point", "positive": True, "voxels": [[999, 0, 4]]}]}
        assert_refused(server.answer(server.send("correct", **outside))["error"], "SettingsError", "lies outside of")


def request_of(params, **changes) -> Correct:
    return Correct.from_params(params | changes)


def test_slices_are_kept_until_volume_or_model_change(params, make_model, monkeypatch):
    engine, made, model = WarmModels(), [], make_model()
    name = model.structures[0].name
    monkeypatch.setattr("sam2adapt.requests.correct.find_model", lambda name: Path(__file__))
    forward = type(model.network).forward
    monkeypatch.setattr(type(model.network), "forward", lambda *args: made.append(1) or forward(*args))

    def load(name, device):
        return model

    changes = {"model": "test", "structure": name, "anyModality": True, "device": "cpu"}
    prepared = correct(request_of(params, **changes, gestures=[]), load, engine.corrector)
    assert prepared["output"] is None and prepared["knows_structure"] and len(made) == 1
    kept = engine._corrector[1]
    for _ in range(2):
        correct(request_of(params, **changes), load, engine.corrector)
    assert len(made) == 1 and engine._corrector[1] is kept
    other = {**changes, "structure": "tumour"}
    assert not correct(request_of(params, **other), load, engine.corrector)["knows_structure"]
    assert engine._corrector[1] is kept
    stamp = os.stat(params["input"]["array"]).st_mtime_ns + 10**9
    os.utime(params["input"]["array"], ns=(stamp, stamp))
    correct(request_of(params, **changes), load, engine.corrector)
    assert len(made) == 2 and engine._corrector[1] is not kept
    correct(request_of(params, **{**changes, "model": None}), load, engine.corrector)
    assert len(made) == 2 and engine._corrector[1].evidence.class_of(name) is None


def test_a_click_is_cancelled_while_the_network_computes(params, make_model, monkeypatch):
    """Of a large picture one slice takes a CPU seconds."""
    monkeypatch.setattr("sam2adapt.requests.correct.find_model", lambda name: Path(__file__))
    model, looks = make_model(), []
    changes = {"model": "test", "structure": model.structures[0].name, "anyModality": True, "device": "cpu"}

    def count_to(last: int):
        looks.clear()
        return lambda: looks.append(0) or len(looks) == last

    for gestures in ([], params["gestures"]):
        request, engine = request_of(params, **changes, gestures=gestures), WarmModels()
        correct(request, lambda name, device: model, None, count_to(0))
        every = len(looks)
        assert every > 5
        Path(params["masks"]).unlink(missing_ok=True)
        for last in (2, every // 2, every - 1):
            with pytest.raises(CancelledError, match="The correction was cancelled"):
                correct(request, lambda name, device: model, engine.corrector, count_to(last))
            assert len(looks) == last and not Path(params["masks"]).exists()
        correct(request, lambda name, device: model, engine.corrector)


def test_what_cannot_be_corrected_gets_a_sentence(params, tmp_path, make_model, monkeypatch):
    colour = {**params["input"], "array": str(tmp_path / "colour.npy")}
    np.save(colour["array"], np.random.default_rng(0).integers(0, 255, (*phantom()[1].shape, 3), np.uint8))
    np.save(tmp_path / "small.npy", np.zeros((1, 2, 3), np.uint8))
    monkeypatch.setattr("sam2adapt.requests.correct.find_model", lambda name: Path(__file__))
    cases = [
        ({"labels": None}, SettingsError, "needs the segment"),
        ({"labels": str(tmp_path / "small.npy")}, DrawingError, "shape"),
        ({"labels": str(tmp_path / "none.npy")}, InputFileError, "none.npy"),
        ({"roi": [0, 5, 0, 5, 4, 99]}, SettingsError, "not inside the volume"),
        ({"input": colour, "model": "test"}, ModalityError, "colour image"),
    ]
    for changes, kind, words in cases:
        with pytest.raises(UserError, match=words) as raised:
            correct(request_of(params, **changes), lambda name, device: make_model())
        assert raised.type is kind
        assert not Path(params["masks"]).exists()
