"""The worklist, clicked as an annotator does all day, with engines that do what the test says."""

import json
import os
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import qt
import slicer
from panel_testing import DEADLINE

pytest_plugins = ["training_testing"]
LABELS = np.zeros((6, 24, 24), np.uint8)
LABELS[1:5, 4:12, 4:12], LABELS[1:5, 4:12, 13:20] = 1, 2
LUNGS = [{"id": 1, "name": "right lung"}, {"id": 2, "name": "left lung"}]


@pytest.fixture
def images(tmp_path):
    """Six images that nobody may write to, in a folder that nobody may write to."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(6):
        voxels = np.random.default_rng(number).integers(-1000, 900, LABELS.shape).astype(np.int16)
        node = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag([-8.0, -8.0, 5.0, 1.0]), name="v")
        storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetFileName(str(folder / f"case{number}.nrrd"))
        assert storage.WriteData(node)
        slicer.mrmlScene.RemoveNode(node)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    folder.chmod(0o500)
    yield folder
    folder.chmod(0o700)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before


class Day:
    """The section, and what an annotator does there."""

    def __init__(self, panel, engines, folder, images):
        self.panel, self.engines, self.folder, self.images = panel, engines, folder, images
        self.section = panel.widget._worklist
        self.ui = self.section.ui

    def open(self, model="torso-ct@1.0.0"):
        self.ui.imagesEdit.currentPath, self.ui.folderEdit.currentPath = str(self.images), str(self.folder)
        self.ui.modelComboBox.setCurrentIndex(max(0, self.ui.modelComboBox.findData(model)))
        self.ui.openButton.click()

    @property
    def worklist(self):
        return self.section.worklist

    def states(self):
        """What is on the disk: the state of each case by its name."""
        content = json.loads((self.folder / "worklist.json").read_text("utf-8"))
        return {case["id"]: case["state"] for case in content["cases"]}

    def look(self):
        """Let the loop do what is due."""
        self.section._work()
        self.panel.processEvents()

    def answer(self, **result):
        request = self.engines.models.last
        self.engines.models.requests.remove(request)
        request.sendResult(result)
        self.panel.processEvents()
        return request

    def rank(self, scores):
        """Answer the questions how unsure the model is, in the order of the cases."""
        for score in scores:
            self.look()
            parts = {"uncertainty": score, "disagreement": score, "score": score, "found": True, "slices": []}
            assert self.answer(name="x", **parts).method == "rank"

    def segment(self):
        from SAM2AdaptLib.Engine.Client import cancelledError

        self.panel.processEvents()
        self.ui.segmentButton.click()
        request = self.engines.models.last
        for other in [other for other in self.engines.models.requests if other.method == "rank"]:
            self.engines.models.requests.remove(other)
            other.sendError(cancelledError())  # as the engine client lets it give way
        assert request.method == "segment"
        self.engines.models.requests.remove(request)
        np.save(request.params["labels"], LABELS)
        structures = [{**one, "voxels": 256, "ml": 1.0} for one in LUNGS]
        request.sendResult(
            {"structures": structures, "warnings": [], "slices": 6, "model": {"name": "torso-ct", "version": "1.0.0"}}
        )
        self.panel.processEvents()
        return request

    def correct(self, *accuracies):
        """One case from its opening to *Done*, and the measurements after that, one for each model."""
        self.ui.nextButton.click()
        self.segment()
        slicer.util.selectModule("SAM2AdaptTraining")
        self.ui.doneButton.click()
        for value in accuracies:
            assert self.answer(dice={"mean": value}).method == "measureCase"
            self.look()


@pytest.fixture
def day(panel, scripted, images, tmp_path, monkeypatch):
    logics = slicer.modules.volumes.logic(), slicer.modules.segmentations.logic()
    monkeypatch.setattr(slicer.util, "loadVolume", lambda p: logics[0].AddArchetypeVolume(p, Path(p).stem, 0))
    monkeypatch.setattr(slicer.util, "loadSegmentation", logics[1].LoadSegmentationFromFile)
    day = Day(panel, scripted, tmp_path / "work", images)
    day.section._timer.setInterval(10**6)  # the tests say when it looks what is due
    yield day
    day.section.leave()
    qt.QSettings().remove("SAM2Adapt/Worklist")
    slicer.util.selectModule("SAM2AdaptTraining")


def test_the_least_sure_case_is_next_and_a_case_goes_from_opening_to_done(day):
    day.open()
    assert day.ui.caseTree.topLevelItemCount == 6 and day.ui.nextButton.enabled and not day.ui.doneButton.enabled
    day.rank([0.1, 0.2, 0.9])
    day.ui.nextButton.click()
    volume = slicer.util.getNode("case2")
    assert day.states()["case2"] == "open" and day.ui.caseTree.topLevelItem(2).text(1) == "open"
    assert day.ui.doneButton.enabled
    day.ui.doneButton.click()
    assert "no segmentation of 'case2'" in day.ui.statusLabel.text and day.states()["case2"] == "open"
    request = day.segment()
    assert request.params["model"].endswith("torso-ct.safetensors")
    assert slicer.util.selectedModule() == "SegmentEditor"
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    assert editor.sourceVolumeNode() is volume and editor.segmentationNode().GetName() == "case2 segmentation"
    slicer.util.selectModule("SAM2AdaptTraining")
    day.ui.doneButton.click()
    assert day.states()["case2"] == "done" and (day.folder / "corrections" / "case2.seg.nrrd").is_file()
    assert day.ui.statusLabel.text == "Kept. 5 cases are left."
    measured = day.answer(dice={"mean": 0.8, "right lung": 0.8})
    assert measured.params["model"] == "torso-ct@1.0.0" and measured.params["image"].endswith("case2.nrrd")
    assert "torso-ct@1.0.0: 0.80" in day.ui.caseTree.topLevelItem(2).toolTip(0)
    day.ui.nextButton.click()  # the case that is kept leaves the scene, so that the memory holds
    assert slicer.mrmlScene.GetFirstNodeByName("case2") is None
    assert slicer.mrmlScene.GetFirstNodeByName("case1") is not None


def test_a_model_may_be_chosen_until_a_case_is_done(day):
    day.open(model="")
    day.ui.nextButton.click()
    assert not day.ui.segmentButton.enabled
    choice = day.ui.modelComboBox
    choice.setCurrentIndex(choice.findData("torso-ct@1.0.0"))
    choice.activated.emit(choice.currentIndex)
    assert day.worklist.model == "torso-ct@1.0.0" and day.ui.segmentButton.enabled and choice.enabled
    assert "torso-ct@1.0.0 segments the next case." in day.ui.modelsLabel.text
    day.segment()
    day.ui.doneButton.click()
    assert not choice.enabled
    choice.setCurrentIndex(0)
    day.ui.openButton.click()
    assert choice.currentData == day.worklist.model == "torso-ct@1.0.0"  # what the worklist uses, not what was shown


def test_the_end_of_the_list_is_said_in_plain_words(day):
    day.open()
    for entry in day.worklist.entries[:4]:
        entry.state = "learnt"
    day.correct(0.8)
    assert day.ui.statusLabel.text == "Kept. One case is left."
    day.correct(0.8)
    assert day.ui.statusLabel.text == "All cases are done."
    assert day.ui.modelsLabel.text.startswith("6 of 6 cases done") and "next case" not in day.ui.modelsLabel.text


def test_everything_survives_a_restart_and_a_second_slicer_is_refused(day):
    day.open()
    day.rank([0.1, 0.9])
    day.correct(0.7)
    states, other = day.states(), None
    from SAM2AdaptLib.Worklist.Worklist import Worklist

    with pytest.raises(Exception, match="used by another Slicer"):
        other = Worklist(day.folder)
    assert other is None
    day.section.leave()
    slicer.mrmlScene.Clear(0)
    day.ui.imagesEdit.currentPath = ""
    day.ui.openButton.click()
    assert day.states() == states and day.ui.imagesEdit.currentPath == str(day.images)
    assert day.worklist.entries[1].accuracy == {"torso-ct@1.0.0": 0.7} and day.worklist.entries[0].score == 0.1
    item = day.ui.caseTree.topLevelItem(1)
    day.ui.caseTree.itemDoubleClicked.emit(item, 0)
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 1  # the correction is loaded again
    node = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
    assert node.GetName() == "case1 segmentation"
    assert day.states()["case1"] == "done"  # to look at a case takes nothing back
    day.ui.nextButton.click()
    assert node.GetScene() is None and day.states()["case1"] == "done"  # what is kept on the disk need not stay loaded
    day.ui.caseTree.itemDoubleClicked.emit(item, 0)
    node = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")[0]
    node.GetSegmentation().GetNthSegment(0).SetName("corrected")
    day.ui.nextButton.click()
    assert node.GetScene() is slicer.mrmlScene  # it is not kept yet


def test_new_corrections_train_a_model_and_the_better_one_on_what_neither_had_learnt_is_kept(day):
    day.open()
    day.ui.afterSpinBox.value = 2
    day.correct(0.70)
    assert not day.section._loop.isTraining()
    day.correct(0.80)
    trained(day, "own-1")
    assert sorted(day.states().values()) == ["learnt", "learnt", "new", "new", "new", "new"]
    assert (day.worklist.model, day.worklist.newer) == ("torso-ct@1.0.0", "own-1@1")
    assert "own-1@1 and torso-ct@1.0.0 take turns, and are compared on each correction" in day.ui.modelsLabel.text
    assert day.worklist.inUse() == "own-1@1"
    installModel("own-1")
    day.correct(0.75, 0.85)
    day.correct(0.75, 0.65)
    (comparison,) = day.worklist.comparisons
    assert (comparison.formerAccuracy, comparison.newerAccuracy, comparison.count) == (0.75, 0.75, 2)
    assert comparison.kept == day.worklist.model == "own-1@1"  # the newer one has learnt more
    assert "on 2 corrections that neither had learnt: own-1@1 0.75, torso-ct@1.0.0 0.75. Kept: own-1@1." in (
        day.ui.modelsLabel.text
    )
    request = trained(day, "own-2")
    assert request.params["init"] == "own-1@1" and "preset" not in request.params
    installModel("own-2")
    day.correct(0.9, 0.6)
    assert day.worklist.inUse() == "own-1@1"  # they take turns, because who begins a correction is favoured by it
    assert [entry.startedBy for entry in day.worklist.inState("done")] == ["own-2@1"]
    day.correct(0.9, 0.6)
    assert day.worklist.comparisons[-1].kept == "own-1@1"
    day.worklist.newer = "own-2@1"
    day.section.update()
    assert "take turns" not in day.ui.modelsLabel.text  # no case is left to begin


def trained(day, name):
    """Let the training that is due end with a model; gives its request."""
    day.look()
    day.panel.processEvents(DEADLINE, until=lambda: day.engines.training.requests)
    request = day.engines.training.last
    day.engines.training.requests.clear()
    assert request.method == "train" and day.ui.trainButton.text == "Cancel"
    labels = [path.name for path in Path(request.params["labels"]).iterdir()]
    areComplete = all(entry.isComplete for entry in day.worklist.inState("done", "learnt"))
    assert any(name.endswith(".seg.nrrd") for name in labels) is areComplete  # linked, not converted
    request.sendResult({"bundle": "/runs/model.safetensors", "dice": {"mean": 0.9}, "cases": [], "former": None})
    assert day.answer(name=name, version="1").method == "addModel"
    return request


def installModel(name):
    """A model of this name among the user's."""
    from auto_segment_testing import writeModel

    folder = Path(os.environ["SAM2ADAPT_HOME"]) / "models"
    folder.mkdir(exist_ok=True)
    writeModel(folder / f"{name}.safetensors", name=name, version="1")


