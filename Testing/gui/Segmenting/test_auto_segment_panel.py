"""The panel of Auto-segment around a run: models, parameters, what cannot run, installing the engine."""

import numpy as np
import qt
import slicer
from auto_segment_testing import segmentationCount, writeModel
from panel_testing import DEADLINE

pytest_plugins = ["auto_segment_testing"]


def test_modality_question_is_answered_no_by_escape_and_return(panel):
    from SAM2AdaptLib.Panels import Dialogs

    box = Dialogs.question("Run?", "It may be wrong.", "Run anyway")
    assert box.defaultButton() == box.escapeButton() == box.button(qt.QMessageBox.Cancel)


def test_empty_volume_cannot_be_run_until_it_has_voxels(panel):
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    panel.ui.inputSelector.setCurrentNode(node)
    panel.processEvents()
    assert not panel.ui.applyButton.enabled
    slicer.util.updateVolumeFromArray(node, np.zeros((2, 3, 4), np.int16))
    panel.processEvents()
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


def test_installing_asks_first_and_says_why_it_failed(panel, dialogs, answers, tmp_path):
    panel.ui.installFolderEdit.currentPath = str(tmp_path / "absent")
    answers.append(lambda dialog: qt.QMessageBox.Cancel)
    panel.ui.installButton.click()
    assert [dialog["text"] for dialog in dialogs] == ["Install the engine?"]
    assert panel.ui.installProgressBar.isHidden()
    answers[:] = [lambda dialog: qt.QMessageBox.Yes]
    panel.ui.installButton.click()
    panel.processEvents(DEADLINE, until=panel.ui.installProgressBar.isHidden)
    assert str(tmp_path / "absent") in dialogs[-1]["text"]
    assert panel.ui.installButton.text == "Install engine…"
    panel.widget.enter()
    assert panel.ui.installCollapsibleButton.isHidden()


def test_missing_weights_are_downloaded_only_when_agreed(panel, chest, dialogs, answers, modelsFolder, monkeypatch):
    writeModel(modelsFolder / "large.safetensors", name="needs-tiny", base={"id": "tiny", "sha256": "7" * 64})
    panel.widget.enter()
    panel.widget._parameterNode.model = "needs-tiny@1.0.0"
    assert "weights “tiny”" in panel.ui.modelHintLabel.text
    answers.append(lambda dialog: qt.QMessageBox.Cancel)
    panel.run()
    assert len(dialogs) == 1
    assert "156 MB" in dialogs[0]["text"]
    assert "Apache 2.0" in dialogs[0]["informativeText"]
    assert not panel.isRunning()
    assert not list(modelsFolder.parent.glob("bases/*"))

    # Nobody listens there, so nothing is really downloaded.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    panel.widget.logic.stopEngine()
    answers[:] = [lambda dialog: qt.QMessageBox.Yes]
    panel.run()
    panel.waitFor(lambda: not panel.isRunning())
    assert len(dialogs) == 3
    assert dialogs[2]["text"] in panel.status


def test_list_marks_what_is_broken_and_what_does_not_fit(panel, chest, modelsFolder):
    writeModel(modelsFolder / "mr.safetensors", name="heart-mr", modality="MR", metrics=None)
    (modelsFolder / "damaged.safetensors").write_bytes(b"nonsense")
    panel.widget.enter()
    tree = panel.ui.modelTree
    items = [tree.topLevelItem(row) for row in range(tree.topLevelItemCount)]
    rows = {item.text(0).partition("\n")[0]: item for item in items}
    fits = [not item.toolTip(0).startswith("This model is for") for item in items]
    assert (next(iter(rows)), next(reversed(rows))) == ("torso-ct", "damaged")
    assert fits[:-1] == sorted(fits[:-1], reverse=True) and len(set(fits)) == 2
    assert "looks like CT" in rows["heart-mr"].toolTip(0)
    assert (rows["heart-mr"].text(1), rows["heart-mr"].text(2)) == ("MR", "\u2013")
    assert tree.selectedItems()[0].text(0).startswith("torso-ct")
    tree.setCurrentItem(rows["damaged"])
    assert not panel.ui.applyButton.enabled
    assert "damaged, or no model of SAM2Adapt" in panel.ui.modelHintLabel.text
    (modelsFolder / "damaged.safetensors").unlink()
    panel.widget.enter()
    assert "is not on this computer" in panel.ui.modelHintLabel.text


