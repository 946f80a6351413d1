"""The panel of training before a run: cases, structures, what to start from, and what forbids to start."""

import itertools
from types import SimpleNamespace

import numpy as np
import pytest
import qt
import slicer
from panel_testing import DEADLINE
from training_testing import addCase

pytest_plugins = ["training_testing"]
VOLUME, USE, ANNOTATED = 0, 2, 3


def choose(table, row, use):
    box = table.cellWidget(row, USE)
    box.setCurrentIndex(box.findData(use))


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


def test_scene_is_all_that_is_needed(panel):
    addCase("a", ("liver", "spleen"))
    addCase("b", ("Spleen",), annotated=range(8))
    panel.addScene()
    assert panel.column(panel.ui.caseTable, 0) == ["a", "b"]
    assert panel.column(panel.ui.caseTable, ANNOTATED) == ["3 of 8", "all 8"]
    assert panel.column(panel.ui.classTable, 0) == ["liver", "spleen"]
    assert panel.column(panel.ui.classTable, 1) == ["1 of 2", "2 of 2"]
    assert panel.ui.startButton.enabled, panel.status


def test_a_large_case_is_looked_at_in_steps_and_stays_in_the_table_while_it_is_looked_at_again(panel, monkeypatch):
    from SAM2AdaptLib.Panels.Training import CaseList
    from SAM2AdaptLib.Scene import LabelExport

    clock = itertools.count()  # each look at it is half of what Slicer waits
    monkeypatch.setattr(CaseList, "time", SimpleNamespace(thread_time=lambda: 0.6 * CaseList._PATIENCE * next(clock)))
    monkeypatch.setattr(LabelExport, "_AT_ONCE", 1)
    _volume, segmentation = addCase("a", ("liver", "spleen"))
    panel.ui.addSceneButton.click()
    assert panel.status == "Looking at the cases…"
    panel.look()
    assert panel.status == "" and panel.column(panel.ui.caseTable, ANNOTATED) == ["3 of 8"]
    from SAM2AdaptLib.Training import Cases

    Cases.declareEmpty(segmentation, 2, [0])
    panel.waitFor(lambda: panel.widget._inputs.isLooking)
    seen = set()
    panel.processEvents(
        DEADLINE,
        until=lambda: (
            seen.add((panel.hint, *panel.column(panel.ui.caseTable, ANNOTATED))) or not panel.widget._inputs.isLooking
        ),
    )
    assert ("Looking at the cases…", "3 of 8") in seen  # as it was, until it is known
    assert panel.column(panel.ui.caseTable, ANNOTATED) == ["4 of 8"] and panel.ui.startButton.enabled


def test_cases_are_looked_at_in_a_scene_of_so_many_nodes_that_to_find_them_takes_all_the_time(panel, monkeypatch):
    from SAM2AdaptLib.Panels.Training import CaseList
    from SAM2AdaptLib.Scene import Volumes

    spent, volumeOf = [], Volumes.volumeOf
    monkeypatch.setattr(CaseList, "time", SimpleNamespace(thread_time=lambda: 2 * CaseList._PATIENCE * len(spent)))
    monkeypatch.setattr(Volumes, "volumeOf", lambda node: spent.append(node) or volumeOf(node))
    for name in ("a", "b"):
        addCase(name)[1].SetAttribute(CaseList.USE_ATTRIBUTE, "train")  # as in a scene that is loaded
    panel.widget.update()
    panel.processEvents(5, until=lambda: not panel.widget._inputs.isLooking)
    assert panel.column(panel.ui.caseTable, 0) == ["a", "b"] and not panel.widget._inputs.isLooking


def test_use_of_a_case_is_chosen_in_its_row_and_kept_with_the_scene(panel):
    addCase("a")
    addCase("b")
    panel.addScene()
    choose(panel.ui.caseTable, 0, "ignore")
    choose(panel.ui.caseTable, 1, "validate")
    panel.processEvents()
    assert panel.hint == "There is no case to train on. Set the use of a case to “train”."
    panel.widget.exit()
    panel.widget.enter()
    assert [panel.ui.caseTable.cellWidget(row, USE).currentData for row in range(2)] == ["ignore", "validate"]
    choose(panel.ui.caseTable, 0, "train")
    panel.processEvents()
    assert panel.ui.startButton.enabled
    panel.ui.caseTable.selectRow(1)
    panel.ui.removeCaseButton.click()
    assert panel.column(panel.ui.caseTable, 0) == ["a"]


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


