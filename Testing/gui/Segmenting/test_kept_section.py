"""The section “What is kept on this computer”, clicked as a user does."""

import qt
from sam2adapt.shared.files import case_names_file, home, replay_file
from sam2adapt.shared.safety.private import private_folder

pytest_plugins = ["auto_segment_testing"]


def keep():
    """Slices and names of two models, a run that is over and one that another Slicer works on."""
    from SAM2AdaptLib.Training import RunFolders

    for digest in ("sha256:aa", "sha256:bb"):
        for file in (replay_file(digest), case_names_file(digest)):
            private_folder(file.parent)
            file.write_bytes(b"x" * 500_000)
    RunFolders.create("over").release()
    return RunFolders.create("in use")


def test_a_computer_on_which_nothing_is_kept_yet_says_so_without_an_error(panel, tmp_path, monkeypatch):
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path / "new"))
    section = panel.widget._keptSection
    section.update()
    assert [section.table.item(row, 1).text() for row in range(section.table.rowCount)] == ["0", "0", "0"]
    assert "cannot be read" not in section.label.text and not section.deleteButton.enabled


def test_what_is_kept_is_listed_and_deleted_kind_by_kind_after_asking(panel, dialogs, answers):
    inUse, section = keep(), panel.widget._keptSection
    assert section.button.collapsed and section.button.text == "What is kept on this computer"
    section.button.click()
    panel.processEvents()

    def cells(column):
        return [section.table.item(row, column).text() for row in range(section.table.rowCount)]

    assert cells(0) == ["Training slices", "Names of training cases", "Training runs"]
    assert cells(1) == ["2", "2", "2"] and cells(2)[:2] == ["1.0 MB", "1.0 MB"]
    assert [text.startswith(str(home())) for text in cells(4)] == [True] * 3
    assert not section.deleteButton.enabled
    assert section.detailLabel.text == "Select a row to see until when and where it is kept."

    section.table.selectRow(0)
    assert section.detailLabel.text == f"Kept until the model is removed, in {cells(4)[0]}."
    assert [section.table.isColumnHidden(column) for column in range(5)] == [False] * 3 + [True] * 2
    answers.append(lambda dialog: qt.QMessageBox.Cancel)
    section.deleteButton.click()
    assert "forget" in dialogs[-1]["informativeText"] and cells(1) == ["2", "2", "2"]
    answers[:] = [lambda dialog: qt.QMessageBox.Yes]
    section.deleteButton.click()
    assert cells(1) == ["0", "2", "2"] and not replay_file("sha256:aa").exists()
    assert not section.deleteButton.enabled

    section.table.selectRow(2)
    answers[:] = [lambda dialog: qt.QMessageBox.Yes]
    section.deleteButton.click()
    assert cells(1) == ["0", "2", "1"] and inUse.folder.is_dir()
    assert section.label.text == "Runs deleted: 1. In use, or not of SAM2Adapt, and kept: 1."
    inUse.discard()
    section.table.selectRow(1)
    answers[:] = [lambda dialog: qt.QMessageBox.Yes]
    section.deleteButton.click()
    assert cells(1) == ["0", "0", "0"]
