"""What the training panel asks and shows around a run, with an engine that does what the test says."""

from types import SimpleNamespace

import numpy as np
import pytest
import qt
import slicer
from training_testing import RESULT, addCase, engineError, weightsMissing

pytest_plugins = ["training_testing"]

EPOCH = {"stage": "training", "done": 1, "total": 9, "unit": "epoch", "fraction": 0.1, "loss": 0.5}


@pytest.fixture
def run(panel, pair, scripted):
    """A training that the engine works on; ``request`` is the one for it."""
    panel.ui.startButton.click()
    panel.waitFor(lambda: scripted.training.requests)
    scripted.training.last.sendProgress(EPOCH)
    return SimpleNamespace(panel=panel, request=scripted.training.last, engines=scripted)


@pytest.mark.parametrize("answer", ["Cancel", "Yes"])
def test_model_that_forgets_is_added_only_when_agreed(run, dialogs, answers, answer, tmp_path):
    answers.append(lambda dialog: getattr(qt.QMessageBox, answer))
    run.request.sendResult(RESULT | {"former": {"before": 0.9, "after": 0.894}})
    assert [dialog["text"] for dialog in dialogs] == [
        "The new model is worse at what it could before: accuracy 0.894 instead of 0.900."
    ]
    if answer == "Yes":
        assert run.engines.models.last.params == {"path": "/runs/model.safetensors"}
        run.engines.models.last.sendResult({"name": "boxes", "version": "1.0.0", "path": "/x"})
        assert run.panel.ui.useButton.enabled
        return
    assert run.engines.models.requests == []
    assert not run.panel.isRunning() and not run.panel.ui.useButton.enabled
    assert run.panel.column(run.panel.ui.diceTable, 2) == ["0.900", "0.900"]
    answers[:] = [lambda dialog: str(tmp_path / "kept.safetensors")]
    run.panel.ui.exportButton.click()
    assert run.engines.models.last.params["name"] == "/runs/model.safetensors"


def test_half_a_point_may_be_lost(run, dialogs):
    run.request.sendResult(RESULT | {"former": {"before": 0.9, "after": 0.896}})
    assert dialogs == []
    assert run.engines.models.last.method == "addModel"


def test_dice_before_and_after(run):
    run.request.sendResult(RESULT)
    run.engines.models.last.sendResult({"name": "boxes", "version": "1.0.0", "path": "/x"})
    table = run.panel.ui.diceTable
    assert [run.panel.column(table, column) for column in range(3)] == [
        ["mean", "box"], ["0.250", "0.250"], ["0.900", "0.900"],
    ]  # fmt: skip


def test_model_that_cannot_be_added_can_be_exported(run, dialogs):
    run.request.sendResult(RESULT)
    run.engines.models.last.sendError(engineError())
    assert [dialog["text"] for dialog in dialogs] == ["It cannot be written."]
    assert not run.panel.ui.resultsCollapsibleButton.isHidden()
    assert not run.panel.ui.useButton.enabled and run.panel.ui.exportButton.enabled


@pytest.fixture
def download(panel, pair, scripted, answers):
    """A training without the weights of its base, whose download was agreed to."""
    panel.parameters.method = ""
    panel.ui.presetComboBox.setCurrentText("Fast")
    answers.append(lambda dialog: qt.QMessageBox.Yes)
    panel.ui.startButton.click()
    panel.waitFor(lambda: scripted.training.requests)
    scripted.training.last.sendError(weightsMissing())
    assert (scripted.models.last.method, scripted.models.last.params) == ("downloadBase", {"base": "tiny"})
    return SimpleNamespace(panel=panel, request=scripted.models.last, engines=scripted)


def test_training_goes_on_after_the_download(download, dialogs):
    assert len(dialogs) == 1
    download.request.sendProgress({"fraction": 0.5, "done": 78e6, "total": 156e6})
    assert download.panel.status == "Downloading the weights: 78 of 156 MB"
    assert download.panel.isRunning() and not download.panel.ui.pauseButton.enabled
    download.request.sendResult({})
    download.panel.waitFor(lambda: len(download.engines.training.requests) == 2)
    assert download.engines.training.last.params["preset"] == "fast"
    assert download.panel.isRunning()


def test_download_that_fails_is_told_and_can_be_tried_again(download, dialogs):
    download.request.sendError(engineError("DownloadError", "There is no connection."))
    assert dialogs[-1]["text"] == "There is no connection."
    assert download.panel.status.startswith("There is no connection.")
    assert download.panel.ui.startButton.enabled