def typeEmptySlices(panel, text):
    panel.ui.emptySlicesEdit.text = text
    panel.ui.emptySlicesEdit.editingFinished.emit()


def test_annotated_slices_are_as_the_user_says(panel):
    addCase("a")
    panel.addScene()
    assert panel.ui.emptySlicesEditLabel.text == "Empty axial slices:"
    typeEmptySlices(panel, "1, 8")
    assert panel.column(panel.ui.caseTable, ANNOTATED) == ["5 of 8"]
    for wrong, words in (("1-99", "not within the slices 1 to 8"), ("1, x", "“x” is no number")):
        typeEmptySlices(panel, wrong)
        assert words in panel.status and panel.ui.emptySlicesEdit.text == wrong  # to be corrected, not typed again
        assert panel.column(panel.ui.caseTable, ANNOTATED) == ["5 of 8"]
    typeEmptySlices(panel, "5 - 6;8")
    assert panel.ui.emptySlicesEdit.text == "5-6, 8" and panel.column(panel.ui.caseTable, ANNOTATED) == ["6 of 8"]
    typeEmptySlices(panel, "")
    panel.ui.annotatedComboBox.setCurrentIndex(1)
    panel.ui.annotatedComboBox.activated.emit(1)
    assert panel.column(panel.ui.caseTable, ANNOTATED) == ["all 8"]


def test_the_chosen_case_is_filled_in_the_segment_editor(panel, tmp_path):
    assert not panel.ui.fillButton.enabled
    nodes = addCase("a")
    panel.addScene()
    assert panel.ui.fillButton.enabled
    panel.ui.fillButton.click()
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    assert slicer.util.selectedModule() == "SegmentEditor"
    assert editor.activeEffect().name == "Fill from drawn slices"
    assert (editor.sourceVolumeNode(), editor.segmentationNode()) == nodes
    slicer.util.selectModule("SAM2AdaptTraining")


def test_the_slice_shown_is_declared_empty_by_a_button(panel):
    addCase("a")
    panel.addScene()
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()

    def show(index):
        red.JumpSliceByOffsetting(0, 0, 5.0 * index)  # the spacing of the slices

    show(4)
    panel.ui.emptySliceButton.click()
    assert panel.ui.emptySlicesEdit.text == "5" and panel.column(panel.ui.caseTable, ANNOTATED) == ["4 of 8"]
    show(3)
    panel.ui.emptySliceButton.click()
    assert "A structure is drawn in axial slice 4." in panel.status and panel.ui.emptySlicesEdit.text == "5"
    show(99)
    panel.ui.emptySliceButton.click()
    assert "No slice view shows an axial slice of 'a'." in panel.status
    show(4)
    panel.ui.emptySliceButton.click()
    assert panel.ui.emptySlicesEdit.text == ""


def test_what_is_wrong_with_a_case_is_shown(panel):
    volume = slicer.util.addVolumeFromArray(np.zeros((3, 8, 8), np.int16), name="empty")
    segmentation = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    segmentation.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    panel.widget._parameterNode.exampleSegmentation = segmentation  # from another module
    panel.processEvents()
    assert "'nothing' has no segment" in panel.ui.caseHintLabel.text
    assert not panel.ui.caseTable.item(0, 4).icon().isNull()
    assert not panel.ui.startButton.enabled
    slicer.mrmlScene.RemoveNode(segmentation)
    panel.processEvents()
    assert panel.ui.caseTable.rowCount == 0


@pytest.fixture
def folder(tmp_path, scene):
    """Images and labels of two cases, as nnU-Net wants them."""
    for number in range(2):
        volume, segmentation = addCase(f"case{number}", ("liver",))
        labels = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode")
        slicer.modules.segmentations.logic().ExportAllSegmentsToLabelmapNode(segmentation, labels, 0)
        for name, node in (("imagesTr", volume), ("labelsTr", labels)):
            (tmp_path / name).mkdir(exist_ok=True)
            node.AddDefaultStorageNode()
            suffix = "_0000" if node is volume else ""
            node.GetStorageNode().SetFileName(str(tmp_path / name / f"case{number}{suffix}.nrrd"))
            assert node.GetStorageNode().WriteData(node)
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "liver": 1}}')
    slicer.mrmlScene.Clear(0)
    return tmp_path


