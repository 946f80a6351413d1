"""Runs of Auto-segment, clicked as a user does, with the real engine in a process of its own."""

import os

import numpy as np
import pytest
import qt
import slicer
from auto_segment_testing import Panel, isAlive, loadChest, segmentationCount, segmentNames
from panel_testing import REPOSITORY

TORSO = "torso-ct@1.0.0"

pytest_plugins = ["auto_segment_testing"]


def cells(table, column):
    return [table.item(row, column).text() for row in range(table.rowCount)]


def test_opens_without_a_process(panel):
    assert not panel.widget.logic.engine.isRunning()
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Load a volume, or choose one." == panel.hint
    assert panel.ui.installCollapsibleButton.isHidden()
    assert panel.ui.resultsCollapsibleButton.isHidden()


def test_a_volume_is_all_that_is_needed(panel, chest):
    assert panel.ui.inputSelector.currentNode() is chest
    item = panel.ui.modelTree.selectedItems()[0]
    assert [item.text(column) for column in range(1, 3)] == ["CT", "0.92"]
    assert "Licence: CC-BY-SA-4.0" in item.toolTip(0)
    assert item.text(0) == "torso-ct\nright lung, left lung"
    assert panel.ui.applyButton.enabled
    assert panel.hint == ""


def test_click_to_result_undo_and_again(panel, chest):
    panel.run()
    assert any("slices" in text and "left" in text for text in panel.texts)
    segmentationNode = panel.ui.outputSelector.currentNode()
    assert segmentationNode.GetName() == "CTChest4 segmentation"
    assert segmentNames(segmentationNode) == ["right lung", "left lung"]
    assert panel.status.startswith("Found: right lung, left lung.")
    assert cells(panel.ui.resultsTable, 0) == ["right lung", "left lung"]
    assert all(2000 < float(text) < 4000 for text in cells(panel.ui.resultsTable, 1))
    assert all(-900 < float(text) < -700 for text in cells(panel.ui.resultsTable, 2))
    assert panel.ui.modelTree.selectedItems()[0].text(3).startswith(("about", "less than 1 s"))

    panel.ui.copyButton.click()
    lines = slicer.app.clipboard().text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["Structure", "right lung", "left lung"]

    panel.ui.editButton.click()
    assert slicer.util.selectedModule() == "SegmentEditor"
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    assert (editor.segmentationNode(), editor.sourceVolumeNode()) == (segmentationNode, chest)
    slicer.util.selectModule("SAM2Adapt")

    panel.ui.show3DButton.click()
    assert segmentationNode.GetSegmentation().ContainsRepresentation("Closed surface")

    panel.ui.undoButton.click()
    assert segmentationCount() == 0
    assert panel.ui.resultsTable.isHidden()
    panel.run()
    assert segmentationCount() == 1


def test_other_segments_are_kept_and_structures_can_be_left_out(panel, chest):
    own = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    own.CreateDefaultDisplayNodes()
    own.SetReferenceImageGeometryParameterFromVolumeNode(chest)
    tumour = own.GetSegmentation().AddEmptySegment("", "tumour")
    voxels = np.zeros(slicer.util.arrayFromVolume(chest).shape, np.uint8)
    voxels[3:6, 10:20, 30:50] = 1
    slicer.util.updateSegmentBinaryLabelmapFromArray(voxels, own, tumour, chest)
    panel.ui.outputSelector.setCurrentNode(own)
    panel.ui.structureList.item(0).setCheckState(qt.Qt.Unchecked)
    panel.run()
    assert segmentNames(own) == ["tumour", "left lung"]
    np.testing.assert_array_equal(slicer.util.arrayFromSegmentBinaryLabelmap(own, tumour, chest), voxels)
    panel.ui.undoButton.click()
    assert segmentNames(own) == ["tumour"]