def test_download_is_cancelled(download, dialogs):
    download.panel.ui.cancelButton.click()
    assert download.request.isCancelled
    download.request.sendError(engineError("CancelledError", "The run was cancelled."))
    assert len(dialogs) == 1 and not download.panel.isRunning()
    assert len(download.engines.training.requests) == 1


def test_estimate_and_resume_offer_the_download_too(panel, pair, scripted, dialogs, answers):
    answers.append(lambda dialog: qt.QMessageBox.Yes)
    panel.ui.estimateButton.click()
    panel.waitFor(lambda: scripted.training.requests)
    scripted.training.last.sendError(weightsMissing())
    assert [dialog["text"] for dialog in dialogs] == ["The weights of 'tiny' (156 MB) are missing."]
    assert (scripted.models.last.method, scripted.models.last.params) == ("downloadBase", {"base": "tiny"})
    scripted.models.last.sendResult({})
    panel.waitFor(lambda: len(scripted.training.requests) == 2)
    assert scripted.training.last.method == "estimate"
    scripted.training.last.sendError(engineError("CancelledError", "The run was cancelled."))

    panel.ui.startButton.click()
    panel.waitFor(lambda: len(scripted.training.requests) == 3)
    scripted.training.last.sendError(engineError("EngineStopped", "The engine stopped."))
    panel.ui.resumeButton.click()
    scripted.training.last.sendError(weightsMissing())
    scripted.models.last.sendResult({})
    assert [request.method for request in scripted.training.requests[3:]] == ["train", "train"]
    assert panel.isRunning()


def test_weights_that_cannot_be_downloaded_are_not_offered(panel, pair, scripted, dialogs):
    panel.ui.startButton.click()
    panel.waitFor(lambda: scripted.training.requests)
    scripted.training.last.sendError(engineError("WeightsMissingError", "The file of 'nano' is missing."))
    assert [dialog["text"] for dialog in dialogs] == ["The file of 'nano' is missing."]
    assert scripted.models.requests == [] and not panel.isRunning()


def test_ranking_offers_what_lets_it_succeed(panel, scripted, dialogs, answers):
    addCase("with segmentation")
    volume = slicer.util.addVolumeFromArray(np.zeros((4, 8, 8), np.int16), name="without")
    panel.widget.enter()
    panel.ui.rankingCollapsibleButton.collapsed = False
    answers.append(lambda dialog: qt.QMessageBox.Yes)
    panel.ui.rankSceneButton.click()
    panel.waitFor(lambda: scripted.models.requests)
    rank = scripted.models.last
    assert rank.method == "rank" and rank.params["anyModality"] is False

    rank.sendError(weightsMissing())
    assert panel.ui.rankSceneButton.text == "Cancel" and not panel.ui.rankingProgressBar.isHidden()
    scripted.models.last.sendProgress({"fraction": 0.5, "done": 78e6, "total": 156e6})
    assert panel.ui.rankingLabel.text == "Downloading the weights: 78 of 156 MB"
    scripted.models.last.sendResult({})
    panel.waitFor(lambda: scripted.models.last.method == "rank")

    scripted.models.last.sendError(engineError("ModalityError", "This model is for CT."))
    panel.waitFor(lambda: scripted.models.last.method == "rank" and scripted.models.last.params["anyModality"])
    assert [dialog["text"] for dialog in dialogs] == [
        "The weights of 'tiny' (156 MB) are missing.", "This model is for CT.",
    ]  # fmt: skip
    panel.ui.rankSceneButton.click()
    assert scripted.models.last.isCancelled and panel.ui.rankSceneButton.text == "Rank volumes of the scene"
    assert volume


def test_ranking_without_an_engine_offers_to_install_it(panel, scripted, dialogs):
    slicer.util.addVolumeFromArray(np.zeros((4, 8, 8), np.int16), name="volume")
    panel.widget.enter()
    panel.ui.rankSceneButton.click()
    panel.waitFor(lambda: scripted.models.requests)
    scripted.models.last.sendError(engineError("EngineMissing", "The engine is not installed."))
    assert dialogs == [] and not panel.ui.installCollapsibleButton.isHidden()
    assert panel.ui.rankSceneButton.toolTip == "Install the engine first."
    panel.widget.enter()


