"""The effect and the console with the real engine."""

import os
import signal

import numpy as np
import pytest
import slicer
from filling_testing import SHAPE, FillPanel, addDrawings, disc
from panel_testing import DEADLINE

pytest_plugins = ["effect_testing"]
TRUTH = np.stack([disc(3 + 0.4 * k) for k in range(SHAPE[0])]).astype(np.uint8)
PLACES = [0, 4, 8, 11]


@pytest.fixture
def drawn(effects, scene):
    """A volume with a bright cone, drawn in four slices."""
    slicer.util.selectModule("SAM2Adapt")
    mask = np.zeros(SHAPE, np.uint8)
    mask[PLACES] = TRUTH[PLACES]
    volumeNode, segmentationNode = addDrawings({"cone": mask})
    slicer.util.arrayFromVolume(volumeNode)[:] += 200 * TRUTH
    slicer.util.arrayFromVolumeModified(volumeNode)
    return volumeNode, segmentationNode


def dice(mask):
    return 2 * (mask & TRUTH).sum() / (mask.sum() + TRUTH.sum())


def test_console_fills_and_undoes(drawn):
    logic = slicer.util.getModuleLogic("SAM2Adapt")
    before = dice(slicer.util.arrayFromSegmentBinaryLabelmap(drawn[1], drawn[1].GetSegmentation().GetNthSegmentID(0)))
    job = logic.fill(*drawn)
    after = slicer.util.arrayFromSegmentBinaryLabelmap(
        drawn[1], drawn[1].GetSegmentation().GetNthSegmentID(0), drawn[0]
    )
    assert job.expectedDice > 0.8 and dice(after) > 0.9 > before
    assert logic.undo(drawn[1])


def test_effect_survives_a_killed_engine(drawn, processEvents):
    logic = slicer.util.getModuleLogic("SAM2Adapt")
    panel = FillPanel(*drawn, logic.engine, processEvents)
    before = panel.masks()
    panel.engine.stop()  # a warm one may know the answer before it is killed
    panel.widget("previewButton").click()
    assert processEvents(DEADLINE, until=panel.engine.processId)
    os.kill(panel.engine.processId(), signal.SIGKILL)
    assert processEvents(DEADLINE, until=lambda: not panel.effect.isRunning())
    assert "engine" in panel.message and np.array_equal(panel.masks(), before)
    assert panel.previewNode() is None and panel.texts("previewButton") == "Fill"
    panel.widget("previewButton").click()
    assert processEvents(DEADLINE, until=lambda: not panel.effect.isRunning())
    assert panel.message.startswith("Expected accuracy") and panel.widget("applyButton").enabled
    panel.widget("applyButton").click()
    assert dice(panel.masks()[0]) > 0.9 and np.array_equal(panel.masks()[0][PLACES], TRUTH[PLACES])
    panel.editor.undo()
    assert np.array_equal(panel.masks(), before)
