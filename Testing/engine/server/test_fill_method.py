"""The server's method ``fill``: masks as arrays, a first answer on the way, and refusals before the work."""

from pathlib import Path

import numpy as np
import pytest
from drawn_phantom import DRAWN, dice, drawn_labels, phantom
from sam2adapt.filling.drawings import drawings_from_masks
from sam2adapt.filling.filler import Filler
from sam2adapt.requests.arrays import read_input
from sam2adapt.server.warm_models import WarmModels
from serve_client import Client, described


@pytest.fixture(scope="module")
def server():
    with Client(OMP_NUM_THREADS="1") as client:
        client.receive()
        yield client


@pytest.fixture
def truth() -> np.ndarray:
    return phantom()[1]


@pytest.fixture
def params(tmp_path: Path) -> dict:
    """Parameters for two structures, the ball and its upper half, which is declared empty where it ends."""
    volume, truth = phantom()
    masks = np.zeros((2, *truth.shape), np.uint8)
    masks[:, [2, 4, 6]] = truth[[2, 4, 6]]
    masks[1, :, 16:] = masks[1, 6] = 0
    np.save(tmp_path / "drawn.npy", masks)
    return {
        "input": described(volume, tmp_path), "drawings": str(tmp_path / "drawn.npy"), "structures": ["ball", "half"],
        "empty": {"half": [6]}, "masks": str(tmp_path / "masks.npy"), "preview": str(tmp_path / "preview.npy"),
    }  # fmt: skip


def test_masks_preview_and_report(server, params, truth):
    request = server.send("fill", **params)
    result = server.answer(request)["result"]
    masks, preview, drawn = (np.load(params[key]) for key in ("masks", "preview", "drawings"))
    assert masks.shape == preview.shape == drawn.shape and masks.dtype == np.uint8
    assert np.array_equal(masks[0, [2, 4, 6]], drawn[0, [2, 4, 6]]) and not masks[1, 6:].any()
    assert dice(masks[0, [3, 5]] == 1, truth[[3, 5]]) > 0.9 and masks[1, 3].any()
    assert (masks[0] & masks[1]).sum() > 0.9 * masks[1].sum()  # what overlaps in the drawings stays so
    notifications = [m for m in server.seen if m.get("method") and m["params"].get("id") == request]
    stages = [m["params"].get("stage", m["method"]) for m in notifications]
    assert stages[:2] == ["loading", "preview"] and set(stages[2:]) == {"filling"}
    assert server.seen_of("preview", request) == [{"id": request, "masks": params["preview"]}]
    fractions = [m["params"]["fraction"] for m in notifications[2:]]
    assert fractions == sorted(fractions) and fractions[-1] == 1
    ball, half = result["structures"]
    assert (ball["name"], half["name"]) == ("ball", "half") and ball["voxels"] == masks[0].sum()
    assert 0.8 < ball["expectedDice"] <= 1 and 0 < result["expectedDice"] <= 1
    assert result["axis"] == "K" and result["nextSlice"] in (3, 5) and len(result["uncertainty"]) == 9
    assert result["warnings"] == [] and result["seconds"]["total"] > 0


def test_same_as_in_python(server, params):
    server.result("fill", **params, axis="K", seed=3)
    drawings = drawings_from_masks(np.load(params["drawings"]) != 0, ["ball", "half"], 0, {"half": [6]})
    assert np.array_equal(np.load(params["masks"]), Filler(phantom()[0], 3).fill(drawings).masks)


def test_labels_in_the_place_of_masks(server, params, truth):
    np.save(params["drawings"], drawn_labels(truth))
    given = params | {"structures": ["ball"], "empty": {}}
    server.result("fill", **given)
    masks = np.load(params["masks"])
    assert np.array_equal(masks[0, DRAWN], truth[DRAWN]) and dice(masks[0] == 1, truth) > 0.9


def test_warm_up_leaves_nothing_behind(server, params):
    assert server.result("warmUp") == {}
    server.result("fill", **params, axis="K", seed=3)
    drawings = drawings_from_masks(np.load(params["drawings"]) != 0, ["ball", "half"], 0, {"half": [6]})
    assert np.array_equal(np.load(params["masks"]), Filler(phantom()[0], 3).fill(drawings).masks)


def test_what_was_computed_of_a_volume_stays():
    volume, _ = phantom()
    warm = WarmModels()
    first = warm.filler(volume, 0)
    assert warm.filler(phantom()[0], 0) is first
    assert warm.filler(volume, 1) is not first
    changed = volume.with_array(volume.array + 1)
    second = warm.filler(changed, 0)
    assert second is not first and np.array_equal(second.volume.array, changed.array)


def test_what_stays_does_not_hold_the_clients_file(tmp_path):
    """The client deletes its arrays, which Windows refuses while they are mapped, or writes others in their place."""
    volume = read_input(described(phantom()[0], tmp_path))
    Path(tmp_path / "input.npy").write_bytes(b"cut short")  # of a mapped file, this would kill the process
    assert np.array_equal(WarmModels().filler(volume, 0).volume.array, phantom()[0].array)


def refusal(server: Client, params: dict, **changed) -> dict:
    error = server.error("fill", **params | changed)
    assert not Path(params["masks"]).exists()
    return {"message": error["message"], **error["data"]}


def test_refused(server, params, truth):
    folder = Path(params["masks"]).parent
    error = refusal(server, params, structures=["ball"])
    assert error["kind"] == "DrawingError" and error["setting"] == ["structures"]
    assert "(2, 9, 32, 36)" in error["message"] and "structures is 1" in error["message"]
    assert refusal(server, params, structures=["ball", "Ball "])["setting"] == ["structures"]
    error = refusal(server, params, empty={"half": [4]})
    assert "slice 4" in error["message"] and error["setting"] == ["empty"]
    assert refusal(server, params, empty={"liver": [4]})["setting"] == ["empty"]
    np.save(folder / "drawn.npy", np.zeros((2, *truth.shape), np.uint8))
    assert "No structure is drawn" in refusal(server, params)["message"]
    np.save(folder / "drawn.npy", np.where(truth, 3, 255).astype(np.uint8))
    assert "label values [3]" in refusal(server, params)["message"]


def test_output_that_cannot_be_written_is_refused_before_anything_is_read(server, params):
    missing = str(Path(params["masks"]).parent / "missing" / "a.npy")
    for name in ("masks", "preview"):
        error = server.error("fill", **params | {"drawings": "/nowhere/drawn.npy", name: missing})
        assert error["data"]["kind"] == "OutputError" and str(Path(missing).parent) in error["message"]


def test_cancelled(server, params):
    request = server.send("fill", **params)
    while server.progress(request)["stage"] != "filling":
        pass
    server.send("cancel", id=request)
    assert server.answer(request)["error"]["data"]["kind"] == "CancelledError"
    assert not Path(params["masks"]).exists()
    assert server.result("fill", **params)["structures"][0]["expectedDice"] > 0.8  # as if nothing had happened
