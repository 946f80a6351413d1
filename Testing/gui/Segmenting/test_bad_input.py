"""What goes wrong around a run: it is said in a sentence, and nothing of the user is lost."""

import numpy as np
import pytest
import slicer
from auto_segment_testing import segmentNames
from example_engines import ScriptedEngine

pytest_plugins = ["auto_segment_testing"]
SHAPE = (6, 24, 24)
LONG = "a name that somebody typed in a hurry " * 6
LUNGS = ("right lung", "left lung")


@pytest.fixture
def engine(panel, monkeypatch):
    """An engine that does what the test says, a CT model, and a volume."""
    engine = ScriptedEngine()
    monkeypatch.setattr(panel.widget.logic, "engine", engine)
    panel.widget._parameterNode.model = "torso-ct@1.0.0"
    addVolume(panel, "a")
    yield engine
    panel.widget._run.cancel()


def addVolume(panel, name):
    voxels = np.random.default_rng(0).integers(-1000, 900, SHAPE).astype(np.int16)
    node = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag([-8.0, -8.0, 5.0, 1.0]), name=name)
    panel.processEvents()
    return node


def answer(panel, engine, names=LUNGS):
    labels = np.zeros(SHAPE, np.uint8)
    for k in range(1, len(names) + 1):
        labels[1:4, k % 24, :] = k
    structures = [{"id": k, "name": name, "voxels": 72, "ml": 0.2} for k, name in enumerate(names, start=1)]
    np.save(engine.last.params["labels"], labels)
    result = {"structures": structures, "warnings": [], "slices": 0, "seconds": {}, "device": "cpu"}
    engine.last.sendResult(result | {"model": {"name": "torso-ct", "version": "1.0.0", "digest": "sha256:0"}})
    panel.processEvents()
    return panel.widget._parameterNode.outputSegmentation


