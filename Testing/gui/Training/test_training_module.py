"""The training module when it is reloaded, closed and opened again."""

import sys

import pytest
import slicer
from training_testing import RESULT, ScriptedEngine, addCase, engineError


@pytest.fixture
def widget(loadModule, tmp_path, monkeypatch):
    """The panel with one case, with engines that do what the test says."""
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path))
    monkeypatch.setenv("SAM2ADAPT_ENGINE_PYTHON", sys.executable)
    widget = loadModule("SAM2AdaptTraining")
    widget.logic.engine, widget.logic.modelEngine = ScriptedEngine(), ScriptedEngine()
    widget.logic.stopEngine = lambda: None
    addCase("a")
    widget.ui.addSceneButton.click()
    return widget


def start(widget, processEvents):
    widget.ui.startButton.click()
    assert processEvents(20, until=lambda: widget.logic.engine.requests)
    return widget.logic.engine.last


def test_nothing_is_called_back_after_a_reload(widget, processEvents, answers, tmp_path):
    """The widgets of then are gone; a slot that raises would fail the test."""
    start(widget, processEvents).sendResult(RESULT)
    answers.append(lambda dialog: str(tmp_path / "exported.safetensors"))
    widget._onExport(str(tmp_path / "exported.safetensors"))
    adding, exporting = widget.logic.modelEngine.requests
    widget.onReload()
    processEvents()
    adding.sendResult({"name": "boxes", "version": "1.0.0", "path": "/x"})
    exporting.sendResult({})
    exporting.sendError(engineError())


def test_run_is_offered_again_after_a_reload_in_its_first_epoch(widget, processEvents):
    request = start(widget, processEvents)
    widget.onReload()
    processEvents()
    assert request.isCancelled
    ui = slicer.modules.SAM2AdaptTrainingWidget.ui
    assert not ui.unfinishedCollapsibleButton.isHidden()
    assert ui.unfinishedComboBox.currentText.endswith("passes done: 0")
