"""The effect that corrects by clicks, with an engine that does what the test says."""

import numpy as np
import pytest
import qt
import slicer
from correcting_testing import NAME, CorrectPanel, Mouse, filledIn
from filling_testing import SHAPE, addDrawings, stack

pytest_plugins = ["effect_testing"]


@pytest.fixture
def panel(effects, scene, effectEngine):
    from SAM2AdaptLib.Scene import Results

    slicer.util.selectModule("SAM2Adapt")
    volumeNode, segmentationNode = addDrawings({"heart": stack(range(2, 9)), "wall": stack([5], 3)})
    Results.mark(segmentationNode, "cardiac", ["heart"], False)
    panel = CorrectPanel(volumeNode, segmentationNode, effectEngine, "heart")
    panel.options.kind, panel.options.isPositive, panel.options.carrySpinBox.value = "point", True, 0
    yield panel
    panel.editor.setActiveEffectByName("")


def add(panel, value=1):
    return filledIn(panel.engine.last, 5, slice(0, 4), slice(0, 6), value)


def test_a_click_is_answered_and_undone(panel):
    prepared = panel.engine.last
    assert prepared.method == "correct" and "gestures" not in prepared.params and prepared.params["model"] == "cardiac"
    prepared.sendResult({"axis": "K", "knowsStructure": False, "takesPrompts": False, "changed": 0, "carried": []})
    before = panel.mask("heart")
    assert panel.click((3, 2, 5)) == [True, False]
    request = panel.engine.last
    assert request.params["gestures"] == [{"kind": "point", "positive": True, "voxels": [[3, 2, 5]]}]
    assert request.params["roi"] == [0, SHAPE[2], 0, SHAPE[1], 5, 6] and request.params["structure"] == "heart"
    assert request.params["input"]["array"] == prepared.params["input"]["array"]  # the volume is written once
    assert np.array_equal(np.load(request.params["labels"])[0], before[5])
    assert panel.message == "Correcting…" and np.array_equal(panel.mask("heart"), before)
    panel.answer(add(panel))
    after = panel.mask("heart")
    assert after[5, :4, :6].all() and np.count_nonzero(after != before) == 24
    assert panel.message.startswith("24 voxels changed. Model 'cardiac' was not trained with clicks")
    panel.editor.undo()
    assert np.array_equal(panel.mask("heart"), before)


def test_what_is_clicked_meanwhile_is_answered_in_its_order(panel):
    panel.click((3, 2, 5))
    first = panel.engine.last
    panel.click((20, 16, 5), isControl=True)
    assert panel.engine.last is first and not first.isCancelled
    panel.answer(add(panel))
    second = panel.engine.last
    assert second is not first
    assert [one["positive"] for one in second.params["gestures"]] == [True, False]  # the first is kept obeyed
    panel.answer(filledIn(second, 5, slice(8, 10), slice(10, 12), 0))
    assert panel.mask("heart")[5, 0, 0] and not panel.mask("heart")[5, 8:10, 10:12].any()
    panel.editor.undo()
    assert panel.mask("heart")[5, 8:10, 10:12].any() and panel.mask("heart")[5, 0, 0]  # one step for each click


def test_scribbles_boxes_and_carrying(panel):
    panel.options.kindButtons["scribble"].click()
    panel.options.carrySpinBox.value = 2
    assert panel.drag((3, 2, 5), (9, 2, 5), (9, 6, 5)) == [True] * 4
    request = panel.engine.last
    voxels = request.params["gestures"][0]["voxels"]
    assert request.params["carry"] == 2 and {tuple(one) for one in voxels} >= {(i, 2, 5) for i in range(3, 10)}
    panel.answer(filledIn(request, slice(4, 7), slice(0, 4), slice(0, 6)), slices=[5, 4, 6], carried=[4, 6])
    assert "in 3 slices" in panel.message
    panel.options.kindButtons["box"].click()
    panel.options.removeButton.click()
    panel.drag((3, 2, 5), (9, 8, 5))
    box = panel.engine.last.params["gestures"][-1]
    assert box == {"kind": "box", "positive": False, "voxels": [[3, 2, 5], [9, 8, 5]]}
    assert panel.engine.last.params["roi"][4:] == [3, 8]  # two slices on either side are sent, too


def test_keys_work_only_while_the_effect_is_open(panel):
    shortcuts = {shortcut.key.toString(): shortcut for shortcut in panel.effect._shortcuts}
    assert set(shortcuts) == {"P", "S", "B", "T", "Del"}
    shortcuts["B"].activated()
    assert panel.options.kind == "box"
    shortcuts["T"].activated()
    assert not panel.options.isPositive
    shortcuts["P"].activated()
    panel.click((12, 10, 5))
    panel.answer(filledIn(panel.engine.last, 5, slice(8, 10), slice(10, 12), 0))
    before = panel.mask("heart")
    shortcuts["Del"].activated()
    assert np.count_nonzero(panel.mask("heart") != before) == 4 and "taken back" in panel.message
    panel.editor.setActiveEffectByName("")
    assert panel.effect._shortcuts == []
    children = slicer.util.mainWindow().findChildren(qt.QShortcut) if slicer.util.mainWindow() else []
    assert not [one for one in children if one in shortcuts.values()]