def test_region_and_uncertainty(panel, chest):
    views = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    roi = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "upper half")
    bounds = np.zeros(6)
    chest.GetRASBounds(bounds)
    roi.SetXYZ((bounds[::2] + bounds[1::2]) / 2 + (0, 0, (bounds[5] - bounds[4]) / 4))
    roi.SetRadiusXYZ((bounds[1::2] - bounds[::2]) / 2 * (1, 1, 0.5))
    panel.ui.roiSelector.setCurrentNode(roi)
    panel.ui.uncertaintyCheckBox.checked = True
    panel.run()
    segmentationNode = panel.ui.outputSelector.currentNode()
    segmentId = segmentationNode.GetSegmentation().GetNthSegmentID(0)
    slices = slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, chest).any((1, 2))
    assert not slices[: len(slices) // 2].any()
    assert slices[len(slices) // 2 :].any()

    overlay = slicer.mrmlScene.GetNodeByID(views.GetForegroundVolumeID())
    assert overlay.GetName() == "CTChest4 uncertainty"
    panel.ui.uncertaintyCheckBox.checked = False
    assert views.GetForegroundVolumeID() is None


def test_result_is_handed_to_training(panel, chest, slicerHost):
    slicerHost.loadModule(REPOSITORY / "SAM2AdaptTraining" / "SAM2AdaptTraining.py")
    slicer.util.selectModule("SAM2Adapt")
    panel.run()
    panel.ui.trainButton.click()
    assert slicer.util.selectedModule() == "SAM2AdaptTraining"
    example = slicer.util.getModuleLogic("SAM2AdaptTraining").getParameterNode().exampleSegmentation
    slicer.util.selectModule("SAM2Adapt")
    slicerHost.unloadModule("SAM2AdaptTraining")
    assert example is panel.ui.outputSelector.currentNode()


def test_the_proposed_model_follows_the_volume_and_the_users_choice_stays(panel, chest):
    """Whoever loads a volume shall not have to know that another model was first in the list before."""
    magnetic = np.clip(np.random.default_rng(0).gamma(2, 60, (4, 48, 48)), 0, 900).astype(np.int16)
    magnetic[:, :10] = 0
    node = slicer.util.addVolumeFromArray(magnetic, name="T1")
    proposed, parameters = [], panel.widget._parameterNode
    for volumeNode in (chest, node, chest):
        parameters.inputVolume = volumeNode
        panel.processEvents()
        proposed.append(panel.ui.modelTree.selectedItems()[0].text(1))
    assert proposed == ["CT", "MR", "CT"]
    parameters.inputVolume = node
    parameters.model = TORSO
    parameters.inputVolume = chest
    parameters.inputVolume = node
    panel.processEvents()
    assert parameters.model == TORSO


@pytest.mark.parametrize(("answer", "count"), [(qt.QMessageBox.Cancel, 0), (qt.QMessageBox.Yes, 1)])
def test_other_modality_is_asked_about(panel, dialogs, answers, answer, count):
    magnetic = np.clip(np.random.default_rng(0).gamma(2, 60, (4, 48, 48)), 0, 900).astype(np.int16)
    magnetic[:, :10] = 0
    slicer.util.addVolumeFromArray(magnetic, name="T1")
    panel.processEvents()
    panel.widget._parameterNode.model = TORSO
    panel.processEvents()
    assert panel.hint == "This model is for CT, but the volume looks like MR."
    answers.append(lambda dialog: answer)
    panel.run()
    assert len(dialogs) == 1
    assert "MR" in dialogs[0]["text"]
    assert panel.status.count("No structure was found.") == count


def test_failure_leaves_the_scene_and_says_why(panel, dialogs):
    voxels = slicer.util.arrayFromVolume(loadChest()).astype(np.float32)
    voxels[0, 0, 0] = np.nan
    slicer.mrmlScene.Clear(0)
    panel.widget.enter()
    slicer.util.addVolumeFromArray(voxels, name="holes")
    panel.processEvents()
    panel.run()
    assert [dialog["text"] for dialog in dialogs] == [panel.status.partition(".")[0] + "."]
    assert "holes" in panel.status
    assert segmentationCount() == 0
    assert panel.ui.applyButton.enabled


def test_console(panel, chest):
    logic = slicer.util.getModuleLogic("SAM2Adapt")
    progress = []
    small = slicer.util.addVolumeFromArray(np.full((2, 32, 32), 7, np.int16), name="constant")
    first, second = logic.segmentVolumes([small, chest], "torso-ct", onProgress=progress.append)
    assert "constant" in str(first)
    assert segmentNames(second) == ["right lung", "left lung"]
    assert progress[-1]["fraction"] == 1
    assert logic.devices()[0]["id"] == "auto"
    assert "torso-ct" in logic.modelDetails("torso-ct")["text"]
    assert logic.undo(second)
    with pytest.raises(Exception, match="Did you mean 'torso-ct'"):
        logic.segment(chest, "torso-cr")


def test_cancel_halfway_and_run_again(panel, chest):
    panel.ui.testTimeAugmentationCheckBox.checked = True
    process = panel.start()
    panel.waitFor(lambda: "slices" in panel.status or not panel.isRunning())
    panel.click()
    assert not panel.isRunning()
    assert "cancelled" in panel.status
    panel.waitFor(lambda: not isAlive(process))
    assert segmentationCount() == 0
    panel.ui.testTimeAugmentationCheckBox.checked = False
    panel.run()
    assert segmentationCount() == 1


def test_killed_engine_gives_one_message(panel, chest, dialogs):
    os.kill(panel.start(), 9)
    panel.waitFor(lambda: not panel.isRunning())
    assert len(dialogs) == 1
    assert dialogs[0]["text"] in panel.status
    assert dialogs[0]["informativeText"]
    assert segmentationCount() == 0
    assert panel.ui.applyButton.enabled


def test_closing_the_scene_while_it_runs(panel, chest):
    panel.start()
    slicer.mrmlScene.Clear(0)
    panel.processEvents()
    assert panel.status == "The scene was closed. Nothing was changed."
    assert segmentationCount() == 0
    panel.widget.enter()
    assert not panel.isRunning()
    assert not panel.ui.applyButton.enabled


def test_removing_the_volume_while_it_runs(panel, chest):
    panel.start()
    slicer.mrmlScene.RemoveNode(chest)
    panel.processEvents()
    assert not panel.isRunning()
    assert segmentationCount() == 0


def test_leaving_the_panel_while_it_runs(panel, chest):
    panel.start()
    panel.widget.exit()
    panel.waitFor(lambda: segmentationCount() == 1)
    panel.widget.enter()
    assert not panel.isRunning()
    assert panel.ui.outputSelector.currentNode().GetName() == "CTChest4 segmentation"


def test_reload_while_it_runs_leaves_no_process(panel, chest):
    process = panel.start()
    panel.widget.onReload()
    assert slicer.modules.SAM2AdaptWidget is not panel.widget
    reloaded = Panel(slicer.modules.SAM2AdaptWidget, panel.processEvents)
    reloaded.waitFor(lambda: not isAlive(process))
    reloaded.widget.enter()
    assert not reloaded.isRunning()
    assert reloaded.ui.applyButton.enabled
    assert segmentationCount() == 0
