"""The section “Engine on”, used as a user does: an engine behind a command, and choices that are refused."""

import os
import sys

import pytest
from host.pythonqt import unwrap
from PySide6 import QtGui

pytest_plugins = ["auto_segment_testing"]
COMMAND = f"'{sys.executable}' -m sam2adapt serve --stream"


@pytest.fixture
def section(panel):
    """The section, opened; the engine is on this computer again at the end."""
    section = panel.widget._engineSection
    section.button.collapsed = False
    yield section
    choose(section, "here")


def choose(section, kind, text=""):
    section.placeComboBox.setCurrentIndex(section.placeComboBox.findData(kind))
    section.placeEdit.text = text
    unwrap(section.placeEdit).editingFinished.emit()


def test_a_command_is_tried_and_used_for_the_next_run(panel, section, tmp_path):
    from SAM2AdaptLib.Engine import Client
    from SAM2AdaptLib.Engine.Remote import Place

    assert Place.chosen() == Place.Place() and not section.placeEdit.visible
    choose(section, "command", COMMAND)
    assert Place.chosen() == Place.Place("command", COMMAND)
    assert section.button.text.startswith("Engine on: ") and panel.widget.logic.engineProblem() is None
    section.testButton.click()
    panel.waitFor(lambda: section.testButton.enabled)
    assert "The engine answers: version" in section.resultLabel.text and "no GPU" in section.resultLabel.text
    assert section.keptLabel.text.startswith("Kept there for you: ") and not section.table.visible
    assert len(Client.sharedEngine().request("devices", {}).wait().result) >= 2
    assert Client.sharedEngine().facts()["protocol"] == 2
    choose(section, "here")
    Client.sharedEngine().request("devices", {}).wait()
    assert Client.sharedEngine().facts()["protocol"] == 1
    panel.saveAndCloseScene(tmp_path)
    assert "serve --stream" not in (tmp_path / "scene.mrml").read_text("utf-8")


def test_what_cannot_be_an_engine_is_refused_with_a_sentence(panel, section, tmp_path):
    from SAM2AdaptLib.Engine.Remote import Place

    for host in (f"-oProxyCommand=touch {tmp_path}/x", "a b", "user@-host", "a;b", "$(x)", ""):
        choose(section, "host", host)
        assert Place.chosen() == Place.Place()
        assert "host" in section.resultLabel.text
    choose(section, "command", "docker 'run")
    assert "quote" in section.resultLabel.text and Place.chosen().text != "docker 'run"
    choose(section, "command", "no-such-program serve")
    section.testButton.click()
    panel.waitFor(lambda: section.testButton.enabled)
    assert "'no-such-program' cannot be started" in section.resultLabel.text


def test_the_line_that_installs_an_engine_is_copied_whole_and_goes_once_one_answers(
    panel, section, tmp_path, monkeypatch
):
    from SAM2AdaptLib.Engine.Remote import Ssh

    (tmp_path / "ssh").write_text("#!/bin/sh\necho sam2adapt: not found >&2; exit 127\n")
    (tmp_path / "ssh").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    choose(section, "host", "user@gpu")
    section.testButton.click()
    panel.waitFor(lambda: section.testButton.enabled)
    assert section.resultLabel.text.startswith(
        "There is no engine there. Its files could not be sent: sam2adapt: not found."
    )
    assert section.installEdit.visible and section.copyButton.visible
    section.copyButton.click()
    assert QtGui.QGuiApplication.clipboard().text() == Ssh.INSTALL_LINE
    (tmp_path / "ssh").write_text(f"#!/bin/sh\nexec {COMMAND}\n")
    section.testButton.click()
    panel.waitFor(lambda: section.testButton.enabled)
    assert "The engine answers" in section.resultLabel.text
    assert not section.installEdit.visible and not section.copyButton.visible
