"""An engine behind a relay answers as one on this computer: the same labels, and errors that name files of here."""

import os
from pathlib import Path

import numpy as np
import pytest
from batch_testing import manifest, studies
from drawn_phantom import phantom
from sam2adapt.shared.requests.fields import SERVER, settings_of
from sam2adapt.shared.requests.schema import METHODS
from serve_client import COMMAND, Client, described
from ssh_host import relay, until

pytest_plugins = ["batch_testing"]
pytestmark = pytest.mark.usefixtures("own_home")
ENGINE = ("env", "SAM2ADAPT_HOME={far}", *COMMAND, "--stream")


@pytest.fixture(scope="module")
def far(home_of_models, tmp_path_factory) -> Path:
    """The home on the other computer, which has the base of the models and none of these."""
    home = tmp_path_factory.mktemp("far")
    (home / "bases").mkdir()
    os.link(home_of_models / "bases" / "nano.safetensors", home / "bases" / "nano.safetensors")
    return home


@pytest.fixture(scope="module")
def remote(home_of_models, far):
    command = [word.format(far=far) for word in ENGINE]
    with Client(relay("--command", *command), SAM2ADAPT_HOME=str(home_of_models), OMP_NUM_THREADS="1") as client:
        assert client.receive()["params"]["protocol"] == 2
        yield client


@pytest.fixture(scope="module")
def local(home_of_models):
    with Client(SAM2ADAPT_HOME=str(home_of_models), OMP_NUM_THREADS="1") as client:
        assert client.receive()["params"]["protocol"] == 1
        yield client


def test_labels_uncertainty_and_ranking_are_those_of_a_local_engine(remote, local, model, tmp_path):
    volume, _ = phantom()
    params = {"model": str(model), "device": "cpu", "anyModality": True, "input": described(volume, tmp_path)}
    answers, arrays = [], []
    for engine in (local, remote):
        files = {key: str(tmp_path / f"{key}.npy") for key in ("labels", "uncertainty")}
        answer = engine.result("segment", **params, **files)
        answers.append({key: value for key, value in answer.items() if key not in ("seconds", "deviceReason")})
        arrays.append([np.load(path) for path in files.values()])
        for path in files.values():
            os.unlink(path)
    assert answers[0] == answers[1]
    assert all(np.array_equal(one, other) for one, other in zip(*arrays, strict=True))
    assert local.result("rank", **params) == remote.result("rank", **params)


def test_filling_gives_the_preview_and_the_masks_of_a_local_engine(remote, local, tmp_path):
    volume, truth = phantom()
    masks = np.zeros((1, *truth.shape), np.uint8)
    masks[:, [2, 4, 6]] = truth[[2, 4, 6]]
    np.save(tmp_path / "drawn.npy", masks)
    params = {"input": described(volume, tmp_path), "drawings": str(tmp_path / "drawn.npy"), "structures": ["ball"]}
    found = []
    for name, engine in (("local", local), ("remote", remote)):
        files = {key: str(tmp_path / f"{name}-{key}.npy") for key in ("masks", "preview")}
        running = engine.send("fill", **params, **files)
        engine.answer(running)
        assert engine.seen_of("preview", running)[0]["masks"] == files["preview"]
        found.append([np.load(path) for path in files.values()])
    assert all(np.array_equal(one, other) for one, other in zip(*found, strict=True))


def test_errors_name_files_of_this_computer(remote, model, tmp_path):
    volume, _ = phantom()
    params = {"model": str(model), "input": described(volume, tmp_path), "labels": str(tmp_path / "l.npy")}
    np.save(tmp_path / "input.npy", np.zeros((2, 2), np.int16))
    assert remote.error("segment", **params)["data"]["kind"] == "VolumeError"
    (tmp_path / "input.npy").write_bytes(b"nothing")
    assert f"'{tmp_path}/input.npy'" in remote.error("segment", **params)["message"]
    gone = remote.error("segment", **params | {"labels": str(tmp_path / "no" / "l.npy")})
    assert f"'{tmp_path}/no'" in gone["message"]
    described(volume, tmp_path)
    (tmp_path / "damaged.safetensors").write_bytes(model.read_bytes()[:-5])
    damaged = remote.error("segment", **params | {"model": str(tmp_path / "damaged.safetensors")})
    assert damaged["data"]["kind"] == "ModelFileError" and "damaged.safetensors" in damaged["message"]
    assert "No model 'none'" in remote.error("segment", **params | {"model": "none"})["message"]
    assert remote.error("unheardOf")["message"] == "There is no method 'unheardOf'."
    assert remote.error("segment", wrong=1)["code"] == -32602


