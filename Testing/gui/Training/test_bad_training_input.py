"""What goes wrong before a training: it is said in a sentence, and nothing of the user is lost."""

import numpy as np
import slicer
from training_testing import addCase

pytest_plugins = ["training_testing"]
LONG = "a name that somebody typed in a hurry " * 6


def test_500_structures_are_more_than_a_model_can_learn_and_that_is_said(panel):
    _volume, segmentation = addCase("a")
    for number in range(499):
        segmentation.GetSegmentation().AddEmptySegment("", f"structure {number}")
    panel.addScene()
    assert not panel.ui.startButton.enabled and "254" in panel.hint and panel.ui.classTable.rowCount == 500


def test_a_segmentation_without_structures_is_no_case(panel):
    volume, _segmentation = addCase("a")
    empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "empty")
    empty.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    panel.addScene()
    assert panel.status == "Not added, because nothing is drawn: empty." and panel.ui.caseTable.rowCount == 1


def test_a_start_model_that_is_missing_after_reload_is_named(panel, tmp_path):
    addCase("a")
    panel.addScene()
    panel.parameters.startModel = "of-a-colleague@3"
    panel.saveAndCloseScene(tmp_path)
    panel.loadScene(tmp_path)
    panel.look()
    assert panel.parameters.startModel == "of-a-colleague@3"
    assert "of-a-colleague@3” is not on this computer" in panel.ui.startHintLabel.text


def test_names_of_200_characters_are_cases_with_files_of_bearable_names(panel, tmp_path):
    from SAM2AdaptLib.Training import CaseFiles, Classes

    addCase(LONG, (LONG,))
    panel.addScene()
    assert panel.hint == "" and panel.column(panel.ui.classTable, 0) == [LONG.strip()]
    cases = panel.widget._inputs.cases
    (name,) = CaseFiles.write(cases, Classes.match(cases), tmp_path)
    assert len(name) == 80 and (tmp_path / "labels" / f"{name}.nrrd").is_file()


def test_how_long_to_train_is_chosen_by_a_click_and_sent(panel, scripted):
    from SAM2AdaptLib.Training.Options import Duration

    addCase("a")
    panel.addScene()
    assert [panel.ui.durationComboBox.itemText(n) for n in range(panel.ui.durationComboBox.count)] == [
        "5 minutes at most", "15 minutes at most", "60 minutes at most", "until it stops improving",
    ]  # fmt: skip
    sent = []
    for row in (0, 3):
        panel.ui.durationComboBox.setCurrentIndex(row)
        panel.processEvents()
        panel.ui.startButton.click()
        panel.waitFor(lambda: scripted.training.requests)
        sent.append(scripted.training.last.params.get("maxMinutes"))
        panel.ui.cancelButton.click()
        panel.processEvents()
        scripted.training.requests.clear()
    assert sent == [Duration.SHORT.value, None]
    assert np.isfinite(sent[0])
