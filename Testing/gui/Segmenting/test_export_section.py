"""The menu *Export* by clicks: what is written where, and why not."""

import json

import numpy as np
import pytest
import slicer

pytest_plugins = ["auto_segment_testing"]
SHAPE = (6, 16, 16)


@pytest.fixture
def drawn(panel):
    """A volume with a segmentation, chosen in the panel."""
    from SAM2AdaptLib.Scene import LabelImport

    voxels = np.random.default_rng(0).integers(0, 900, SHAPE).astype(np.int16)
    volumeNode = slicer.util.addVolumeFromArray(voxels, name="Mustermann^Erika")
    labels = np.zeros(SHAPE, np.uint8)
    labels[2:4, 3:6, 3:6] = 1
    node = LabelImport.importLabels(volumeNode, labels, [{"id": 1, "name": "liver"}])
    parameterNode = panel.widget._parameterNode
    parameterNode.inputVolume, parameterNode.outputSegmentation = volumeNode, node
    panel.processEvents()
    return node


def choose(panel, words):
    menu = panel.widget._export._menu
    panel.widget._export._updateMenu()
    (action,) = [action for action in menu.actions() if words in action.text]
    assert action.enabled, action.toolTip
    action.trigger()


def answerPaths(answers, folder):
    """Take every file dialog's proposal, in this folder; gives the proposals."""
    proposals = []

    def answer(dialog):
        if dialog["kind"].startswith("QFileDialog."):
            proposals.append(dialog.get("text", ""))
            return str(folder / proposals[-1]) if dialog["kind"].endswith("SaveFileName") else str(folder)
        return None

    answers.append(answer)
    return proposals


def test_label_map_and_surfaces(panel, drawn, dialogs, answers, tmp_path):
    proposals = answerPaths(answers, tmp_path)
    choose(panel, "NIfTI")
    labels, names = (tmp_path / f"{drawn.GetName()}{suffix}" for suffix in (".nii.gz", ".tsv"))
    assert panel.status == f"Exported to {labels}.\n{names.name} beside it holds the names of its values."
    choose(panel, "STL")
    assert proposals[0] == f"{drawn.GetName()}.nii.gz"
    assert {path.name.removeprefix(drawn.GetName()) for path in tmp_path.iterdir()} == {
        ".nii.gz", ".tsv", "_liver.stl",
    }  # fmt: skip
    choose(panel, "STL")
    assert "exists already" in panel.status


def test_surfaces_with_colours(panel, drawn, dialogs, answers, problems, tmp_path):
    answerPaths(answers, tmp_path)
    choose(panel, "OBJ")
    assert {path.suffix for path in tmp_path.iterdir()} == {".obj", ".mtl"}
    # VTK's exporter opens a window, which a machine without a screen has not.
    assert all("bad X server connection" in problem for problem in problems)


def test_page_is_made_beside_slicer_and_shown(panel, drawn, dialogs, answers, tmp_path):
    proposals = answerPaths(answers, tmp_path)
    choose(panel, "without names")
    panel.waitFor(lambda: panel.status == f"Exported to {tmp_path / 'segmentation.html'}.")
    assert proposals == ["segmentation.html"]  # the name of a segmentation can be a patient's
    assert "Mustermann" not in (tmp_path / "segmentation.html").read_text("utf-8")
    assert dialogs[-1]["kind"] == "QDesktopServices.openUrl"
    choose(panel, "and names")
    panel.waitFor(lambda: (tmp_path / f"{drawn.GetName()}.html").exists() and "Exported to" in panel.status)
    assert "Mustermann" in (tmp_path / f"{drawn.GetName()}.html").read_text("utf-8")


def test_the_menu_is_usable_again_after_a_page_that_fails(panel, drawn, dialogs, answers, tmp_path):
    answerPaths(answers, tmp_path)
    (tmp_path / "segmentation.html").mkdir()
    choose(panel, "without names")
    panel.waitFor(lambda: "cannot be written" in panel.status)
    assert panel.ui.exportButton.enabled
    assert [dialog["kind"] for dialog in dialogs] == ["QFileDialog.getSaveFileName"]  # the sentence is enough


def test_without_dicom_the_menu_says_why(panel, drawn):
    export = panel.widget._export
    export._updateMenu()
    assert not export._dicomAction.enabled
    assert "was not loaded from DICOM" in export._dicomAction.toolTip


def test_nothing_to_export(panel, drawn, dialogs, answers, tmp_path):
    answerPaths(answers, tmp_path)
    drawn.GetSegmentation().RemoveAllSegments()
    choose(panel, "NIfTI")
    assert "has no segments" in panel.status
    panel.widget._parameterNode.outputSegmentation = None
    panel.processEvents()
    assert not panel.ui.exportButton.enabled
    assert not list(tmp_path.iterdir())


def test_cancelled_dialog_exports_nothing(panel, drawn, dialogs):
    before = panel.status
    for words in ("NIfTI", "STL", "without names"):
        choose(panel, words)
    assert panel.status == before


def test_batch_is_looked_through_on_a_page(panel, dialogs, tmp_path):
    row = {"input": "/in/Mustermann.nii.gz", "series": "", "output": None, "status": "failed", "message": "Mustermann."}
    row |= {"structures": [], "seconds": {}, "model": "torso-ct", "digest": "", "slices": None}
    counts = {"done": 0, "failed": 1, "open": 0}
    content = {"model": "torso-ct", "digest": "", "counts": counts, "studies": [row]}
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    section = panel.widget._batch
    assert section._ui.batchPageButton.isHidden()
    section._results.begin("/in", str(tmp_path))
    section._results.show([row])
    section.update()
    panel.ui.batchCollapsibleButton.collapsed = False
    panel.ui.batchTable.cellDoubleClicked(0, 0)
    assert section._ui.batchStatusLabel.text == "Mustermann.nii.gz was not segmented: Mustermann."
    panel.ui.batchPageButton.click()
    assert not panel.ui.batchProgressBar.isHidden() and not panel.ui.batchPageButton.enabled
    panel.waitFor(lambda: dialogs)
    assert panel.ui.batchProgressBar.isHidden() and panel.ui.batchPageButton.enabled
    assert dialogs[-1]["kind"] == "QDesktopServices.openUrl" and "report.html" in dialogs[-1]["text"]
    content = (tmp_path / "report.html").read_text("utf-8")
    assert "Mustermann" not in content and ">failed<" in content
    section._results.begin("", "")
    section.update()