def test_what_is_said_while_it_runs_can_be_read_later(run):
    assert run.panel.ui.messagesEdit.isHidden()
    run.request.sendLog({"level": "info", "message": "Memory ran out; going on with 4 slices."})
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("a"))
    run.request.sendProgress(EPOCH | {"done": 2})
    said = run.panel.ui.messagesEdit.plainText.splitlines()
    assert said == [
        "Memory ran out; going on with 4 slices.",
        "'a' was removed from the scene. The training goes on with the copy made before.",
    ]
    assert run.panel.status.startswith("Training: pass 2 of 9")
    run.request.sendResult(RESULT)
    run.engines.models.last.sendResult({"name": "boxes", "version": "1.0.0", "path": "/x"})
    assert run.panel.ui.messagesEdit.plainText.splitlines() == said


def test_volume_removed_from_the_scene_leaves_the_table(panel, pair):
    slicer.mrmlScene.RemoveNode(pair[0][0])
    panel.waitFor(lambda: not panel.ui.startButton.enabled)
    assert "does not say which volume it belongs to" in panel.hint


def test_nodes_of_the_next_scene_are_not_taken_for_the_cases(run, tmp_path):
    """A scene that was closed gives its IDs away again."""
    slicer.mrmlScene.Clear(0)
    volume, segmentation = addCase("another patient")
    assert volume.GetID() == "vtkMRMLScalarVolumeNode1"
    np.save(tmp_path / "preview.npy", np.ones((8, 64, 64), np.uint8))
    run.request.sendProgress(EPOCH | {"preview": str(tmp_path / "preview.npy"), "previewCase": "a"})
    assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == [segmentation]
    run.request.sendResult(RESULT | {"cases": [{"id": "a", "dice": {"box": 0.9}}]})
    run.engines.models.last.sendResult({"name": "boxes", "version": "1.0.0", "path": "/x"})
    assert run.panel.column(run.panel.ui.worstTable, 0) == ["a"]
    run.panel.ui.worstTable.cellClicked.emit(0, 0)
    assert run.panel.status == "This case is not in the scene."


def test_prediction_is_shown_in_the_case_that_the_engine_chose(run, pair, tmp_path):
    np.save(tmp_path / "preview.npy", np.ones((8, 64, 64), np.uint8))
    run.request.sendProgress(EPOCH | {"preview": str(tmp_path / "preview.npy"), "previewCase": "a"})
    (preview,) = (n for n in slicer.util.getNodesByClass("vtkMRMLSegmentationNode") if "preview" in n.GetName())
    assert preview.GetName() == "a preview"
    assert preview.GetNodeReference(preview.GetReferenceImageGeometryReferenceRole()) is pair[0][0]


def test_time_without_memory(panel, pair, scripted):
    """The engine cannot tell the memory of a CPU on Windows."""
    panel.ui.estimateButton.click()
    panel.waitFor(lambda: scripted.training.requests)
    scripted.training.last.sendResult({"secondsPerStep": 1, "steps": 120, "minutes": 2.0, "memoryBytes": None})
    assert panel.ui.estimateLabel.text == "Measured: about 2 min."
    assert panel.ui.startButton.enabled


def test_the_model_just_trained_is_the_one_to_rank_with(run):
    import os
    from pathlib import Path

    from auto_segment_testing import writeModel

    models = Path(os.environ["SAM2ADAPT_HOME"]) / "models"
    models.mkdir(exist_ok=True)
    writeModel(models / "boxes.safetensors", name="boxes")
    run.request.sendResult(RESULT)
    run.engines.models.last.sendResult({"name": "boxes", "version": "1.0.0", "path": "/x"})
    assert run.panel.ui.rankingModelComboBox.currentText == "boxes@1.0.0"


def test_cases_of_a_scene_that_is_loaded_are_shown_with_the_panel_open(panel, tmp_path):
    case = addCase("a")
    panel.addScene()
    panel.saveAndCloseScene(tmp_path, *case)
    assert panel.ui.caseTable.rowCount == 0
    panel.loadScene(tmp_path)
    assert panel.column(panel.ui.caseTable, 0) == ["a"] and panel.ui.startButton.enabled, panel.hint


def test_an_installation_that_waited_for_the_restart_goes_on_in_this_module_too(panel, monkeypatch):
    from SAM2AdaptLib.Engine.Error import EngineError
    from SAM2AdaptLib.Install import Installer, PyTorchExtension

    started = []
    monkeypatch.setattr(panel.widget.logic, "engineProblem", lambda: EngineError("EngineMissing", "It is missing."))
    monkeypatch.setattr(PyTorchExtension, "takePendingInstall", lambda: {"wheelFolder": "/wheels"})
    monkeypatch.setattr(Installer, "install", lambda folder, **callbacks: started.append(folder))
    panel.widget.enter()
    assert started == ["/wheels"]
    monkeypatch.undo()
    panel.widget.enter()
