"""The server's ``rank``: what ``rank.rank_volume`` gives, with progress, cancel and refusals."""

from dataclasses import replace

import numpy as np
import pytest
import slicerio
from sam2adapt.imaging.volume import Volume, read_volume
from sam2adapt.segmenting.model import load_model
from sam2adapt.segmenting.rank import rank_volume
from serve_client import Client, described


@pytest.fixture(scope="module")
def server():
    with Client(OMP_NUM_THREADS="1") as client:
        client.receive()
        yield client


@pytest.fixture(scope="module")
def chest() -> Volume:
    """Ten real slices through both lungs, coarser in plane."""
    volume = read_volume(slicerio.get_testdata_file("CTChest4.nrrd"))
    return replace(volume, array=volume.array[:, 10:20, ::3, ::3].copy(), spacing=volume.spacing * [3, 3, 1])


def test_same_as_in_python(server, chest, tmp_path):
    request = server.send("rank", input=described(chest, tmp_path), model="torso-ct", slices=2)
    result = server.answer(request)["result"]
    expected = rank_volume(chest, load_model("torso-ct"), 2)
    assert result["score"] == pytest.approx(expected.score, abs=1e-4)
    assert [one["index"] for one in result["slices"]] == [one.index for one in expected.slices]
    assert np.array(result["slices"][0]["position"]) == pytest.approx(np.array(expected.slices[0].position), abs=0.01)
    fractions = [told["fraction"] for told in server.seen_of("progress", request) if told["stage"] == "ranking"]
    assert fractions == sorted(fractions) and fractions[-1] == 1


def test_cancelled(server, chest, tmp_path):
    long = replace(chest, array=np.tile(chest.array, (1, 40, 1, 1)))
    request = server.send("rank", input=described(long, tmp_path), model="torso-ct")
    while server.progress(request)["stage"] != "ranking":
        pass
    server.send("cancel", id=request)
    assert server.answer(request)["error"]["data"]["kind"] == "CancelledError"


def test_other_modality_is_refused(server, chest, tmp_path):
    magnitudes = replace(chest, array=chest.array - chest.array.min())
    params = {"input": described(magnitudes, tmp_path), "model": "torso-ct"}
    assert server.error("rank", **params)["data"]["kind"] == "ModalityError"
    assert server.result("rank", **params, anyModality=True)["score"] >= 0