def test_folder_is_added_by_the_button(panel, folder, dialogs, answers):
    panel.widget.enter()
    answers.append(lambda dialog: str(folder))
    panel.ui.addFolderButton.click()
    assert panel.column(panel.ui.caseTable, 0) == ["case0", "case1"]
    assert panel.column(panel.ui.classTable, 0) == ["liver"]
    assert panel.ui.startButton.enabled, panel.status
    choose(panel.ui.caseTable, 1, "validate")
    panel.processEvents()
    panel.ui.caseTable.selectRow(0)
    panel.ui.removeCaseButton.click()
    panel.widget.exit()
    panel.widget.enter()
    assert panel.column(panel.ui.caseTable, 0) == ["case1"]
    assert panel.ui.caseTable.cellWidget(0, USE).currentData == "validate"
    panel.widget._inputs.addFolder(str(folder))
    assert panel.ui.caseTable.rowCount == 2
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    answers[:] = [lambda dialog: str(folder / "imagesTr")]
    dialogs.clear()
    panel.ui.addFolderButton.click()
    assert "No file in" in dialogs[-1]["text"]


def test_channel_of_a_folder_is_said_and_chosen(panel, folder, dialogs, answers):
    """The control appears where a folder has several channels, and the remedy names it where one lacks the chosen."""
    for path in list((folder / "imagesTr").iterdir()):
        (folder / "imagesTr" / path.name.replace("_0000", "_0001")).write_bytes(path.read_bytes())
    panel.widget._inputs.addFolder(str(folder))
    panel.processEvents()
    assert not panel.ui.channelWidget.isHidden() and panel.ui.channelSpinBox.value == 0
    assert "Channel 1 (_0001) of 2 cases is left out" in panel.ui.caseHintLabel.text
    panel.ui.channelSpinBox.setValue(1)
    panel.processEvents()
    assert [case.image.name for case in panel.widget._inputs.cases] == ["case0_0001.nrrd", "case1_0001.nrrd"]
    panel.ui.channelSpinBox.setValue(2)
    panel.processEvents()
    assert panel.ui.caseTable.rowCount == 0 and not panel.ui.channelWidget.isHidden()
    assert "there are channels 0, 1" in panel.hint and not panel.ui.startButton.enabled
    dialogs.clear()
    panel.widget._inputs.addFolder(str(folder))
    assert "(“Channel”)" in dialogs[-1]["informativeText"]
    panel.ui.channelSpinBox.setValue(0)
    panel.processEvents()
    assert panel.ui.caseTable.rowCount == 2


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


def test_auto_segment_hands_its_result_over(panel):
    _volume, segmentation = addCase("a")
    panel.widget.logic.getParameterNode().exampleSegmentation = segmentation
    panel.widget.exit()
    panel.widget.enter()
    assert panel.column(panel.ui.caseTable, 0) == ["a"]
    panel.ui.caseTable.selectRow(0)
    panel.ui.removeCaseButton.click()
    assert panel.ui.caseTable.rowCount == 0


def drop(panel, *urls):
    """Drop URLs onto the section of the cases; returns whether it takes them."""
    mimeData = qt.QMimeData()
    mimeData.setUrls([qt.QUrl(url) for url in urls])
    place = (qt.Qt.CopyAction, mimeData, qt.Qt.LeftButton, qt.Qt.NoModifier)
    section, entering = panel.ui.casesCollapsibleButton, qt.QDragEnterEvent(qt.QPoint(5, 5), *place)
    entering.ignore()
    qt.QCoreApplication.sendEvent(section, entering)
    qt.QCoreApplication.sendEvent(section, qt.QDropEvent(qt.QPointF(5, 5), *place))
    panel.look()
    return entering.isAccepted()


def test_folder_is_dropped(panel, folder):
    panel.widget.enter()
    assert drop(panel, folder.as_uri())
    assert panel.column(panel.ui.caseTable, 0) == ["case0", "case1"]


def test_files_are_left_to_slicer(panel, folder):
    panel.widget.enter()
    assert not drop(panel, (folder / "imagesTr" / "case0_0000.nrrd").as_uri(), "https://localhost/x")
    assert panel.ui.caseTable.rowCount == 0


