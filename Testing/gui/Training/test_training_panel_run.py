"""Runs of the training panel, clicked as a user does, with the real engine in a process of its own."""

import os
import re

import numpy as np
import qt
import slicer
from auto_segment_testing import isAlive, loadChest, segmentNames
from panel_testing import DEADLINE

pytest_plugins = ["training_testing"]


DRAWN = (8, 16, 24)
#: A training that no machine finishes before the test ends it.
ENDLESS = "size=64, crop=64, validateEvery=1"


def lungs(voxels):
    """Air inside the body (K, J, I): 1 on the left of the patient, 2 on the right."""
    inside = voxels < -400
    inside[:, :, :12] = inside[:, :, -12:] = inside[:, :16] = inside[:, -16:] = False  # the air around the body
    middle = inside.shape[2] // 2
    labels = inside.astype(np.uint8)
    labels[:, :, middle:] *= 2
    return labels


def addChest():
    """The chest CT with both lungs drawn by threshold on three of its slices."""
    from SAM2AdaptLib.Scene import LabelImport

    volume = loadChest()
    truth = lungs(slicer.util.arrayFromVolume(volume))
    labels = np.zeros_like(truth)
    labels[list(DRAWN)] = truth[list(DRAWN)]
    structures = [{"id": 1, "name": "left lung"}, {"id": 2, "name": "right lung"}]
    return volume, LabelImport.importLabels(volume, labels, structures)


def charts():
    return {node.GetYAxisTitle(): node for node in slicer.util.getNodesByClass("vtkMRMLPlotChartNode")}


def autoSegmentChest(panel, volume):
    """Click through to Auto-segment with the new model and segment the volume; returns the segmentation."""
    panel.ui.useButton.click()
    assert slicer.util.selectedModule() == "SAM2Adapt"
    autoSegment = slicer.modules.SAM2AdaptWidget
    autoSegment._parameterNode.inputVolume = volume
    autoSegment.ui.applyButton.click()
    panel.processEvents(DEADLINE, until=lambda: autoSegment.ui.applyButton.text == "Auto-segment")
    assert "This took" in autoSegment.ui.statusLabel.text, autoSegment.ui.statusLabel.text
    found = autoSegment._parameterNode.outputSegmentation
    slicer.util.selectModule("SAM2AdaptTraining")
    return found


def test_three_slices_become_a_segmentation_of_the_others(panel):
    """Paused and resumed on the way, which changes nothing: the number of steps alone decides what it learns."""
    volume, drawn = addChest()
    panel.addScene()
    settings = "size=64, crop=64, steps=60, axis=axial"
    panel.setQuick(
        modelName="both lungs",
        method="dual-lw",
        batchSize=3,
        learningRate=0.01,
        allForTraining=True,
        furtherSettings=settings,
    )
    panel.start()
    panel.ui.pauseButton.click()
    panel.waitFor(lambda: panel.ui.pauseButton.text == "Resume")
    assert panel.status.startswith("Paused")
    panel.ui.pauseButton.click()
    panel.waitFor(lambda: panel.ui.pauseButton.text == "Pause" or not panel.isRunning())
    panel.waitForEnd()
    assert panel.widget._run.addedModel == "both lungs@1.0.0", panel.texts
    segmentation = autoSegmentChest(panel, volume)
    assert segmentation is not drawn and segmentNames(segmentation) == ["left lung", "right lung"]

    truth = lungs(slicer.util.arrayFromVolume(volume))
    others = [k for k in range(DRAWN[0], DRAWN[-1]) if k not in DRAWN]
    dice = []
    for value, segmentId in enumerate(segmentation.GetSegmentation().GetSegmentIDs(), start=1):
        found = slicer.util.arrayFromSegmentBinaryLabelmap(segmentation, segmentId, volume)[others] > 0
        wanted = truth[others] == value
        dice.append(2 * (found & wanted).sum() / (found.sum() + wanted.sum()))
    assert min(dice) > 0.7, dice


def test_ended_by_a_click_it_gives_a_model_for_auto_segment(panel):
    """What it finds is not looked at: it depends on how much was learned until the click."""
    addChest()
    panel.addScene()
    assert panel.column(panel.ui.caseTable, 3) == ["3 of 34"]
    panel.setQuick(modelName="my lungs", furtherSettings=ENDLESS)
    panel.start()
    assert panel.ui.stopButton.enabled
    panel.ui.stopButton.click()
    panel.waitForEnd()
    assert panel.status == "The model was trained without cases for validation."
    assert panel.ui.unfinishedCollapsibleButton.isHidden()
    table = slicer.util.getNodesByClass("vtkMRMLTableNode")[0]
    assert slicer.util.arrayFromTableColumn(table, "loss")[0] > 0
    assert charts()["Loss"].HasPlotSeriesNodeID("vtkMRMLPlotSeriesNode1")

    panel.ui.useButton.click()
    assert slicer.util.selectedModule() == "SAM2Adapt"
    assert slicer.util.getModuleLogic("SAM2Adapt").getParameterNode().model == "my lungs@1.0.0"
    slicer.util.selectModule("SAM2AdaptTraining")


