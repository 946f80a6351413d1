"""Cases of the scene in the panel of training: how they are found, their use, and which of their slices count."""

import itertools
from types import SimpleNamespace

import numpy as np
import slicer
from panel_testing import DEADLINE
from training_testing import ANNOTATED, USE, VOLUME, addCase, choose

pytest_plugins = ["training_testing"]


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


def test_auto_segment_hands_its_result_over(panel):
    _volume, segmentation = addCase("a")
    panel.widget.logic.getParameterNode().exampleSegmentation = segmentation
    panel.widget.exit()
    panel.widget.enter()
    assert panel.column(panel.ui.caseTable, 0) == ["a"]
    panel.ui.caseTable.selectRow(0)
    panel.ui.removeCaseButton.click()
    assert panel.ui.caseTable.rowCount == 0
