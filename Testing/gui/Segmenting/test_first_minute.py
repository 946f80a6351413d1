"""The first minute: a volume is loaded, one button clicked, and a result is there with how far to trust it."""

import re

import numpy as np
import pytest
import qt
import slicer
from auto_segment_testing import segmentNames
from example_engines import ScriptedEngine
from panel_testing import DEADLINE

pytest_plugins = ["auto_segment_testing"]
#: What only those know who train networks.
JARGON = re.compile(
    r"\b(dice|loss|epochs?|checkpoints?|adapters?|network|neural|inference|augmentation|parameters?|weights|tensors?|"
    r"validation|batch size|learning rate|logits|fine-?tun\w*|hyper\w*|SAM ?2)\b", re.IGNORECASE,
)  # fmt: skip
CHEST = np.diag([-8.0, -8.0, 5.0, 1.0])


def shownTexts(panel):
    """Every text that can be read without opening a section."""
    texts = []
    for kind in (qt.QLabel, qt.QAbstractButton, qt.QTableWidget):
        for widget in panel.ui.applyButton.parent().findChildren(kind):
            if widget.isVisible():
                texts += [widget.text] if kind is not qt.QTableWidget else [
                    widget.item(row, column).text()
                    for row in range(widget.rowCount) for column in range(widget.columnCount)
                ]  # fmt: skip
    return texts


def test_load_click_and_a_result_with_names_volumes_and_how_far_to_trust_it(firstMinute, chest):
    panel = firstMinute
    panel.waitFor(lambda: "tried on three slices" in panel.ui.proposalLabel.text)
    assert panel.ui.proposalLabel.text == "Finds right lung, left lung. It fits this volume: tried on three slices."
    panel.ui.applyButton.window().show()
    before = shownTexts(panel)
    panel.run()
    segmentation = panel.ui.outputSelector.currentNode()
    assert segmentNames(segmentation) == ["right lung", "left lung"]
    assert panel.ui.resultsTable.item(0, 0).text() == "right lung"
    assert 2000 < float(panel.ui.resultsTable.item(0, 1).text()) < 4000
    assert panel.ui.trustLabel.text == (
        "On one image that it was not trained on, this model agreed with outlines drawn by people to 92 %. On three"
        " slices of this volume it was sure of its answer. Check the outlines before you rely on them."
    )
    texts = [*before, *shownTexts(panel)]
    panel.ui.applyButton.window().hide()
    assert "Auto-segment" in texts and "right lung" in texts
    assert [text for text in texts if JARGON.search(text)] == []


def test_a_volume_that_no_model_fits_leads_to_drawing(firstMinute):
    panel = firstMinute
    noise = np.random.default_rng(0).normal(-300, 500, (12, 40, 40)).clip(-1000, 900).astype(np.int16)
    slicer.util.addVolumeFromArray(noise, ijkToRAS=CHEST, name="noise")
    panel.processEvents(DEADLINE, until=lambda: panel.ui.applyButton.text == "Draw a few slices…")
    assert panel.ui.proposalLabel.text.startswith("No model fits this volume: draw a few slices")
    assert panel.widget._parameterNode.model == "" and panel.ui.applyButton.enabled and panel.hint == ""
    panel.click()
    assert slicer.util.selectedModule() == "SegmentEditor"
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    assert editor.activeEffect().name == "Fill from drawn slices" and editor.sourceVolumeNode().GetName() == "noise"
    slicer.util.selectModule("SAM2Adapt")
    panel.widget._parameterNode.model = "torso-ct@1.0.0"  # the user may know better
    panel.processEvents()
    assert panel.ui.applyButton.text == "Auto-segment"
    assert panel.ui.proposalLabel.text == "Finds right lung, left lung. It may not fit this volume."


@pytest.fixture
def engine(firstMinute, monkeypatch):
    engine = ScriptedEngine()
    monkeypatch.setattr(firstMinute.widget.logic, "engine", engine)
    yield engine
    firstMinute.widget._run.cancel()


def addVolume(panel, name):
    voxels = np.random.default_rng(0).integers(-1000, 900, (6, 24, 24)).astype(np.int16)
    node = slicer.util.addVolumeFromArray(voxels, ijkToRAS=CHEST, name=name)
    panel.processEvents()
    return node


def test_a_click_does_not_wait_for_the_trial_and_the_trial_is_not_repeated_for_ever(firstMinute, engine):
    panel, node = firstMinute, addVolume(firstMinute, "a")
    panel.processEvents(DEADLINE, until=lambda: engine.requests)
    trial = engine.last
    assert trial.method == "tryModel" and panel.ui.proposalLabel.text.endswith("Trying it on three slices…")
    assert panel.ui.applyButton.enabled
    panel.click()
    assert engine.last.method == "segment" and panel.isRunning()
    from SAM2AdaptLib.Engine.Client import cancelledError

    trial.sendError(cancelledError())  # the engine client lets it give way
    panel.processEvents()
    assert len(engine.requests) == 2
    engine.last.sendError(cancelledError())
    panel.processEvents(DEADLINE, until=lambda: len(engine.requests) == 3)  # nothing else is to do, so again
    from SAM2AdaptLib.Engine.Error import EngineError

    engine.last.sendError(EngineError("EngineStopped", "It stopped."))
    panel.processEvents(1)
    assert len(engine.requests) == 3 and panel.ui.applyButton.text == "Auto-segment"
    assert panel.ui.inputSelector.currentNode() is node


def test_the_trial_decides_between_models_and_the_choice_of_the_user_stays(firstMinute, engine):
    panel = firstMinute
    other = addVolume(firstMinute, "a")
    panel.processEvents(DEADLINE, until=lambda: engine.requests)
    panel.widget._parameterNode.model = "lumbar-spine-mr@1.1.0"
    engine.last.sendResult({"found": [], "score": 0.0})
    panel.processEvents()
    assert panel.widget._parameterNode.model == "lumbar-spine-mr@1.1.0"
    panel.widget._parameterNode.model = ""
    panel.processEvents()
    assert panel.widget._parameterNode.model == "" and panel.ui.applyButton.text == "Draw a few slices…"
    assert len(engine.requests) == 1 and other.GetScene()  # known, so not tried again