def test_nodes_are_dropped(panel):
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateFolderItem(hierarchy.GetSceneItemID(), "patient")
    pairs = {name: addCase(name, seed=seed) for seed, name in enumerate("abc")}
    items = {
        name: [hierarchy.CreateItem(patient if name == "c" else hierarchy.GetSceneItemID(), node) for node in pair]
        for name, pair in pairs.items()
    }
    url = "mrml://scene/subjecthierarchy/item?id={}".format
    assert drop(panel, url(items["b"][0]), url(items["b"][1]))
    assert panel.column(panel.ui.caseTable, 0) == ["b"]
    assert drop(panel, url(items["a"][1]))
    assert drop(panel, url(patient))
    assert sorted(panel.column(panel.ui.caseTable, 0)) == ["a", "b", "c"]
    assert drop(panel, url(patient))
    assert "that is not in the table" in panel.status


def test_fits_into_a_narrow_panel_whatever_the_names_are(panel, screenshot, tmp_path):
    addCase("a very long name of a volume " * 3, ("a structure with a very long name " * 2,))
    panel.addScene()
    screenshot(panel.widget.parent, tmp_path / "panel.png", width=330, expand=True)
    assert panel.widget.parent.width <= 330


def test_empty_segmentations_are_not_added_and_named(panel):
    from SAM2AdaptLib.Scene import NewNodes

    volume, _segmentation = addCase("a")
    hollow = NewNodes.createSegmentationNode(addCase("b")[0])
    hollow.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    hollow.GetSegmentation().AddEmptySegment("", "box")
    hollow.SetName("hollow")
    panel.addScene()
    assert panel.column(panel.ui.caseTable, VOLUME) == ["a", "b"]
    assert panel.status == "Not added, because nothing is drawn: hollow."
    assert panel.ui.startButton.enabled, panel.hint


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


def addLabelMaps(folder, count):
    """A folder of images and label maps that nothing explains."""
    from SAM2AdaptLib.Training import CaseFiles

    volume = slicer.util.addVolumeFromArray(np.arange(8 * 8 * 4, dtype=np.int16).reshape(4, 8, 8))
    for name in (CaseFiles.IMAGES, CaseFiles.LABELS):
        (folder / name).mkdir(parents=True)
    labels = (slicer.util.arrayFromVolume(volume) > 100).astype(np.uint8)
    CaseFiles.writeVolumeNode(volume, folder / "image.nrrd")
    CaseFiles.writeLabels(labels, volume, folder / "labels.nrrd")
    for number in range(count):
        for name, source in ((CaseFiles.IMAGES, "image"), (CaseFiles.LABELS, "labels")):
            (folder / name / f"case_{number:03}.nrrd").hardlink_to(folder / f"{source}.nrrd")


def test_values_of_plain_label_maps_are_named_in_the_panel(panel, tmp_path):
    addLabelMaps(tmp_path, 2)
    panel.widget._inputs.addFolder(str(tmp_path))
    assert "Nothing says what the label values" in panel.hint and not panel.ui.labelNamesWidget.isHidden()
    panel.ui.labelNamesEdit.text = "liver"
    panel.processEvents()
    assert panel.hint == "“liver” does not name a label value from 1 to 255. Write the names like 1=liver, 2=spleen."
    panel.ui.labelNamesEdit.text = "1=liver, 2 = left kidney"
    panel.processEvents()
    assert panel.column(panel.ui.classTable, 0) == ["liver", "left kidney"]
    assert panel.ui.startButton.enabled, panel.hint


def test_a_folder_of_many_cases_is_shown_a_few_rows_at_a_time(panel, tmp_path, monkeypatch):
    from SAM2AdaptLib.Panels.Training import CaseTable

    addLabelMaps(tmp_path, 45)
    panel.widget._inputs.addFolder(str(tmp_path))
    table = panel.ui.caseTable
    assert table.rowCount == 45 and table.cellWidget(0, USE) and not table.cellWidget(44, USE)
    panel.processEvents(until=lambda: table.cellWidget(44, USE))
    written = []
    monkeypatch.setattr(CaseTable.CaseTable, "_showCase", lambda table, row, content: written.append(row))
    panel.widget.update()
    assert written == []  # nothing has changed
