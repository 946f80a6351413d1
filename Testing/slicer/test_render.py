"""The pictures of quickstart.py: Slicer's own slice view, drawn without a screen, in a process of its own."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

slicerio = pytest.importorskip("slicerio")
pytest.importorskip("slicer", reason="needs the PyPI package slicer-core")
Image = pytest.importorskip("PIL.Image")

RENDER = Path(__file__).resolve().parents[1] / "render.py"


@pytest.fixture(scope="module")
def rendering():
    """Skips where VTK finds no OpenGL; it ends the process then, hence the child."""
    trial = subprocess.run([sys.executable, RENDER, "--check"], capture_output=True, encoding="utf-8", check=False)
    if trial.returncode:
        pytest.skip(f"this machine cannot render: status {trial.returncode}")


@pytest.fixture(scope="module")
def axialPicture(rendering, tmp_path_factory):
    """(height, width, 3) array of the axial slice of the sample CT with its two lungs."""
    path = tmp_path_factory.mktemp("render") / "axial.png"
    volume, segmentation = (slicerio.get_testdata_file(n) for n in ("CTChest4.nrrd", "Segmentation.seg.nrrd"))
    command = [sys.executable, RENDER, volume, segmentation, path, "--views", "axial"]
    subprocess.run([*command, "--segments", "right lung", "left lung"], check=True)
    return np.asarray(Image.open(path)).astype(int)


def test_picture_has_the_panel_and_its_frame(axialPicture):
    assert axialPicture.shape == (560 + 56 + 10, 640 + 2 * 10, 3)


def test_picture_shows_the_ct_in_grey(axialPicture):
    red, green, blue = np.moveaxis(axialPicture, -1, 0)
    grey = (red == green) & (green == blue) & (red > 40)
    assert grey.mean() > 0.1
    assert len(np.unique(red[grey])) > 50


def test_lungs_have_their_colours_on_their_sides(axialPicture):
    """Right lung green, left lung magenta; the patient's right is to the left, as radiologists look at it."""
    panel = axialPicture[56:]
    red, green, _ = np.moveaxis(panel, -1, 0)
    isRight, isLeft = green - red > 40, red - green > 40
    middle = panel.shape[1] // 2
    assert isRight[:, :middle].mean() > 0.05
    assert isLeft[:, middle:].mean() > 0.05
    assert isRight[:, :middle].sum() > 10 * isRight[:, middle:].sum()
    assert isLeft[:, middle:].sum() > 10 * isLeft[:, :middle].sum()
