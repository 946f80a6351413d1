"""``sam2adapt fill`` and the server's method ``fill``."""

import json
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
from sam2adapt.cli.app import main
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import Volume, read_labels, write_labels, write_volume
from serve_client import Client, described

DRAWN = [0, 4, 8]


@pytest.fixture(scope="module")
def case() -> tuple[Volume, np.ndarray]:
    grid = np.indices((9, 32, 36)).astype(float)
    truth = (((grid[0] - 4) * 2) ** 2 + (grid[1] - 16) ** 2 + (grid[2] - 18) ** 2 < 100).astype(np.uint8)
    grey = (100 * truth + np.random.default_rng(0).normal(0, 9, truth.shape)).astype(np.float32)
    return Volume(grey[None], np.array([5.0, 6, 7]), np.array([1.0, 1, 3]), np.eye(3), "phantom"), truth


def sparse(truth: np.ndarray) -> np.ndarray:
    labels = np.full_like(truth, 255)
    labels[DRAWN] = truth[DRAWN]
    return labels


def dice(a, b) -> float:
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_command_in_a_process(case, tmp_path):
    volume, truth = case
    write_volume(tmp_path / "image.nii.gz", volume)
    write_volume(tmp_path / "drawn.nii.gz", volume.with_array(sparse(truth)))
    command = [
        sys.executable, "-m", "sam2adapt", "fill", tmp_path / "image.nii.gz", "--labels", tmp_path / "drawn.nii.gz",
        "--structures", "liver", "-o", tmp_path / "out.seg.nrrd", "--json", tmp_path / "out.json",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert "liver: expected Dice" in done.stdout and "next" in done.stdout
    result = read_labels(tmp_path / "out.seg.nrrd").array[0]
    assert np.array_equal(result[DRAWN], truth[DRAWN]) and dice(result == 1, truth == 1) > 0.9
    report = json.loads((tmp_path / "out.json").read_text())
    assert report["axis"] == "K" and report["next_slice"] not in DRAWN and report["expected_dice"]["liver"] > 0.8


def test_segmentation_cropped_by_slicer(case, tmp_path):
    volume, truth = case
    write_volume(tmp_path / "image.nrrd", volume)
    drawn = np.zeros_like(truth)
    drawn[[2, 4, 6]] = truth[[2, 4, 6]]
    part = Volume(
        drawn[None, 1:8, 4:30, 5:33].copy(), volume.origin + volume.spacing * [5, 4, 1], volume.spacing, np.eye(3)
    )
    write_labels(tmp_path / "drawn.seg.nrrd", part, [describe(1, "liver")])
    out = tmp_path / "out.nrrd"
    command = ["fill", str(tmp_path / "image.nrrd"), "--labels", str(tmp_path / "drawn.seg.nrrd"), "-o", str(out)]
    assert main(command) == 0
    result = read_labels(out).array[0]
    assert np.array_equal(result[[2, 4, 6]], truth[[2, 4, 6]])
    assert dice(result[[3, 5]] == 1, truth[[3, 5]] == 1) > 0.9 and not result[[0, 1, 7, 8]].any()


def test_labels_of_another_geometry(case, tmp_path, capsys):
    volume, truth = case
    write_volume(tmp_path / "image.nrrd", volume)
    image = sitk.GetImageFromArray(sparse(truth))
    image.SetSpacing([1, 1, 2])
    sitk.WriteImage(image, str(tmp_path / "drawn.nrrd"))
    command = ["fill", str(tmp_path / "image.nrrd"), "--labels", str(tmp_path / "drawn.nrrd"), "-o"]
    assert main([*command, str(tmp_path / "out.nrrd")]) == 2
    told = capsys.readouterr().err
    assert "36 x 32 x 9 voxels of 1 x 1 x 2 mm" in told and "1 x 1 x 3 mm" in told and "resample" in told
    assert not (tmp_path / "out.nrrd").exists()


def test_server(case, tmp_path):
    volume, truth = case
    np.save(tmp_path / "drawn.npy", sparse(truth))
    with Client(OMP_NUM_THREADS="1") as server:
        server.receive()
        params = {
            "input": described(volume, tmp_path), "drawings": str(tmp_path / "drawn.npy"),
            "structures": [{"name": "liver"}], "masks": str(tmp_path / "masks.npy"),
            "preview": str(tmp_path / "preview.npy"),
        }  # fmt: skip
        request = server.send("fill", **params)
        result = server.answer(request)["result"]
        masks, preview = np.load(tmp_path / "masks.npy"), np.load(tmp_path / "preview.npy")
        assert masks.shape == preview.shape == (1, *truth.shape)
        assert np.array_equal(masks[0, DRAWN], truth[DRAWN]) and dice(masks[0] == 1, truth == 1) > 0.9
        assert [told["masks"] for told in server.seen_of("preview", request)] == [params["preview"]]
        assert result["expected_dice"]["liver"] > 0.8
        np.save(tmp_path / "drawn.npy", np.full_like(truth, 255))
        assert server.error("fill", **params)["data"]["kind"] == "DrawingError"