def test_without_a_model_the_first_cases_are_drawn(day):
    day.open(model="")
    assert day.worklist.inUse() == "" and day.worklist.toRank() == []
    day.ui.nextButton.click()
    assert not day.ui.segmentButton.enabled and day.ui.fillButton.enabled
    day.ui.fillButton.click()
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    assert editor.activeEffect().name == "Fill from drawn slices"
    node = editor.segmentationNode()
    segment = node.GetSegmentation().AddEmptySegment("", "lung")
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        (LABELS == 1).astype(np.uint8), node, segment, editor.sourceVolumeNode()
    )
    slicer.util.selectModule("SAM2AdaptTraining")
    day.ui.doneButton.click()
    assert day.worklist.entries[0].isComplete is False  # a drawing says nothing of slices without one
    day.ui.trainButton.click()
    request = trained(day, "first")
    assert request.params.get("init") is None and request.params["preset"] == "nano"
    assert (day.worklist.model, day.worklist.newer) == ("first@1", "")


def test_what_cannot_be_is_said_and_nothing_is_lost(day, tmp_path, dialogs):
    day.folder = day.images / "work"
    day.open()
    assert "lies in the folder of the images" in day.ui.statusLabel.text and day.worklist is None
    day.folder = tmp_path / "other"
    day.open()
    day.folder.joinpath("worklist.json").read_text("utf-8")
    (day.images).chmod(0o700)
    moved = (day.images / "case0.nrrd").rename(tmp_path / "case0.nrrd")
    day.ui.nextButton.click()
    assert "case0.nrrd' is not there" in day.ui.statusLabel.text and day.states()["case0"] == "new"
    moved.rename(day.images / "case0.nrrd")
    day.ui.nextButton.click()
    day.segment()
    slicer.util.selectModule("SAM2AdaptTraining")
    slicer.mrmlScene.Clear(0)
    assert not day.ui.doneButton.enabled and day.states()["case0"] == "open"
    day.ui.trainButton.click()
    day.panel.processEvents()
    assert not day.section._loop.isTraining()


