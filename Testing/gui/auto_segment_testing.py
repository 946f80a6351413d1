"""What the tests of Auto-segment share: the panel with what a user does and sees, the chest CT, models."""

import json
import os
from pathlib import Path

import pytest
import slicer
from panel_testing import BasePanel, loadedModules

slicerio = pytest.importorskip("slicerio", reason="needs the chest CT of the PyPI package slicerio")
CHEST = Path(slicerio.__file__).parent / "data" / "CTChest4.nrrd"


@pytest.fixture(scope="module")
def autoSegment(slicerHost, tmp_path_factory):
    """The module, opened once, so that the engine stays warm from test to test; no model of the user is seen."""
    with loadedModules(slicerHost, tmp_path_factory.mktemp("home"), "SAM2Adapt") as widget:
        yield widget


@pytest.fixture
def modelsFolder(autoSegment):
    """The user's own models, none of them left for the next test."""
    folder = Path(os.environ["SAM2ADAPT_HOME"]) / "models"
    folder.mkdir(exist_ok=True)
    yield folder
    for path in folder.iterdir():
        path.unlink()
    autoSegment._modelList.read()


def writeModel(path, **changes):
    """Write a copy of the bundled model with another card."""
    from safetensors.numpy import load_file, save
    from sam2adapt.modelfiles import card
    from sam2adapt.shared import files, safetensors_header

    source = files.bundled_folder() / "torso-ct.safetensors"
    content = card.read_card(source) | changes
    tensors = load_file(source)
    content["digest"] = card.compute_digest(content, save(tensors))
    path.write_bytes(save(tensors, {safetensors_header.MODEL_KEY: json.dumps(content)}))


class Panel(BasePanel):
    """The panel with what a test does and sees."""

    def click(self):
        self.ui.applyButton.click()

    def isRunning(self):
        return self.ui.applyButton.text == "Cancel"

    def run(self):
        self.click()
        self.waitFor(lambda: not self.isRunning())

    def start(self):
        """Click and wait until the engine is at work, which may still be loading."""
        self.click()
        self.waitFor(lambda: self.status.startswith(("Loading", "Segmenting")))
        assert self.isRunning()
        return self.widget.logic.engine.processId()


@pytest.fixture
def panel(autoSegment, scene, processEvents, monkeypatch):
    """The panel, which tries no model out before the button is clicked; ``firstMinute`` lets it."""
    widget = slicer.modules.SAM2AdaptWidget
    monkeypatch.setattr(widget._proposal, "_mayTry", lambda: False)
    widget.enter()
    return Panel(widget, processEvents)


@pytest.fixture
def firstMinute(panel, monkeypatch):
    """The panel as a user finds it."""
    monkeypatch.setattr(panel.widget._proposal, "_mayTry", panel.widget._mayTry)
    yield panel
    panel.widget._proposal.cancel()


@pytest.fixture
def chest(panel):
    """The panel with the chest CT, which it selects by itself."""
    node = loadChest()
    panel.processEvents()
    return node


def loadChest():
    return slicer.modules.volumes.logic().AddArchetypeVolume(str(CHEST), "CTChest4", 0)


def segmentNames(segmentationNode):
    segmentation = segmentationNode.GetSegmentation()
    return [segmentation.GetSegment(segmentId).GetName() for segmentId in segmentation.GetSegmentIDs()]


def segmentationCount():
    return slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")


def isAlive(process):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2]
    except FileNotFoundError:
        return False
