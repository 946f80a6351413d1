"""Trainings on another computer: the model comes back, cases are sent once, and a training may go on by itself."""

import contextlib
import json
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from sam2adapt.modelfiles.card import read_card
from serve_client import Client
from ssh_host import relay, until
from trained import SHORT_EPOCHS

# An engine with a home of its own, as on another computer, and short epochs.
FAR = f"""{SHORT_EPOCHS}
import os
os.environ["SAM2ADAPT_HOME"] = os.environ["FAR_HOME"]
from sam2adapt.server.remote.gateway import serve_stream
serve_stream()"""
ENGINE = (sys.executable, "-c", FAR)


@pytest.fixture
def far(tmp_path) -> Path:
    """The home of the user on the other computer."""
    return tmp_path / "far"


@pytest.fixture
def connect(far, tmp_path):
    """A function that connects to the other computer."""
    clients = []

    def start() -> Client:
        clients.append(Client(relay("--command", *ENGINE), FAR_HOME=str(far), SAM2ADAPT_HOME=str(tmp_path / "here"),
                              OMP_NUM_THREADS="1"))  # fmt: skip
        assert clients[-1].receive()["method"] == "ready"
        return clients[-1]

    yield start
    for client in clients:
        client.__exit__()
    for run in (far / "remote" / "runs").glob("*"):  # what a test that failed has left
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if run.name.encode() in (folder / "cmdline").read_bytes().split(b"\0"):
                    os.kill(int(folder.name), signal.SIGKILL)


@pytest.fixture
def request_(tmp_path) -> dict:
    """A training of a second, in a run folder as Slicer makes it."""
    generator, folder = np.random.default_rng(0), tmp_path / "run"
    labels = np.zeros((4, 32, 32), np.uint8)
    labels[:, 4:14, 4:14], labels[:, 18:28, 18:28] = 1, 2
    for name in ("a", "b"):
        image = (generator.normal(-600, 30, labels.shape) + 400.0 * labels).astype(np.int16)
        for part, array in (("images", image), ("labels", labels)):
            (folder / part).mkdir(exist_ok=True, parents=True)
            sitk.WriteImage(sitk.GetImageFromArray(array), str(folder / part / f"{name}.nrrd"))
    return {
        "images": str(folder / "images"), "labels": str(folder / "labels"), "base": "nano", "method": "head",
        "classes": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}], "epochs": 2, "crop": 32, "size": 32,
        "batchSize": 4, "device": "cpu", "modality": "CT", "split": {"train": ["a"], "val": ["b"]},
        "output": str(folder / "model.safetensors"), "preview": str(folder / "preview.npy"), "name": "small",
    }  # fmt: skip


def kinds(client: Client) -> dict[str, int]:
    return {row["kind"]: row["count"] for row in client.result("kept")}


def test_a_model_comes_back_and_its_cases_are_sent_once(connect, request_, far, tmp_path):
    client, run = connect(), Path(request_["output"]).parent
    running = client.send("train", **request_)
    result = client.answer(running)["result"]
    assert result["bundle"] == request_["output"]
    assert read_card(Path(result["bundle"]))["name"] == "small" and result["card"]["training"]["split"]["val"] == ["b"]
    stages = [p["stage"] for p in client.seen_of("progress", running)]
    assert {"sending", "reading", "training"} <= set(stages)
    previews = [p["preview"] for p in client.seen_of("progress", running) if p.get("preview")]
    assert previews and set(previews) == {request_["preview"]} and np.load(previews[0]).shape == (4, 32, 32)
    rows = (run / "model.run" / "log.csv").read_text("utf-8").splitlines()
    assert [row.split(",")[0] for row in rows] == ["epoch", "0", "1", "2"]
    assert not (run / "model.run" / "elsewhere.json").exists()
    # Slices and names for those that continue the model are here, and nothing but the cases is there.
    digest = read_card(Path(result["bundle"]))["digest"].removeprefix("sha256:")
    assert {f"{digest}.npz"} == {
        path.name for path in (tmp_path / "here" / "replay").iterdir() if path.suffix == ".npz"
    }
    assert (tmp_path / "here" / "cases" / f"{digest}.json").exists()
    until(lambda: kinds(client)["runs"] == 0)
    # Both cases have the same labels.
    assert kinds(client) == {"cases": 3, "models": 0, "runs": 0, "batches": 0, "slices": 0, "names": 0}
    again = client.send("train", **request_)
    client.answer(again)
    assert "sending" not in [p["stage"] for p in client.seen_of("progress", again)]
    client.result("deleteKept")
    assert kinds(client)["cases"] == 0
    modes = {oct(path.stat().st_mode & 0o77) for path in (far / "remote").rglob("*")}
    assert modes <= {"0o0"}