def test_models_are_imported_searched_exported_and_removed(panel, dialogs, answers, tmp_path):
    menu = panel.widget._modelMenu
    panel.widget._parameterNode.model = "torso-ct@1.0.0"
    bundled = panel.widget._modelList.chosen(panel.widget._parameterNode).path
    count = panel.ui.modelTree.topLevelItemCount
    exported = tmp_path / "exported.safetensors"
    answers.append(lambda dialog: str(exported))
    menu.exportModel()
    panel.waitFor(lambda: panel.status == "The model was exported.")
    assert exported.read_bytes() == bundled.read_bytes()
    menu.importModel()
    panel.waitFor(lambda: panel.status == "The model was imported.")
    assert panel.ui.modelTree.topLevelItemCount == count  # the same model once more

    def shown():
        items = [panel.ui.modelTree.topLevelItem(row) for row in range(count)]
        return {item.text(0).partition("\n")[0] for item in items if not item.isHidden()}

    panel.ui.modelSearchBox.text = "left LUNG ct"
    assert shown() == {"torso-ct"}
    panel.ui.modelSearchBox.text = "kidney"
    assert not shown() and panel.ui.modelHintLabel.text == "No model matches “kidney”."
    panel.ui.modelSearchBox.text = ""
    assert "No model" not in panel.ui.modelHintLabel.text
    answers[:] = [lambda dialog: qt.QMessageBox.Yes]
    menu.removeModel()
    panel.waitFor(lambda: panel.status == "The model was removed.")
    assert panel.ui.modelTree.topLevelItemCount == count


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


def test_narrow_panel_with_long_names(panel, chest):
    chest.SetName("CT of the chest, abdomen and pelvis, reconstructed with a soft kernel, series 3 of 12")
    panel.ui.advancedCollapsibleButton.collapsed = False
    panel.processEvents()
    assert panel.widget.parent.minimumSizeHint.width() < 420


def test_model_that_vanished_leaves_the_list_when_it_fails(panel, chest, modelsFolder, dialogs):
    writeModel(modelsFolder / "gone.safetensors", name="gone")
    panel.widget.enter()
    panel.widget._parameterNode.model = "gone@1.0.0"
    (modelsFolder / "gone.safetensors").unlink()
    panel.run()
    assert "does not exist" in dialogs[0]["text"]
    assert not any(model.name == "gone" for model in panel.widget._modelList.models)
    assert panel.widget._parameterNode.model == "torso-ct@1.0.0"


def test_details_asked_for_during_a_run_do_not_hide_its_result(panel, chest, dialogs):
    panel.start()
    panel.widget._modelMenu.showDetails()
    panel.waitFor(lambda: dialogs)
    assert panel.status.startswith("Found:")
    panel.widget._modelMenu.showDetails()
    panel.waitFor(lambda: len(dialogs) == 2)
    assert panel.status.startswith("Found:")


def test_another_volume_does_not_go_into_the_segmentation_of_the_first(panel, chest):
    panel.run()
    first = panel.ui.outputSelector.currentNode()
    other = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(chest).copy(), name="other")
    panel.processEvents()
    assert panel.ui.outputSelector.currentNode() is first
    panel.ui.inputSelector.setCurrentNode(other)
    assert panel.ui.outputSelector.currentNode() is None
    panel.ui.outputSelector.setCurrentNode(first)  # who wants it can have it
    assert panel.ui.outputSelector.currentNode() is first


def test_volume_chosen_during_a_run_does_not_get_its_result(panel, chest):
    other = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(chest).copy(), name="other")
    panel.ui.inputSelector.setCurrentNode(chest)
    panel.start()
    panel.ui.inputSelector.setCurrentNode(other)
    panel.waitFor(lambda: not panel.isRunning())
    assert panel.status.startswith("Found:")
    assert segmentationCount() == 1
    assert panel.ui.outputSelector.currentNode() is None
    assert panel.ui.resultsTable.rowCount == 2