def draw(volumeNode, segmentationNode, name, rows):
    """Draw as the Segment Editor does; gives the voxels."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[2, rows, 5:15] = 1
    segmentation = segmentationNode.GetSegmentation()
    segmentId = segmentation.GetSegmentIdBySegmentName(name) or segmentation.AddEmptySegment("", name)
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask, segmentationNode, segmentId, volumeNode)
    return mask


def voxels(volumeNode, segmentationNode, name):
    segmentId = segmentationNode.GetSegmentation().GetSegmentIdBySegmentName(name)
    return slicer.util.arrayFromSegmentBinaryLabelmap(segmentationNode, segmentId, volumeNode)


def addSegmentation(volumeNode):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    return node


def test_a_model_that_is_missing_after_reload_is_named_and_another_can_be_chosen(panel, engine, tmp_path):
    panel.widget._parameterNode.model = "of-a-colleague@3"
    panel.processEvents()
    panel.saveAndCloseScene(tmp_path, slicer.util.getNode("a"))
    panel.loadScene(tmp_path)
    assert "The model “of-a-colleague@3” is not on this computer" in panel.ui.modelHintLabel.text
    assert panel.hint == "Choose a model." and not panel.ui.applyButton.enabled
    assert panel.widget._parameterNode.model == "of-a-colleague@3"  # it may be imported in a moment
    panel.widget._parameterNode.model = "torso-ct@1.0.0"
    panel.processEvents()
    assert panel.ui.applyButton.enabled


def test_a_volume_that_is_replaced_under_a_running_job_ends_it_without_a_result(panel, engine, dialogs):
    volumeNode = slicer.util.getNode("a")
    panel.click()
    slicer.util.updateVolumeFromArray(volumeNode, np.zeros((3, 9, 9), np.int16))
    answer(panel, engine)
    assert "'a' changed while it was in use" in panel.status and not panel.isRunning()
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
    slicer.mrmlScene.RemoveNode(volumeNode)
    volumeNode = addVolume(panel, "a")
    panel.widget._parameterNode.inputVolume = volumeNode
    panel.processEvents()
    panel.click()
    slicer.mrmlScene.RemoveNode(volumeNode)
    panel.processEvents()
    assert "'a' was removed while it was in use" in panel.status and not panel.isRunning()
    assert len(dialogs) == 1


def test_edits_of_a_segmentation_while_the_engine_works_stay_or_come_back_by_undo(panel, engine):
    volumeNode = slicer.util.getNode("a")
    node = addSegmentation(volumeNode)
    panel.widget._parameterNode.outputSegmentation = node
    panel.click()
    tumour = draw(volumeNode, node, "tumour", slice(3, 9))
    lung = draw(volumeNode, node, "right lung", slice(12, 18))  # which the result replaces
    answer(panel, engine)
    assert np.array_equal(voxels(volumeNode, node, "tumour"), tumour)
    assert not np.array_equal(voxels(volumeNode, node, "right lung"), lung)
    panel.ui.undoButton.click()
    assert segmentNames(node) == ["tumour", "right lung"]
    assert np.array_equal(voxels(volumeNode, node, "right lung"), lung)
    panel.click()
    slicer.mrmlScene.RemoveNode(node)
    panel.processEvents()
    assert "'mine' was removed while it was in use" in panel.status


@pytest.mark.parametrize("count", [0, 500])
def test_a_segmentation_of_0_or_500_structures_keeps_them(panel, engine, count):
    volumeNode = slicer.util.getNode("a")
    node = addSegmentation(volumeNode)
    names = [f"structure {number}" for number in range(count)]
    for name in names:
        node.GetSegmentation().AddEmptySegment("", name)
    panel.widget._parameterNode.outputSegmentation = node
    panel.click()
    answer(panel, engine)
    assert segmentNames(node) == [*names, *LUNGS]
    assert panel.ui.resultsTable.rowCount == count + 2
    panel.ui.undoButton.click()
    assert segmentNames(node) == names


def test_a_shown_table_of_500_structures_is_measured_once_when_it_is_filled(panel, engine):
    """Not with each cell, which takes seconds."""
    from PySide6 import QtWidgets
    from SAM2AdaptLib.Panels import Widgets

    class Delegate(QtWidgets.QStyledItemDelegate):
        measured = 0

        def sizeHint(self, *arguments):
            Delegate.measured += 1
            return super().sizeHint(*arguments)

    panel.click()
    answer(panel, engine)
    table = panel.ui.resultsTable
    panel.ui.applyButton.window().show()
    native, delegate = table._checked(), Delegate()
    former = native.itemDelegate()
    rows = [(f"structure {number}", "1.0", "2.0") for number in range(500)]
    Widgets.fillTable(table, rows)
    panel.processEvents()
    native.setItemDelegate(delegate)
    Widgets.fillTable(table, rows)
    panel.processEvents()
    native.setItemDelegate(former)
    panel.ui.applyButton.window().hide()
    assert table.item(499, 0).text() == "structure 499" and 0 < Delegate.measured < 20 * 3 * 500


def test_a_model_that_finds_nothing_says_so(panel, engine):
    panel.click()
    answer(panel, engine, names=())
    assert panel.status.startswith("No structure was found.")
    assert panel.ui.resultsCollapsibleButton.isHidden()


@pytest.mark.parametrize("factor", [1, 2])
def test_names_of_200_characters_and_large_fonts_make_the_panel_no_wider(
    panel, engine, screenshot, tmp_path, factor, request
):
    from PySide6 import QtWidgets

    application = QtWidgets.QApplication.instance()
    font = application.font()
    request.addfinalizer(lambda: application.setFont(font))
    larger = application.font()
    larger.setPointSizeF(font.pointSizeF() * factor)  # what a display of another scale gives; there is only one here
    application.setFont(larger)
    addVolume(panel, LONG)
    panel.ui.inputSelector.setCurrentNode(slicer.util.getNode(LONG))
    panel.processEvents()
    panel.click()
    node = answer(panel, engine, names=(LONG + "right", LONG + "left"))
    assert node.GetName() == f"{LONG} segmentation" and segmentNames(node) == [LONG + "right", LONG + "left"]
    screenshot(panel.widget.parent, tmp_path / "panel.png", width=400 * factor, expand=True)
    assert panel.widget.parent.width <= 400 * factor
