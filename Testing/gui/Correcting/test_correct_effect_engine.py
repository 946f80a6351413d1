"""The effect and the console with the real engine, without a model."""

import os
import signal

import numpy as np
import pytest
import slicer
import vtk
from correcting_testing import CorrectPanel
from filling_testing import SHAPE, addDrawings, disc
from panel_testing import DEADLINE

pytest_plugins = ["effect_testing"]
TRUTH = np.stack([disc(7)] * SHAPE[0]).astype(np.uint8)


@pytest.fixture
def half(effects, scene):
    """A volume with a bright cylinder, of which one half is segmented."""
    slicer.util.selectModule("SAM2Adapt")
    mask = TRUTH.copy()
    mask[:, :, :12] = 0
    volumeNode, segmentationNode = addDrawings({"cylinder": mask})
    slicer.util.arrayFromVolume(volumeNode)[:] += 200 * TRUTH
    slicer.util.arrayFromVolumeModified(volumeNode)
    return volumeNode, segmentationNode


def wrong(mask, k):
    return np.count_nonzero(mask[k].astype(bool) != TRUTH[k].astype(bool))


def test_console_corrects_carries_and_undoes(half):
    from SAM2AdaptLib.Engine.Error import EngineError

    logic = slicer.util.getModuleLogic("SAM2Adapt")
    panel = CorrectPanel(*half, logic.engine, "cylinder")
    before = panel.mask("cylinder")
    position = panel.position((9, 10, 5))
    job = logic.correct(*half, "cylinder", [position], carry=1)
    after = panel.mask("cylinder")
    assert after[5, 10, 9] and sorted(job.result["slices"]) == [4, 5, 6]
    assert all(wrong(after, k) < wrong(before, k) / 2 for k in (4, 5, 6)) and np.array_equal(after[8], before[8])
    assert logic.undo(half[1]) and np.array_equal(panel.mask("cylinder"), before)
    for segment, positions, words in (
        ("tumour", [position], "has no segment 'tumour'. Its segments are: cylinder."),
        ("cylinder", [(999, 0, 0)], "lies outside of volume 'CT'"),
    ):
        with pytest.raises(EngineError, match=words):
            logic.correct(*half, segment, positions)
    with pytest.raises(EngineError, match="no-such-model"):
        logic.correct(*half, "cylinder", [position], model="no-such-model")
    assert np.array_equal(panel.mask("cylinder"), before)


def test_console_takes_nodes_of_the_scene(half):
    from SAM2AdaptLib.Engine.Error import EngineError

    logic = slicer.util.getModuleLogic("SAM2Adapt")
    panel = CorrectPanel(*half, logic.engine, "cylinder")
    before = panel.mask("cylinder")
    points = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "F")
    transform = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLinearTransformNode")
    transform.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([2.0, 0.5, 1, 1])))
    points.SetAndObserveTransformNodeID(transform.GetID())
    for voxel in ((9, 10, 3), (9, 8, 5)):
        points.AddControlPointWorld(vtk.vtkVector3d(*panel.position(voxel)))
    job = logic.correct(*half, "cylinder", points)
    after = panel.mask("cylinder")
    assert after[3, 10, 9] and after[5, 8, 9] and sorted(job.result["slices"]) == [3, 5]
    assert all(wrong(after, k) < wrong(before, k) / 2 for k in (3, 5)) and np.array_equal(after[4], before[4])
    assert logic.undo(half[1]) and np.array_equal(panel.mask("cylinder"), before)
    stroke = np.zeros(SHAPE, np.uint8)
    stroke[2:9, 10, 6:10] = 1
    _, drawing = addDrawings({"stroke": stroke})
    job = logic.correct(*half, "cylinder", (drawing, "stroke"))
    after = panel.mask("cylinder")
    assert sorted(job.result["slices"]) == list(range(2, 9)) and after[stroke > 0].all()
    assert all(wrong(after, k) < wrong(before, k) / 2 for k in range(2, 9)) and "in 7 slices" in job.message
    logic.correct(*half, "cylinder", (drawing, "stroke"), positive=False)
    assert not panel.mask("cylinder")[stroke > 0].any()
    assert logic.undo(half[1]) and logic.undo(half[1]) and np.array_equal(panel.mask("cylinder"), before)
    with pytest.raises(EngineError, match=r"has no segment 'line'\. Its segments are: stroke."):
        logic.correct(*half, "cylinder", (drawing, "line"))


def test_effect_survives_a_killed_engine(half, processEvents):
    panel = CorrectPanel(*half, slicer.util.getModuleLogic("SAM2Adapt").engine, "cylinder")
    before = panel.mask("cylinder")
    panel.engine.stop()
    panel.click((9, 10, 5))
    assert processEvents(DEADLINE, until=panel.engine.processId)
    os.kill(panel.engine.processId(), signal.SIGKILL)
    assert processEvents(DEADLINE, until=lambda: not panel.effect.isRunning())
    assert "engine" in panel.message and np.array_equal(panel.mask("cylinder"), before)
    panel.click((9, 10, 5))
    assert processEvents(DEADLINE, until=lambda: not panel.effect.isRunning())
    assert wrong(panel.mask("cylinder"), 5) < wrong(before, 5) / 2
    panel.editor.undo()
    assert np.array_equal(panel.mask("cylinder"), before)
