"""“Go on without me” by clicks: a training that is started asks for its hours, or for none."""

import pytest
from host.pythonqt import unwrap
from training_testing import engineError

pytest_plugins = ["training_testing"]


@pytest.fixture
def section(panel):
    """The section “Engine on”, opened; the engine is on this computer again at the end."""
    section = panel.widget._engineSection
    section.button.collapsed = False
    yield section
    section.goOnCheckBox.checked = False
    choose(section, "here")


def choose(section, kind, text=""):
    section.placeComboBox.setCurrentIndex(section.placeComboBox.findData(kind))
    section.placeEdit.text = text
    unwrap(section.placeEdit).editingFinished.emit()


def started(panel, scripted):
    """The parameters of the training that a click on Start asks for."""
    before = len(scripted.training.requests)
    assert panel.ui.startButton.enabled, panel.status
    panel.ui.startButton.click()
    panel.waitFor(lambda: len(scripted.training.requests) > before)
    assert scripted.training.last.method == "train"
    return scripted.training.last


def test_the_hours_go_with_the_request_only_if_the_box_is_checked_and_the_engine_elsewhere(
    panel, scripted, pair, section
):
    assert not section.goOnCheckBox.visible  # this computer
    choose(section, "host", "user@gpu")
    assert section.goOnCheckBox.visible and not section.hoursSpinBox.enabled
    found = []
    for isChecked, hours, kind in ((True, 5, "host"), (False, 5, "host"), (True, 7, "here")):
        choose(section, "host", "user@gpu")
        if section.goOnCheckBox.checked != isChecked:
            unwrap(section.goOnCheckBox).click()
        section.hoursSpinBox.value = hours
        if kind == "here":
            choose(section, "here")
        request = started(panel, scripted)
        found.append(request.params.get("goOnHours"))
        request.sendError(engineError("CancelledError", "The training was cancelled."))
        panel.waitForEnd()
    assert found == [5.0, None, None]


def test_the_choice_is_kept_for_the_next_time(panel, section):
    choose(section, "host", "user@gpu")
    unwrap(section.goOnCheckBox).click()
    section.hoursSpinBox.value = 9
    section.update()
    assert section.goOnCheckBox.checked and section.hoursSpinBox.value == 9
    unwrap(section.goOnCheckBox).click()
    section.update()
    assert not section.goOnCheckBox.checked and not section.hoursSpinBox.enabled