def test_a_model_that_is_continued_there_forgets_as_little_as_here(connect, request_, far, tmp_path):
    """What its training kept is sent with it, ends with the cases there, and the new model's comes back."""
    client = connect()
    first = client.result("train", **request_)
    second = tmp_path / "second" / "model.safetensors"
    second.parent.mkdir()
    made = {
        key: request_[key] for key in ("images", "labels", "classes", "epochs", "crop", "batchSize", "device", "split")
    }
    running = client.send("train", **made, init=first["bundle"], output=str(second), name="more")
    card = client.answer(running)["result"]["card"]
    assert card["training"]["replay"]["slices"] > 0 and card["training"]["replay"]["former"]
    assert not [log for log in client.seen_of("log", running) if "no slices" in log["message"]]
    digests = {read_card(Path(path))["digest"].removeprefix("sha256:") for path in (first["bundle"], second)}
    assert {path.stem for path in (tmp_path / "here" / "replay").glob("*.npz")} == digests
    links = [*(far / "replay").glob("*.npz"), *(far / "cases").glob("*.json")]
    assert len(links) == 2 and all(link.is_symlink() for link in links)
    client.result("deleteKept")
    assert not [*(far / "replay").glob("*.npz"), *(far / "cases").glob("*.json")]
    assert kinds(client) == dict.fromkeys(kinds(client), 0)


def begun(client: Client, request: dict) -> int:
    """A training that is at work."""
    running = client.send("train", **request)
    while client.progress(running)["stage"] != "training":
        pass
    return running


def test_a_training_goes_on_by_itself_is_listed_stopped_and_fetched(connect, request_, far):
    client = connect()
    long = request_ | {"epochs": 400, "goOnHours": 1.0}
    begun(client, long)
    client.process.kill()  # as if the network were gone
    note = json.loads((Path(request_["output"]).parent / "model.run" / "elsewhere.json").read_text("utf-8"))
    other = connect()
    (row,) = other.result("trainings")
    assert (row["run"], row["state"], row["name"], row["hours"]) == (note["run"], "working", "small", 1.0)
    resumed = other.send("train", **long | {"resume": True})
    assert other.progress(resumed)["id"] == resumed
    other.process.kill()
    third = connect()
    third.result("stopTraining", run=note["run"])
    until(lambda: third.result("trainings")[0]["state"] == "done")
    assert third.error("stopTraining", run=note["run"])["data"]["kind"] == "InputFileError"
    result = third.result("train", **long | {"resume": True})
    assert read_card(Path(result["bundle"]))["name"] == "small" and 0 < result["epochs"] < 400
    until(lambda: third.result("trainings") == [])


def test_a_training_that_goes_on_is_cancelled_and_has_a_time_limit(connect, request_):
    client = connect()
    long = request_ | {"epochs": 100000, "goOnHours": 1.0}
    running = begun(client, long)
    client.notify("cancel", id=running)
    assert client.answer(running)["error"]["data"]["kind"] == "CancelledError"
    assert client.result("trainings")[0]["state"] == "done"
    client.result("deleteKept")
    assert client.result("trainings") == []
    result = client.result("train", **long | {"goOnHours": 40 / 3600})
    assert 0 < result["epochs"] < 100000


def test_a_lost_training_ends_there_and_goes_on_from_its_last_epoch(connect, request_, tmp_path):
    client = connect()
    long = request_ | {"epochs": 400}
    running = begun(client, long)
    while client.progress(running)["done"] < 3:
        pass
    client.process.kill()
    other = connect()
    until(lambda: other.result("trainings")[0]["state"] == "ended")
    (tmp_path / "second").mkdir()
    refused = other.error("train", **long | {"resume": True, "output": str(tmp_path / "second" / "model.safetensors")})
    assert refused["message"] == "This training was begun on this computer."
    resumed = begun(other, long | {"resume": True})
    assert other.seen_of("progress", resumed)[-1]["done"] >= 2
    other.notify("control", id=resumed, action="stop")
    assert other.answer(resumed)["result"]["epochs"] >= 3