def test_validation_gives_plots_preview_and_results(panel, pair, answers, dialogs, tmp_path, monkeypatch):
    from SAM2AdaptLib.Panels.Training.Preview import Preview

    previews, remove = set(), Preview.remove

    def noteAndRemove(preview):
        previews.update(node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"))
        remove(preview)

    monkeypatch.setattr(Preview, "remove", noteAndRemove)
    panel.start()
    panel.waitForEnd()
    assert "b preview" in previews
    assert not [n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if "preview" in n.GetName()]
    assert panel.status.startswith("The model is trained. Accuracy on the validation cases: ")
    before = panel.widget._run._job.result["before"]
    assert panel.column(panel.ui.diceTable, 0) == ["mean", "box"]
    assert panel.column(panel.ui.diceTable, 1) == [f"{before[name]:.3f}" for name in ("mean", "box")]
    assert [chart.GetNumberOfPlotSeriesNodes() for chart in map(charts().get, ("Loss", "Dice"))] == [1, 2]
    view = slicer.mrmlScene.GetSingletonNode("SAM2AdaptDice", "vtkMRMLPlotViewNode")
    assert view.GetPlotChartNodeID() == charts()["Dice"].GetID()

    assert panel.column(panel.ui.worstTable, 0) == ["b"]
    sliceNode = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    sliceNode.JumpSliceByCentering(500, 500, 500)
    panel.ui.worstTable.cellClicked.emit(0, 0)
    bounds = np.zeros(6)
    pair[1][1].GetRASBounds(bounds)
    position = [sliceNode.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)]
    assert all(low <= value <= high for low, value, high in zip(bounds[::2], position, bounds[1::2], strict=True))

    assert panel.ui.nameEdit.text == "boxes-2"
    answers.append(lambda dialog: str(tmp_path / "exported.safetensors"))
    panel.ui.exportButton.click()
    panel.waitFor(lambda: panel.status == "The model was exported.")
    assert (tmp_path / "exported.safetensors").stat().st_size > 1000


def test_closing_the_scene_while_it_runs(panel, pair):
    panel.parameters.furtherSettings = ENDLESS
    panel.start()
    slicer.mrmlScene.Clear(0)
    panel.processEvents()
    assert panel.isRunning()
    panel.ui.stopButton.click()
    panel.waitForEnd()
    assert panel.status.startswith("The model is trained")
    assert panel.widget._run.addedModel == "boxes@1.0.0"


def test_killed_engine_keeps_the_scene_and_the_run_is_offered_again(panel, pair, dialogs):
    panel.parameters.furtherSettings = ENDLESS
    nodes = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode")
    process = panel.start()
    os.kill(process, 9)
    panel.waitForEnd()
    assert len(dialogs) == 1
    assert dialogs[0]["text"] in panel.status
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == nodes
    assert panel.ui.startButton.enabled
    panel.widget.exit()
    panel.widget.enter()
    assert not panel.ui.unfinishedCollapsibleButton.isHidden()
    assert panel.ui.unfinishedComboBox.currentText.startswith("boxes, ")
    panel.ui.resumeButton.click()
    assert panel.ui.unfinishedCollapsibleButton.isHidden()
    panel.waitFor(lambda: panel.ui.stopButton.enabled and panel.status.startswith("Training"))
    panel.ui.stopButton.click()
    panel.waitForEnd()
    assert panel.status.startswith("The model is trained")


def test_cancelled_and_discarded(panel, pair, dialogs, answers):
    panel.parameters.furtherSettings = ENDLESS
    process = panel.start()
    panel.waitFor(lambda: re.search(r"pass ([2-9]|\d\d)", panel.status))
    panel.ui.cancelButton.click()
    assert not panel.isRunning()
    assert panel.status.startswith("The training was cancelled.")
    panel.waitFor(lambda: not isAlive(process))
    assert not panel.ui.unfinishedCollapsibleButton.isHidden()
    answers.append(lambda dialog: qt.QMessageBox.Cancel)
    panel.ui.discardButton.click()
    assert not panel.ui.unfinishedCollapsibleButton.isHidden()
    answers[:] = [lambda dialog: qt.QMessageBox.Yes]
    panel.ui.discardButton.click()
    assert panel.ui.unfinishedCollapsibleButton.isHidden()


def test_missing_weights_are_downloaded_only_when_agreed(panel, pair, dialogs, answers):
    panel.parameters.method = ""
    panel.ui.presetComboBox.setCurrentText("Fast")
    answers.append(lambda dialog: qt.QMessageBox.Cancel)
    panel.ui.startButton.click()
    panel.waitForEnd()
    assert len(dialogs) == 1
    assert "156 MB" in dialogs[0]["text"]
    assert not panel.isRunning()


def test_which_case_next(panel):
    first, second = loadChest(), loadChest()
    second.SetName("another")
    panel.widget.enter()
    panel.ui.rankingModelComboBox.setCurrentIndex(panel.ui.rankingModelComboBox.findData("torso-ct@1.0.0"))
    panel.ui.rankSceneButton.click()
    panel.waitFor(lambda: panel.ui.rankingTree.topLevelItemCount == 2)
    item = panel.ui.rankingTree.topLevelItem(0)
    assert {item.text(0), panel.ui.rankingTree.topLevelItem(1).text(0)} == {"CTChest4", "another"}
    assert 0 < float(item.text(1)) < 1
    sliceNode = slicer.mrmlScene.GetNodeByID("vtkMRMLSliceNodeRed")
    panel.ui.rankingTree.itemClicked.emit(item.child(0), 0)
    target = panel.widget._ranking._targets[item.child(0).data(0, qt.Qt.UserRole)][1]
    position = [sliceNode.GetSliceToRAS().GetElement(axis, 3) for axis in range(3)]
    np.testing.assert_allclose(position, target, atol=0.01)
    slicer.mrmlScene.RemoveNode(first)
    for row in range(2):
        panel.ui.rankingTree.itemClicked.emit(panel.ui.rankingTree.topLevelItem(row), 0)
