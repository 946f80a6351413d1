"""The panel of training before a run: structures, what to start from, and what forbids to start."""

import numpy as np
import qt
from training_testing import USE, addCase

pytest_plugins = ["training_testing"]


def rename(segmentationNode, number, name):
    segmentation = segmentationNode.GetSegmentation()
    segmentation.GetSegment(segmentation.GetNthSegmentID(number)).SetName(name)


def test_opens_empty_and_without_a_process(panel):
    assert not panel.widget.logic.engine.isRunning()
    assert not panel.ui.startButton.enabled
    assert panel.hint == "Add corrected cases." == panel.ui.startButton.toolTip
    for name in ("install", "unfinished", "results", "classes"):
        assert getattr(panel.ui, f"{name}CollapsibleButton").isHidden()
    panel.addScene()
    assert "Segment a volume first" in panel.status


def test_ambiguous_structure_is_refused_until_it_is_resolved(panel):
    _volume, segmentation = addCase("a", ("liver", "spleen"))
    panel.addScene()
    rename(segmentation, 1, "liver")
    panel.waitFor(lambda: not panel.ui.startButton.enabled)
    assert panel.hint.startswith("'a' has several segments for the structure 'liver'.")
    assert not panel.ui.classTable.item(0, 2).icon().isNull()
    rename(segmentation, 1, "spleen")
    panel.waitFor(lambda: panel.ui.startButton.enabled)


def test_structures_can_be_left_out(panel):
    addCase("a", ("liver", "spleen"))
    panel.addScene()
    panel.ui.classTable.item(1, 0).setCheckState(qt.Qt.Unchecked)
    assert [entry.use for entry in panel.widget._inputs.classes] == [True, False]
    panel.widget.exit()
    panel.widget.enter()
    assert panel.ui.classTable.item(1, 0).checkState() == qt.Qt.Unchecked
    panel.ui.classTable.item(0, 0).setCheckState(qt.Qt.Unchecked)
    assert panel.hint == "There is no structure to learn. Check at least one structure."


def test_preset_says_what_it_needs_and_settings_are_checked(panel):
    from SAM2AdaptLib.Training import Options

    addCase("a")
    panel.addScene()
    assert Options.engineOptions(panel.parameters)["preset"] == "nano"
    panel.ui.presetComboBox.setCurrentText("Fast")
    assert "156 MB" in panel.ui.startHintLabel.text
    options = Options.engineOptions(panel.parameters)
    assert (options["preset"], options["license"], options["patience"]) == ("fast", "unspecified", 10)
    assert "learningRate" not in options, "the engine knows what suits the base"
    assert panel.ui.learningRateSpinBox.text == "automatic"
    panel.ui.learningRateSpinBox.value = 0.002
    assert Options.engineOptions(panel.parameters)["learningRate"] == 0.002
    panel.ui.methodSettingsEdit.text = "rank"
    assert panel.hint == "“rank” is not a setting with a value. Write it like rank=8."
    panel.ui.methodSettingsEdit.text = "rank=4, blocks=all"
    assert Options.engineOptions(panel.parameters)["settings"] == {"rank": 4, "blocks": "all"}
    panel.ui.nameEdit.text = " "
    assert panel.hint == "Give the model a name."
    panel.ui.nameEdit.text = "a/b"
    assert "file names cannot have" in panel.hint
    panel.ui.nameEdit.text = "Torso-CT"
    assert panel.hint == "There is a model “Torso-CT” already. Give the new one another name."


def test_continuing_a_model_offers_quick_adapt(panel):
    from SAM2AdaptLib.Training import Options

    addCase("a")
    panel.addScene()
    assert panel.ui.quickCheckBox.isHidden()
    panel.ui.startComboBox.setCurrentIndex(panel.ui.startComboBox.findData("torso-ct@1.0.0"))
    assert not panel.ui.quickCheckBox.isHidden()
    assert panel.ui.presetComboBox.isHidden()
    panel.ui.quickCheckBox.checked = True
    options = Options.engineOptions(panel.parameters)
    assert (options["init"], options["quick"]) == ("torso-ct@1.0.0", True)
    assert "preset" not in options and "base" not in options
    panel.parameters.startModel = ""
    panel.processEvents()
    assert panel.ui.quickCheckBox.isHidden()
    assert "quick" not in Options.engineOptions(panel.parameters)
    for method, settings, fits in (("head", "", True), ("lora", "placement = decoder", True), ("lora", "", False)):
        panel.parameters.method, panel.parameters.methodSettings = method, settings
        panel.processEvents()
        assert panel.ui.quickCheckBox.isHidden() != fits
        assert Options.engineOptions(panel.parameters)["quick"] == fits
    panel.parameters.startModel = "gone@1.0.0"
    panel.processEvents()
    assert "“gone@1.0.0” is not on this computer" in panel.hint


def test_engine_missing_shows_the_install_section(panel, monkeypatch):
    addCase("a")
    panel.addScene()
    monkeypatch.setenv("SAM2ADAPT_ENGINE_PYTHON", "/no/such/python")
    panel.widget.enter()
    assert not panel.ui.installCollapsibleButton.isHidden()
    assert not panel.ui.startButton.enabled
    assert not panel.ui.rankSceneButton.enabled
    monkeypatch.undo()


def test_fits_into_a_narrow_panel_whatever_the_names_are(panel, screenshot, tmp_path):
    addCase("a very long name of a volume " * 3, ("a structure with a very long name " * 2,))
    panel.addScene()
    screenshot(panel.widget.parent, tmp_path / "panel.png", width=330, expand=True)
    assert panel.widget.parent.width <= 330


def test_what_is_decided_about_labels_is_said_with_the_choice(panel):
    from SAM2AdaptLib.Scene import LabelImport

    volume, segmentation = addCase("a", ("liver",))
    labels = np.zeros((8, 64, 64), np.uint8)
    labels[3, 16:20, 20:29] = 1
    LabelImport.importLabels(volume, labels, [{"id": 1, "name": "cyst"}], segmentation, "add")
    addCase("b", ("liver",), seed=1)
    panel.addScene()
    assert (
        not panel.ui.overlapWidget.isHidden() and "36 voxels of 'liver' count as 'cyst'" in panel.ui.caseHintLabel.text
    )
    assert "'cyst' has no segment in b" in panel.ui.classHintLabel.text
    assert panel.ui.splitHintLabel.text.startswith("No case is set to “validate”: 1 of 2 cases will measure accuracy")
    pick(panel.ui.overlapComboBox, "first")
    assert "36 voxels of 'cyst' count as 'liver'" in panel.ui.caseHintLabel.text
    pick(panel.ui.overlapComboBox, "refuse")
    assert not panel.ui.startButton.enabled and not panel.ui.overlapWidget.isHidden()
    pick(panel.ui.overlapComboBox, "last")
    panel.ui.classTable.item(1, 0).setCheckState(qt.Qt.Unchecked)
    assert panel.ui.classHintLabel.isHidden()
    pick(panel.ui.caseTable.cellWidget(1, USE), "validate")
    panel.processEvents()
    assert panel.ui.splitHintLabel.isHidden()


def pick(box, value):
    box.setCurrentIndex(box.findData(value))
