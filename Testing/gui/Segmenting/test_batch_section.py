"""Batches by clicks: a folder with a broken file, volumes of the scene, stopping and going on, the table."""

import csv
import shutil

import numpy as np
import pytest
import qt
import slicer
from auto_segment_testing import CHEST, isAlive, segmentationCount, segmentNames, writeModel

TORSO = "torso-ct@1.0.0"

pytest_plugins = ["auto_segment_testing"]
LUNGS = ["right lung (mL)", "left lung (mL)"]


class BatchPanel:
    """The section with what a user does and sees."""

    def __init__(self, panel):
        self.panel, self.ui = panel, panel.ui
        self.section = panel.widget._batch
        self.ui.batchCollapsibleButton.collapsed = False

    @property
    def status(self):
        return self.ui.batchStatusLabel.text

    def isRunning(self):
        return self.ui.batchButton.text != "Segment all"

    def click(self):
        self.ui.batchButton.click()

    def waitFor(self, condition):
        self.panel.waitFor(condition)

    def run(self):
        assert self.ui.batchButton.enabled, self.status
        self.click()
        self.waitFor(lambda: not self.isRunning())

    def chooseFolder(self, source, output):
        self.ui.batchSourceComboBox.setCurrentIndex(1)
        self.ui.batchInputEdit.currentPath = str(source)
        self.ui.batchOutputEdit.currentPath = str(output)

    def table(self):
        table = self.ui.batchTable
        titles = [table.horizontalHeaderItem(column).text() for column in range(table.columnCount)]
        return [
            {title: table.item(row, column).text() for column, title in enumerate(titles)}
            for row in range(table.rowCount)
        ]


@pytest.fixture
def batch(panel):
    panel.widget._parameterNode.model = TORSO  # without a volume, any model may be proposed
    yield BatchPanel(panel)
    panel.widget._batch.cancel()
    panel.ui.batchSourceComboBox.setCurrentIndex(0)
    panel.ui.batchInputEdit.currentPath = panel.ui.batchOutputEdit.currentPath = ""
    panel.ui.batchStatusLabel.text = ""
    panel.widget._batch._results.begin("", "")


@pytest.fixture(scope="session")
def someSlices(slicerHost, tmp_path_factory):
    """A file with six slices of the chest CT."""
    import SimpleITK as sitk

    path = tmp_path_factory.mktemp("chest") / "chest.nrrd"
    sitk.WriteImage(sitk.ReadImage(str(CHEST))[:, :, 12:18], str(path))
    return path


@pytest.fixture
def chest(panel, someSlices):
    """The panel with these slices as a volume, which it selects by itself."""
    node = slicer.modules.volumes.logic().AddArchetypeVolume(str(someSlices), "chest", 0)
    panel.processEvents()
    return node


