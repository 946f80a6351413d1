"""The panel of Auto-segment, clicked as a user does, with the real engine in a process of its own."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import qt
import slicer

slicerio = pytest.importorskip("slicerio", reason="needs the chest CT of the PyPI package slicerio")
REPOSITORY = Path(__file__).resolve().parents[2]
CHEST = Path(slicerio.__file__).parent / "data" / "CTChest4.nrrd"
DEADLINE = 120  # seconds; a busy machine is slow, and a test that waits in vain fails anyway


@pytest.fixture(scope="module")
def module(slicerHost, tmp_path_factory):
    """The module, opened once, so that the engine stays warm from test to test; no model of the user is seen."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAM2ADAPT_HOME", str(tmp_path_factory.mktemp("home")))
        patch.setenv("SAM2ADAPT_ENGINE_PYTHON", sys.executable)
        yield slicerHost.loadModule(REPOSITORY / "SAM2Adapt" / "SAM2Adapt.py")
        slicerHost.unloadModule("SAM2Adapt")


class Panel:
    """The panel with what a test does and sees."""

    def __init__(self, widget, processEvents):
        self.widget = widget
        self.ui = widget.ui
        self.processEvents = processEvents
        self.texts = []

    def click(self):
        self.ui.applyButton.click()

    @property
    def status(self):
        return self.ui.statusLabel.text

    def isRunning(self):
        return self.ui.applyButton.text == "Cancel"

    def waitFor(self, condition):
        def look():
            if not self.texts or self.texts[-1] != self.status:
                self.texts.append(self.status)
            return condition()

        self.processEvents(DEADLINE, until=look)
        assert condition(), self.texts

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
def panel(module, scene, processEvents):
    widget = slicer.modules.SAM2AdaptWidget
    widget.enter()
    return Panel(widget, processEvents)


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


def cells(table, column):
    return [table.item(row, column).text() for row in range(table.rowCount)]


def test_opens_without_torch_and_without_a_process(panel):
    assert "torch" not in sys.modules
    assert not panel.widget.logic.engine.isRunning()
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Load a volume, or choose one." == panel.status
    assert panel.ui.installCollapsibleButton.isHidden()
    assert panel.ui.resultsCollapsibleButton.isHidden()


def test_a_volume_is_all_that_is_needed(panel, chest):
    assert panel.ui.inputSelector.currentNode() is chest
    item = panel.ui.modelTree.selectedItems()[0]
    assert [item.text(column) for column in range(1, 5)] == ["CT", "0.92", "not measured yet", "CC-BY-SA-4.0"]
    assert item.text(0) == "torso-ct\nright lung, left lung"
    assert panel.ui.applyButton.enabled
    assert panel.status == ""


def test_click_to_result_undo_and_again(panel, chest):
    panel.run()
    assert any("slices/s" in text and "left" in text for text in panel.texts)
    segmentationNode = panel.ui.outputSelector.currentNode()
    assert segmentationNode.GetName() == "CTChest4 segmentation"
    assert segmentNames(segmentationNode) == ["right lung", "left lung"]
    assert panel.status.startswith("Found: left lung, right lung.")
    assert cells(panel.ui.resultsTable, 0) == ["right lung", "left lung"]
    assert all(2000 < float(text) < 4000 for text in cells(panel.ui.resultsTable, 1))
    assert all(-900 < float(text) < -700 for text in cells(panel.ui.resultsTable, 2))
    assert panel.ui.modelTree.selectedItems()[0].text(3) != "not measured yet"

    panel.ui.copyButton.click()
    lines = slicer.app.clipboard().text().splitlines()
    assert [line.split("\t")[0] for line in lines] == ["Structure", "right lung", "left lung"]

    panel.ui.show3DButton.click()
    assert segmentationNode.GetSegmentation().ContainsRepresentation("Closed surface")

    panel.ui.undoButton.click()
    assert segmentationCount() == 0
    assert panel.ui.resultsCollapsibleButton.isHidden()
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


