"""Folders of cases in the panel of training, and what is dropped onto it."""

import numpy as np
import pytest
import qt
import slicer
from training_testing import USE, addCase, choose

pytest_plugins = ["training_testing"]


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