@pytest.fixture
def folder(someSlices, tmp_path):
    """Two such files and one that is cut off, in two folders."""
    source = tmp_path / "Bilder ü"
    for name in ("a/chest.nrrd", "b/chest.nrrd"):
        (source / name).parent.mkdir(parents=True)
        shutil.copy(someSlices, source / name)
    whole = someSlices.read_bytes()
    (source / "b" / "broken.nrrd").write_bytes(whole[: len(whole) // 2])
    return source


def addStudies(folder, count):
    for number in range(count):
        shutil.copy(folder / "a" / "chest.nrrd", folder / "b" / f"more{number}.nrrd")


def sceneState():
    """IDs and modification times of all nodes."""
    nodes = [slicer.mrmlScene.GetNthNode(n) for n in range(slicer.mrmlScene.GetNumberOfNodes())]
    return {node.GetID(): node.GetMTime() for node in nodes if not node.IsA("vtkMRMLScriptedModuleNode")}


def times(output):
    return {path: path.stat().st_mtime_ns for path in output.rglob("*.seg.nrrd")}


def test_what_is_missing_is_said(batch, tmp_path):
    assert not batch.ui.batchButton.enabled
    assert batch.ui.batchHintLabel.text == "Check at least one volume." == batch.ui.batchButton.toolTip
    batch.ui.batchSourceComboBox.setCurrentIndex(1)
    assert batch.ui.batchHintLabel.text == "Choose the folder to segment."
    batch.ui.batchInputEdit.currentPath = str(tmp_path)
    assert batch.ui.batchHintLabel.text == "Choose a folder for the results."
    batch.ui.batchOutputEdit.currentPath = str(tmp_path / "out")
    assert batch.ui.batchHintLabel.text == ""
    assert batch.ui.batchButton.enabled
    assert batch.ui.batchTable.isHidden()
    assert batch.ui.batchOpenButton.isHidden()


def test_folder_with_a_broken_file(batch, chest, folder, tmp_path, dialogs):
    output = tmp_path / "out"
    before = sceneState()
    batch.chooseFolder(folder, output)
    batch.run()
    assert batch.status == "2 of 3 studies are segmented, 1 failed."
    assert dialogs == []
    assert sceneState() == before
    rows = {row["Study"]: row for row in batch.table()}
    assert {name: row["Status"] for name, row in rows.items()} == {
        "a/chest.nrrd": "segmented", "b/broken.nrrd": "failed", "b/chest.nrrd": "segmented",
    }  # fmt: skip
    assert "is truncated or damaged" in rows["b/broken.nrrd"]["Message"]
    assert all(100 < float(rows["a/chest.nrrd"][lung]) < 2000 for lung in LUNGS)
    assert all(float(row["Seconds"]) >= 0 for row in rows.values())
    assert (output / "manifest.csv").exists()
    batch.ui.batchOpenButton.click()
    assert dialogs[0]["text"].endswith("/out")
    assert not batch.section._control.job._engine.isRunning()


def test_table_is_saved(batch, folder, tmp_path, dialogs, answers):
    batch.chooseFolder(folder, tmp_path / "out")
    batch.run()
    file = tmp_path / "Tabelle ü.csv"
    answers.append(lambda dialog: str(file))
    batch.ui.batchSaveButton.click()
    assert file.read_bytes() == (tmp_path / "out" / "manifest.csv").read_bytes()
    with file.open(encoding="utf-8-sig", newline="") as stream:
        assert [row["status"] for row in csv.DictReader(stream)] == ["done", "failed", "done"]
    answers[:] = [lambda dialog: ""]  # Escape
    batch.ui.batchSaveButton.click()
    answers[:] = [lambda dialog: str(tmp_path / "absent" / "x.csv")]
    batch.ui.batchSaveButton.click()
    assert "cannot be written" in dialogs[-1]["text"]


def test_finished_study_is_loaded_by_a_double_click(batch, folder, tmp_path):
    batch.chooseFolder(folder, tmp_path / "out")
    batch.run()
    batch.ui.batchTable.cellDoubleClicked.emit(1, 0)  # the broken one: nothing to see
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 0
    batch.ui.batchTable.cellDoubleClicked.emit(2, 0)
    volume, segmentation = batch.ui.inputSelector.currentNode(), batch.ui.outputSelector.currentNode()
    assert volume.GetName() == "chest.nrrd"
    assert segmentNames(segmentation) == ["right lung", "left lung"]
    assert segmentation.GetNodeReference(segmentation.GetReferenceImageGeometryReferenceRole()) is volume
    assert batch.ui.resultsTable.rowCount == 2
    batch.ui.batchTable.cellDoubleClicked.emit(2, 0)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1
    slicer.mrmlScene.Clear(0)
    assert len(batch.table()) == 3
    batch.ui.batchTable.cellDoubleClicked.emit(0, 0)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLScalarVolumeNode") == 1


def test_stopped_batch_goes_on(batch, folder, tmp_path):
    output = tmp_path / "out"
    addStudies(folder, 4)
    batch.chooseFolder(folder, output)
    batch.click()
    assert batch.ui.batchButton.text == "Cancel"
    assert not batch.ui.batchOutputEdit.enabled
    batch.waitFor(lambda: times(output) or not batch.isRunning())
    assert "Study" in batch.status
    batch.click()
    assert batch.ui.batchButton.text == "Stop at once"
    batch.waitFor(lambda: not batch.isRunning())
    assert "what is done stays" in batch.status
    assert "are left" in batch.status
    assert "not done yet" in [row["Status"] for row in batch.table()]
    kept = times(output)
    batch.run()
    assert batch.status == "6 of 7 studies are segmented, 1 failed."
    assert kept.items() <= times(output).items()


def test_second_click_ends_the_engine_at_once(batch, folder, tmp_path):
    batch.chooseFolder(folder, tmp_path / "out")
    batch.click()
    batch.waitFor(lambda: "Study" in batch.status)
    process = batch.section._control.job._engine.processId()
    batch.click()
    batch.click()
    assert not batch.isRunning()
    assert not isAlive(process)
    assert "what is done stays" in batch.status
    batch.run()
    assert batch.status == "2 of 3 studies are segmented, 1 failed."


def test_volumes_of_the_scene(batch, chest, dialogs):
    holes = slicer.util.arrayFromVolume(chest).astype(np.float32)
    holes[0, 0, 0] = np.nan
    slicer.util.addVolumeFromArray(holes, name="holes")
    left = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(chest).copy(), name="left out")
    mine = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
    mine.SetReferenceImageGeometryParameterFromVolumeNode(chest)
    mine.GetSegmentation().AddEmptySegment("", "tumour")
    batch.panel.processEvents()
    names = [batch.ui.batchVolumeList.item(row).text() for row in range(3)]
    assert names == ["chest", "holes", "left out"]
    batch.ui.batchVolumeList.item(2).setCheckState(qt.Qt.Unchecked)
    batch.run()
    assert batch.status == "1 of 2 studies are segmented, 1 failed."
    assert [(row["Study"], row["Status"]) for row in batch.table()] == [("chest", "segmented"), ("holes", "failed")]
    assert "NaN" in batch.table()[1]["Message"]
    assert segmentNames(mine) == ["tumour"]  # it belongs to the user
    assert segmentationCount() == 2
    assert batch.ui.batchOpenButton.isHidden()
    assert dialogs == []
    batch.ui.batchTable.cellDoubleClicked.emit(0, 0)
    assert segmentNames(batch.ui.outputSelector.currentNode()) == ["right lung", "left lung"]
    batch.ui.undoButton.click()
    assert segmentationCount() == 1 and segmentNames(mine) == ["tumour"]
    assert left.GetNodeReferenceID("any") is None


@pytest.mark.parametrize("source", ["scene", "folder"])
def test_missing_weights_are_offered(
    batch, chest, folder, source, tmp_path, dialogs, answers, modelsFolder, monkeypatch
):
    writeModel(modelsFolder / "large.safetensors", name="needs-tiny", base={"id": "tiny", "sha256": "7" * 64})
    batch.panel.widget.enter()
    batch.panel.widget._parameterNode.model = "needs-tiny@1.0.0"
    if source == "folder":
        batch.chooseFolder(folder, tmp_path / "out")
    # Nobody listens there, so nothing is really downloaded.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    batch.panel.widget.logic.stopEngine()
    answers.append(lambda dialog: qt.QMessageBox.Yes)
    batch.run()
    batch.waitFor(lambda: not batch.isRunning())
    assert "156 MB" in dialogs[0]["text"] and "Apache 2.0" in dialogs[0]["informativeText"]
    assert len(dialogs) == 2 and dialogs[1]["text"] in batch.status
    assert batch.ui.batchButton.text == "Segment all"


def test_closing_the_scene_stops_a_batch_of_it_only(batch, chest, folder, tmp_path):
    other = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(chest).copy(), name="other")
    assert other
    batch.panel.processEvents()
    batch.click()
    batch.waitFor(lambda: "Study 1 of 2" in batch.status)
    slicer.mrmlScene.Clear(0)
    batch.panel.processEvents()
    assert not batch.isRunning()
    assert batch.table() == []
    assert segmentationCount() == 0
    batch.panel.widget.enter()
    batch.panel.widget._parameterNode.model = TORSO
    batch.chooseFolder(folder, tmp_path / "out")
    batch.click()
    batch.waitFor(lambda: "Study" in batch.status)
    slicer.mrmlScene.Clear(0)
    assert batch.isRunning()
    batch.waitFor(lambda: not batch.isRunning())
    assert batch.status == "2 of 3 studies are segmented, 1 failed."