def test_a_batch_gives_the_files_of_a_local_one_and_goes_on_where_it_was(remote, local, model, far, tmp_path):
    source = studies(tmp_path / "in", 3)
    (source / "s01.nii.gz").write_text("no image")
    (source / "film.mp4").write_bytes(b"\0" * 300)
    rows, files = [], []
    for name, engine in (("local", local), ("remote", remote)):
        output = tmp_path / name
        result = engine.result("segmentBatch", inputs=[str(source)], output=str(output), model=str(model), device="cpu")
        assert manifest(output)["studies"] == result["studies"] and (output / "manifest.csv").exists()
        rows.append([{k: v for k, v in row.items() if k not in ("seconds", "message")} for row in result["studies"]])
        files.append({path.name: path.read_bytes() for path in output.rglob("*.seg.nrrd")})
    assert rows[0] == rows[1] and [row["status"] for row in rows[1]] == ["done", "failed", "done"]
    assert files[0] == files[1] and len(files[1]) == 2
    assert not list(far.rglob("film.mp4"))
    corrected = output / "s00.seg.nrrd"
    corrected.write_bytes(corrected.read_bytes() + b"\0")  # a user's correction stays
    (output / "s02.seg.nrrd").unlink()  # what is gone is made again
    before = corrected.stat().st_mtime_ns
    again = remote.result("segmentBatch", inputs=[str(source)], output=str(output), model=str(model), device="cpu")
    assert again["counts"]["done"] == 2 and corrected.stat().st_mtime_ns == before
    assert (output / "s02.seg.nrrd").read_bytes() == files[1]["s02.seg.nrrd"]


def test_models_are_kept_here_and_checked_there(remote, model, home_of_models, tmp_path):
    row = remote.result("addModel", path=str(model))
    assert Path(row["path"]).parent == home_of_models / "models" and row["name"] == "a"
    assert remote.result("addModel", path=str(model))["path"] == row["path"]
    assert remote.result("modelDetails", name="a")["card"]["name"] == "a"
    assert remote.result("exportModel", name="a", path=str(tmp_path / "x.safetensors"))["path"] == str(
        tmp_path / "x.safetensors"
    )
    assert remote.result("removeModel", name="a") == {"removed": [row["path"]]}
    assert not Path(row["path"]).exists()
    (tmp_path / "damaged.safetensors").write_bytes(model.read_bytes()[:-5])
    assert remote.error("addModel", path=str(tmp_path / "damaged.safetensors"))["data"]["kind"] == "ModelFileError"


def test_only_this_user_can_read_what_is_there(remote, far):
    found = list((far / "remote").rglob("*"))
    assert found and all(path.stat().st_mode & 0o077 == 0 for path in found)


def test_every_path_of_a_request_is_sent_or_comes_back():
    """A new field that holds a path is read or written; which one, its definition must say."""
    read = {
        (method, name)
        for method, request in METHODS.items()
        for name, one in settings_of(request, SERVER).items()
        if one.kind in ("path", "paths") and one.reads
    }
    written = {
        (method, name)
        for method, request in METHODS.items()
        for name, one in settings_of(request, SERVER).items()
        if one.kind in ("path", "paths") and not one.reads
    }
    words = {"labels", "uncertainty", "masks", "preview", "output", "path"}
    assert {name for _, name in written} <= words
    assert {("train", "images"), ("train", "labels"), ("fill", "drawings"), ("segmentBatch", "inputs")} <= read


def test_nothing_is_left_when_the_relay_ends(home_of_models, far, tmp_path):
    with Client(relay("--command", *[word.format(far=far) for word in ENGINE]), TMPDIR=str(tmp_path)) as client:
        client.receive()
        client.process.stdin.close()
        assert client.ended() == 0
    until(lambda: not list(tmp_path.glob("sam2adapt-*")), "temporary folders are left")
