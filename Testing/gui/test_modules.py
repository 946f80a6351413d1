"""Both modules of the extension as Slicer opens, closes, reloads and tests them."""

import sys
from pathlib import Path

import numpy as np
import pytest
import slicer


@pytest.fixture(params=["SAM2Adapt", "SAM2AdaptTraining"])
def name(request):
    return request.param


def addExample():
    """A volume and a segmentation of it, as they may be in a user's scene."""
    volume = slicer.util.addVolumeFromArray(np.zeros((4, 5, 6), np.int16), name="volume")
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segmentation")
    segmentation.CreateDefaultDisplayNodes()
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    segmentation.GetSegmentation().AddEmptySegment("lung", "lung")
    return volume, segmentation


def test_opens_in_an_empty_scene_without_torch(name, loadModule, screenshot, tmp_path, monkeypatch):
    for package in ("torch", "SimpleITK", "monai", "sam2", "safetensors"):
        monkeypatch.setitem(sys.modules, package, None)  # importing it raises ImportError
    widget = loadModule(name)
    module = getattr(slicer.modules, name.lower())
    assert module.title and module.categories == ("Segmentation",) and not module.icon.isNull()
    path = screenshot(widget.parent, tmp_path / "panel.png", expand=True)
    assert Path(path).stat().st_size > 5000


def test_opens_without_a_main_window(name, withoutMainWindow, loadModule, processEvents):
    widget = loadModule(name)
    addExample()
    processEvents()
    widget.onReload()
    assert slicer.util.mainWindow() is None


def test_follows_the_scene(name, loadModule, processEvents):
    widget = loadModule(name)
    addExample()
    processEvents()
    slicer.mrmlScene.Clear(0)
    processEvents()
    addExample()
    slicer.util.selectModule("SegmentEditor")
    slicer.mrmlScene.Clear(0)
    addExample()
    slicer.util.selectModule(name)
    processEvents()
    assert widget.parent.isEntered


def test_reloads_and_tests_itself(name, loadModule, processEvents):
    before = loadModule(name)
    addExample()
    before.onReload()
    processEvents()
    after = getattr(slicer.modules, f"{name}Widget")
    assert type(after) is not type(before)
    slicer.selfTests[name](msec=0)
    processEvents()


def test_comes_back_with_the_scene(name, loadModule, tmp_path, processEvents):
    """The parameter node is saved with the scene; the panel shows what it holds when the scene is opened again."""
    widget = loadModule(name)
    addExample()
    processEvents()
    slicer.mrmlScene.SetURL(str(tmp_path / "scene.mrml"))
    assert slicer.mrmlScene.Commit()
    slicer.mrmlScene.Clear(0)
    processEvents()
    assert slicer.mrmlScene.Import()
    processEvents()
    assert widget.parent.isEntered


def test_both_at_once(loadModule, processEvents):
    loadModule("SAM2Adapt")
    loadModule("SAM2AdaptTraining")
    addExample()
    for name in ("SAM2Adapt", "SAM2AdaptTraining"):
        slicer.util.selectModule(name)
        processEvents()
    assert slicer.util.selectedModule() == "SAM2AdaptTraining"