def test_volume_that_is_removed_fails_alone(batch, chest):
    other = slicer.util.addVolumeFromArray(slicer.util.arrayFromVolume(chest).copy(), name="other")
    batch.panel.processEvents()
    batch.click()
    batch.waitFor(lambda: "Study 1 of 2" in batch.status)
    slicer.mrmlScene.RemoveNode(chest)
    batch.waitFor(lambda: not batch.isRunning())
    assert [row["Status"] for row in batch.table()] == ["failed", "segmented"]
    assert segmentationCount() == 1
    assert other


def test_auto_segment_does_not_wait_for_a_batch(batch, chest, folder, tmp_path):
    addStudies(folder, 12)
    batch.chooseFolder(folder, tmp_path / "out")
    batch.click()
    batch.waitFor(lambda: "Study" in batch.status)
    batch.panel.run()
    assert batch.panel.status.startswith("Found:")
    assert batch.isRunning()


def test_reload_leaves_no_process(batch, folder, tmp_path):
    batch.chooseFolder(folder, tmp_path / "out")
    batch.click()
    batch.waitFor(lambda: "Study" in batch.status)
    process = batch.section._control.job._engine.processId()
    batch.panel.widget.onReload()
    batch.panel.processEvents()
    assert not isAlive(process)


def test_console(panel, folder, tmp_path, processEvents):
    logic = slicer.util.getModuleLogic("SAM2Adapt")
    progress, before = [], sceneState()
    rows = logic.segmentFolder(folder, tmp_path / "out", model="torso-ct", onProgress=progress.append)
    assert [row["status"] for row in rows] == ["done", "failed", "done"]
    assert (progress[-1]["fraction"], progress[-1]["count"]) == (1, 3)
    assert "Study 1 of 3: a/chest" in [p["text"] for p in progress]
    told = [(row["input"], row["status"]) for p in progress for row in p["rows"]]
    assert told == [(row["input"], row["status"]) for row in rows]
    assert sceneState() == before
    with pytest.raises(Exception, match="Did you mean 'torso-ct'"):
        logic.segmentFolder(folder, tmp_path / "out", model="torso-cr")
    with pytest.raises(Exception, match="A folder is missing"):
        logic.segmentFolder("", tmp_path / "out", model="torso-ct")
    first = logic.startSegmentFolder(folder, tmp_path / "other", model="torso-ct")
    with pytest.raises(Exception, match="running already"):
        logic.startSegmentFolder(folder, tmp_path / "third", model="torso-ct")
    first.cancel()