@pytest.mark.parametrize(("answer", "count"), [(qt.QMessageBox.Cancel, 0), (qt.QMessageBox.Yes, 1)])
def test_other_modality_is_asked_about(panel, dialogs, answers, answer, count):
    magnetic = np.clip(np.random.default_rng(0).gamma(2, 60, (4, 48, 48)), 0, 900).astype(np.int16)
    magnetic[:, :10] = 0
    slicer.util.addVolumeFromArray(magnetic, name="T1")
    panel.processEvents()
    assert panel.ui.modelHintLabel.text == "This model is for CT, but the volume looks like MR."
    answers.append(lambda dialog: answer)
    panel.run()
    assert len(dialogs) == 1
    assert "MR" in dialogs[0]["text"]
    assert panel.status.count("No structure was found.") == count


def test_modality_question_is_answered_no_by_escape_and_return(panel):
    from SAM2AdaptLib import Messages

    box = Messages.question("Run?", "It may be wrong.", "Run anyway")
    assert box.defaultButton() == box.escapeButton() == box.button(qt.QMessageBox.Cancel)


def test_empty_volume_cannot_be_run_until_it_has_voxels(panel):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    panel.ui.inputSelector.setCurrentNode(node)
    panel.processEvents()
    assert not panel.ui.applyButton.enabled
    slicer.util.updateVolumeFromArray(node, np.zeros((2, 3, 4), np.int16))
    panel.processEvents()
    assert panel.ui.applyButton.enabled


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


def test_engine_missing_shows_the_install_section(panel, chest, monkeypatch):
    monkeypatch.setenv("SAM2ADAPT_ENGINE_PYTHON", "/no/such/python")
    panel.widget.enter()
    assert not panel.ui.installCollapsibleButton.isHidden()
    assert "/no/such/python" in panel.ui.installLabel.text
    assert not panel.ui.applyButton.enabled
    assert panel.ui.applyButton.toolTip == "Install the engine first."
    monkeypatch.undo()
    panel.widget.enter()
    assert panel.ui.installCollapsibleButton.isHidden()
    assert panel.ui.applyButton.enabled


def test_models_are_imported_searched_exported_and_removed(panel, dialogs, answers, tmp_path):
    menu = panel.widget._modelMenu
    bundled = panel.widget._modelList.models[0].path
    exported = tmp_path / "exported.safetensors"
    answers.append(lambda dialog: str(exported))
    menu.exportModel()
    panel.waitFor(lambda: panel.status == "The model was exported.")
    assert exported.read_bytes() == bundled.read_bytes()
    menu.importModel()
    panel.waitFor(lambda: panel.status == "The model was imported.")
    assert panel.ui.modelTree.topLevelItemCount == 2
    panel.ui.modelSearchBox.text = "left LUNG ct"
    assert not panel.ui.modelTree.topLevelItem(0).isHidden()
    panel.ui.modelSearchBox.text = "kidney"
    assert panel.ui.modelTree.topLevelItem(0).isHidden()
    answers[:] = [lambda dialog: qt.QMessageBox.Yes]
    menu.removeModel()
    panel.waitFor(lambda: panel.status == "The model was removed.")
    assert panel.ui.modelTree.topLevelItemCount == 1


def test_parameters_survive_leaving_the_panel(panel, chest):
    panel.ui.testTimeAugmentationCheckBox.checked = True
    panel.ui.existingSegmentsComboBox.setCurrentIndex(1)
    panel.ui.structureList.item(1).setCheckState(qt.Qt.Unchecked)
    panel.ui.deviceComboBox.setCurrentIndex(panel.ui.deviceComboBox.findData("cpu"))
    panel.widget.exit()
    parameterNode = panel.widget.logic.getParameterNode()
    assert parameterNode.testTimeAugmentation
    assert parameterNode.existingSegments.value == "add"
    assert list(parameterNode.skippedStructures) == ["left lung"]
    assert parameterNode.device == "cpu"
    parameterNode.device = "cuda:7"
    panel.widget.enter()
    assert panel.ui.deviceComboBox.currentData == "cuda:7"
    assert panel.ui.structureList.item(1).checkState() == qt.Qt.Unchecked


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


def test_self_test(panel):
    slicer.selfTests["SAM2Adapt"]()


def test_cancel_halfway_and_run_again(panel, chest):
    panel.ui.testTimeAugmentationCheckBox.checked = True
    process = panel.start()
    panel.waitFor(lambda: "slices/s" in panel.status or not panel.isRunning())
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


def isAlive(process):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2]
    except FileNotFoundError:
        return False