def test_a_training_that_fails_leaves_the_corrections_and_is_not_begun_again_at_once(day, dialogs):
    from training_testing import engineError

    day.open()
    day.ui.afterSpinBox.value = 1
    day.correct(0.7)
    day.look()
    day.panel.processEvents(DEADLINE, until=lambda: day.engines.training.requests)
    day.engines.training.last.sendError(engineError())
    day.look()
    assert len(dialogs) == 1 and day.states()["case0"] == "done" and "cannot be written" in day.ui.statusLabel.text
    assert len(day.engines.training.requests) == 1 and day.ui.trainButton.text == "Train now"


def test_a_run_that_fails_and_an_editor_that_does_not_open_leave_the_buttons_usable(day, dialogs, monkeypatch):
    from SAM2AdaptLib.Engine.Error import EngineError
    from SAM2AdaptLib.Panels import Editor

    def show(*nodes):
        raise RuntimeError("no editor")

    day.open()
    day.ui.nextButton.click()
    day.ui.segmentButton.click()
    day.engines.models.requests.pop().sendError(EngineError("VolumeError", "It has no voxels."))
    assert day.ui.statusLabel.text == "It has no voxels." and day.ui.segmentButton.text == "Auto-segment"
    monkeypatch.setattr(Editor, "show", show)
    with pytest.raises(RuntimeError, match="no editor"):
        day.segment()
    assert day.ui.segmentButton.text == "Auto-segment" and day.ui.doneButton.enabled


def test_a_lost_connection_says_nothing_of_a_case_and_the_engine_is_asked_again_later(day, monkeypatch):
    from SAM2AdaptLib.Engine.Error import EngineError
    from SAM2AdaptLib.Worklist import Loop

    day.open()
    entry = day.worklist.entries[0]
    day.look()
    day.engines.models.requests.pop().sendError(EngineError("RemoteError", "The connection was lost."))
    day.look()
    assert not day.engines.models.requests and entry.scoredBy == ""  # not again at once
    later = SimpleNamespace(monotonic=lambda: time.monotonic() + 61)
    monkeypatch.setattr(Loop, "time", later)
    day.look()
    assert day.engines.models.last.method == "rank"


def test_a_training_that_cannot_note_its_begin_is_said_and_not_begun(day, dialogs, monkeypatch):
    from sam2adapt.shared.errors import OutputError

    def save():
        raise OutputError("The disk is full.", "Free some space.")

    day.open()
    day.ui.afterSpinBox.value = 5
    day.correct(0.7)
    monkeypatch.setattr(day.worklist, "save", save)
    day.ui.trainButton.click()
    assert day.ui.statusLabel.text == "The disk is full. Free some space." and len(dialogs) == 1
    assert not day.section._loop.isTraining()