def test_masking_and_overwriting_are_as_the_editor_says(panel):
    panel.node.SetOverwriteMode(panel.node.OverwriteNone)
    panel.click((3, 2, 5))
    panel.answer(filledIn(panel.engine.last, 5, slice(None), slice(None)))
    assert panel.mask("heart")[5].all() and panel.mask("wall")[5].any()
    panel.editor.undo()
    panel.node.SetOverwriteMode(panel.node.OverwriteAllSegments)
    panel.click((3, 2, 5))
    panel.answer(filledIn(panel.engine.last, 5, slice(None), slice(None)))
    assert not (panel.mask("wall")[5] & ~stack([5], 5)[5].astype(bool)).any()
    panel.editor.undo()
    panel.node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedOutsideAllSegments)
    panel.choose("wall")
    panel.click((3, 2, 5))
    panel.answer(filledIn(panel.engine.last, 5, slice(None), slice(None)))
    assert panel.mask("wall")[5, 0, 0] and not (panel.mask("wall") & panel.mask("heart"))[5, 10, 8]
    panel.node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)


def test_what_cannot_be_clicked_gets_a_sentence(panel):
    requests = len(panel.engine.requests)

    def refused(words):
        assert len(panel.engine.requests) == requests and words in panel.message, panel.message

    panel.effect.correct([(1000, 0, 0)], True)
    refused("lies outside of volume 'CT'. Click into the picture.")
    panel.segmentation.GetDisplayNode().SetSegmentVisibility(panel.idOf("heart"), False)
    panel.click((3, 2, 5))
    refused("'heart' is hidden. Show it, then click.")
    panel.segmentation.GetDisplayNode().SetSegmentVisibility(panel.idOf("heart"), True)
    logic = slicer.vtkSlicerSegmentationsModuleLogic
    wall = panel.segmentation.GetSegmentation().GetSegment(panel.idOf("wall"))
    logic.SetSegmentStatus(wall, logic.Completed)
    panel.click((12, 10, 5))
    refused("The click lies in 'wall', which is marked as completed.")
    panel.choose("wall")
    panel.click((12, 10, 5))
    refused("'wall' is marked as completed. Change its state first.")
    panel.node.SetSelectedSegmentID("")
    panel.click((12, 10, 5))
    refused("There is no segment to correct. Choose a segment.")

    class View:
        def className(self):
            return "qMRMLThreeDWidget"

    from correcting_testing import PRESS

    assert not panel.effect.processInteractionEvents(Mouse((1, 1)), PRESS, View())
    refused("Click into a slice view")


def test_nothing_is_lost_when_it_goes_wrong(panel, scene):
    from SAM2AdaptLib.Engine.Error import EngineError

    before = panel.mask("heart")
    panel.click((3, 2, 5))
    panel.engine.last.sendError(EngineError("EngineStopped", "The engine stopped unexpectedly.", "Try again."))
    assert panel.message == "The engine stopped unexpectedly. Try again."
    panel.click((3, 2, 5))
    panel.answer(add(panel, value=0))  # a click that adds must not remove
    assert "The engine changed what the click does not ask for." in panel.message or "nothing changed" in panel.message
    panel.click((3, 2, 5))
    request = panel.engine.last
    slicer.util.updateSegmentBinaryLabelmapFromArray(
        np.zeros(SHAPE, np.uint8), panel.segmentation, panel.idOf("heart"), panel.volume
    )
    panel.answer(filledIn(request, 5, slice(0, 4), slice(0, 6)))
    assert panel.message == "'heart' changed while the click was answered. Click again."
    assert not panel.mask("heart").any() and before.any()
    panel.click((3, 2, 5))
    waiting = panel.engine.last
    panel.editor.setActiveEffectByName("")  # the answer is no longer wanted
    assert waiting.isCancelled
    panel.editor.setActiveEffectByName(NAME)
    file = panel.engine.last.params["input"]["array"]
    slicer.util.arrayFromVolume(panel.volume)[:] += 1
    slicer.util.arrayFromVolumeModified(panel.volume)
    panel.click((3, 2, 5))
    assert panel.engine.last.params["input"]["array"] != file  # another volume is sent anew
    scene.RemoveNode(panel.volume)
    assert "was removed while it was in use" in panel.message


def test_the_names_of_what_helps(panel):
    for report, model, words in (
        ({"takesPrompts": True}, "cardiac", "was trained with clicks and follows them, too."),
        ({"knowsStructure": False}, "cardiac", "does not know 'heart': clicks follow the grey levels."),
        ({}, "", "No model made this segmentation: clicks follow the grey levels."),
    ):
        panel.segmentation.SetAttribute("SAM2Adapt.Model", model)
        panel.click((3, 2, 5))
        panel.answer(add(panel), **report)
        assert words in panel.message
        panel.editor.undo()


def test_another_view_than_the_slices_of_the_model_gets_a_sentence(panel):
    words = "Corrections act in the slices of the model, not in this view"
    for view, isSaid in (("Red", False), ("Green", True), ("Yellow", True)):
        panel.click((3, 2, 5), view=view)
        assert panel.message == "Correcting…" and panel.engine.last.params["gestures"][-1]["voxels"] == [[3, 2, 5]]
        panel.answer(add(panel))
        assert (words in panel.message) is isSaid, view
        panel.editor.undo()
