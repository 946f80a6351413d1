"""The server's ``rank``: what ``rank.rank_volume`` gives, with progress, cancel and refusals."""

from dataclasses import replace

import numpy as np
import pytest
import slicerio
from sam2adapt.imaging.volume import Volume, read_volume
from sam2adapt.requests.measure_case import measure_case
from sam2adapt.segmenting.model import load_model
from sam2adapt.segmenting.rank import rank_volume
from sam2adapt.shared.errors import CancelledError
from sam2adapt.shared.requests.server_actions import MeasureCase
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


def test_a_file_is_read_by_the_engine_and_its_slices_are_named(server, chest, tmp_path):
    params = {"model": "torso-ct", "slices": 1}
    of_file = server.result("rank", input=slicerio.get_testdata_file("CTChest4.nrrd"), **params)
    assert of_file["name"].startswith("CTChest4") and of_file["found"]
    assert (of_file["slices"][0]["direction"], of_file["slices"][0]["count"]) == ("axial", 34)
    assert "nothing.nrrd" in server.error("rank", input=str(tmp_path / "nothing.nrrd"), **params)["message"]


def test_a_model_is_measured_on_a_corrected_case(server, chest, tmp_path):
    from sam2adapt.imaging.terminology import describe
    from sam2adapt.imaging.volume import write_labels, write_volume
    from sam2adapt.segmenting.predict import segment

    write_volume(tmp_path / "a.nrrd", chest)
    labels = segment(chest, load_model("torso-ct")).labels
    swapped = labels.with_array(np.array([0, 7, 3, 0], np.uint8)[labels.array[0]])  # other values, the same names
    named = [describe(7, "Right lung"), describe(3, "left lung"), describe(9, "trachea")]
    swapped.array[0, 0, :4, :4] = 9  # what the model does not know counts as background
    write_labels(tmp_path / "a.seg.nrrd", swapped, named, chest)
    paths = {"model": "torso-ct", "image": str(tmp_path / "a.nrrd"), "labels": str(tmp_path / "a.seg.nrrd")}
    assert server.result("measureCase", **paths)["dice"] == {"mean": 1.0, "right lung": 1.0, "left lung": 1.0}
    swapped.array[0, :5][swapped.array[0, :5] == 7] = 0
    write_labels(tmp_path / "a.seg.nrrd", swapped, named, chest)
    dice = server.result("measureCase", **paths)["dice"]
    assert 0.3 < dice["right lung"] < 0.9 and dice["left lung"] == 1.0
    write_labels(tmp_path / "b.seg.nrrd", swapped, [describe(7, "liver"), describe(3, "spleen"), named[2]], chest)
    error = server.error("measureCase", **paths | {"labels": str(tmp_path / "b.seg.nrrd")})
    assert error["data"]["kind"] == "ClassesError" and "liver" in error["message"] and "right lung" in error["message"]
    looks = []
    with pytest.raises(CancelledError, match="The measurement was cancelled"):  # within the first batch of slices
        measure_case(MeasureCase.from_params(paths), cancelled=lambda: looks.append(0) or len(looks) == 20)
    assert len(looks) == 20
