"""The server's ``segmentBatch``: a folder with a bad file, its progress, and ending it so that what is done stays."""

from pathlib import Path

import pytest
from batch_testing import dicom, image, manifest, noise, studies, times
from serve_client import Client

pytest_plugins = ["batch_testing"]
pytestmark = pytest.mark.usefixtures("own_home")


@pytest.fixture(scope="module")
def server(home_of_models):
    with Client(SAM2ADAPT_HOME=str(home_of_models), OMP_NUM_THREADS="1") as client:
        client.receive()
        yield client


def request(source: Path, output: Path, model: Path, **changes) -> dict:
    return {"inputs": [str(source)], "output": str(output), "model": str(model), "device": "cpu", **changes}


def test_rows_are_those_of_the_manifest(server, model, tmp_path):
    source, output = studies(tmp_path / "in", 3), tmp_path / "out"
    (source / "s01.nii.gz").write_text("no image")
    running = server.send("segmentBatch", **request(source, output, model, structures=["heart"]))
    result = server.answer(running)["result"]
    assert result == {**manifest(output), "stopped": False}
    assert [row["status"] for row in result["studies"]] == ["done", "failed", "done"]
    assert [s["name"] for s in result["studies"][0]["structures"]] == ["heart"]
    progress = server.seen_of("progress", running)
    assert progress[0]["stage"] == "searching"
    batch = [p for p in progress if p["stage"] == "batch"]
    assert {p["name"] for p in batch} <= {"s00", "s01", "s02", ""}
    assert batch[0]["name"] == "s00"
    assert (batch[-1]["done"], batch[-1]["total"], batch[-1]["fraction"]) == (3, 3, 1)
    fractions = [p["fraction"] for p in batch]
    assert fractions == sorted(fractions)
    told = [(study["input"], study["status"]) for p in batch for study in p["studies"]]
    assert told == [(row["input"], row["status"]) for row in result["studies"]]


def test_a_batch_that_is_ended_keeps_what_is_done_and_goes_on(server, model, tmp_path):
    source, output = studies(tmp_path / "in", 6, (40, 64, 64)), tmp_path / "out"
    running = server.send("segmentBatch", **request(source, output, model))
    while not server.progress(running).get("studies"):
        pass
    assert server.result("control", id=running, action="stop")
    result = server.answer(running)["result"]
    assert result["stopped"]
    assert 1 <= result["counts"]["done"] < 6
    assert result["counts"]["open"] == 6 - result["counts"]["done"]
    assert not list(output.rglob("*.lock"))
    before = times(output)
    again = server.result("segmentBatch", **request(source, output, model))
    assert (again["counts"]["done"], again["stopped"]) == (6, False)
    assert before.items() <= times(output).items()


def test_cancelled_batch_is_an_error(server, model, tmp_path):
    source = studies(tmp_path / "in", 4, (40, 64, 64))
    running = server.send("segmentBatch", **request(source, tmp_path / "out", model))
    while server.progress(running)["stage"] != "batch":
        pass
    server.send("cancel", id=running)
    assert server.answer(running)["error"]["data"]["kind"] == "CancelledError"
    assert manifest(tmp_path / "out")["counts"]["failed"] == 0


def test_what_stops_a_batch_at_once(server, model, tmp_path):
    source = image(tmp_path / "in" / "a.nrrd", noise()).parent
    wrong = server.error("segmentBatch", **request(source, source, model))
    assert wrong["data"]["kind"] == "SettingsError"
    wrong = server.error("segmentBatch", **request(source, tmp_path / "out", "nothing"))
    assert wrong["data"]["kind"] == "ModelNotFoundError"
    assert server.error("segmentBatch", output="/x", model="a")["code"] == -32602


def test_files_of_a_series_in_the_order_of_their_positions(server, model, tmp_path):
    dicom(tmp_path / "in", "1.2.3.1", positions=(2, 0, 1))
    dicom(tmp_path / "in", "1.2.3.2")
    (tmp_path / "in" / "1.2.3.2-1.dcm").write_bytes(b"damaged")
    files = server.result("seriesFiles", input=str(tmp_path / "in"), series="1.2.3.1")
    assert [Path(file).name for file in files] == [f"1.2.3.1-{k}.dcm" for k in range(3)]
    missing = server.error("seriesFiles", input=str(tmp_path / "in"), series="1.2.3.3")
    assert missing["data"]["kind"] == "SeriesError"
