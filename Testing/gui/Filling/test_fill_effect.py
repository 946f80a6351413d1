"""The Segment Editor effect, driven by clicks, with an engine that does what the test says."""

import numpy as np
import pytest
import slicer
from filling_testing import SHAPE, FillPanel, addDrawings, disc, filled, stack
from panel_testing import REPOSITORY

pytest_plugins = ["effect_testing"]


@pytest.fixture
def panel(effects, scene, effectEngine, processEvents):
    """The Segment Editor with the effect on two structures that overlap, drawn in slices 2, 6 and 10."""
    slicer.util.selectModule("SAM2Adapt")
    masks = {"heart": stack([2, 6, 10]), "wall": stack([2, 6, 10], 7)}
    panel = FillPanel(*addDrawings(masks), effectEngine, processEvents)
    yield panel
    panel.effect.reset()


def test_fill_preview_apply_undo(panel):
    assert panel.texts("previewButton") == "Fill"
    assert not panel.widget("applyButton").enabled and not panel.widget("cancelButton").enabled
    panel.widget("previewButton").click()
    assert panel.widget("cancelButton").enabled and not panel.widget("applyButton").enabled
    before = panel.masks()
    answer = filled(before)
    panel.sendPreview(answer)
    assert "first guess" in panel.message and not panel.widget("applyButton").enabled
    assert np.array_equal(panel.previewMasks(), answer)
    panel.sendResult(answer, log=["'wall' is thin."])
    assert panel.message == "Expected accuracy 0.91; drawing slice 9 would help most.\n'wall' is thin."
    assert panel.options.nextSliceButton.text == "Go to slice 9"
    assert np.array_equal(panel.masks(), before)
    panel.widget("applyButton").click()
    assert np.array_equal(panel.masks(), answer) and panel.previewNode() is None
    assert panel.message.startswith("The filled slices were added.")
    assert panel.segmentation.GetDisplayNode().GetOpacity() == 1.0
    panel.editor.undo()
    assert np.array_equal(panel.masks(), before)


def test_the_engine_gets_ready_when_the_effect_is_opened(panel, monkeypatch):
    assert panel.engine.last.method == "warmUp"
    from SAM2AdaptLib.Engine.Error import EngineError
    from SAM2AdaptLib.Install import Check

    before = panel.engine.last
    monkeypatch.setattr(Check, "findProblem", lambda: EngineError("EngineMissing", "Not installed.", "Install it."))
    panel.editor.setActiveEffectByName("")
    panel.editor.setActiveEffectByName("Fill from drawn slices")
    assert panel.engine.last is before  # nothing is started without an engine


def test_cancel_leaves_everything_as_it_was(panel):
    before = panel.masks()
    panel.widget("previewButton").click()
    panel.sendPreview(filled(before))
    panel.widget("cancelButton").click()
    assert panel.engine.last.isCancelled and panel.previewNode() is None
    assert np.array_equal(panel.masks(), before)
    assert panel.texts("previewButton") == "Fill" and not panel.widget("cancelButton").enabled


def test_an_edit_during_a_run_starts_it_again(panel, processEvents):
    panel.widget("previewButton").click()
    first = panel.engine.last
    panel.draw("heart", stack([8], 4))
    assert first.isCancelled
    assert processEvents(10, until=lambda: panel.engine.last is not first)
    assert np.load(panel.engine.last.params["drawings"])[0, 8].any()
    answer = filled(panel.masks())
    answer[0, 8] = panel.masks()[0, 8]
    panel.sendResult(answer)
    assert panel.widget("applyButton").enabled


def test_an_edit_after_a_run_updates_the_preview(panel, processEvents):
    panel.widget("previewButton").click()
    first = panel.engine.last
    panel.sendResult(filled(panel.masks()))
    panel.editor.setActiveEffectByName("")  # another effect paints
    panel.draw("wall", stack([8], 8))
    assert processEvents(10, until=lambda: panel.engine.last is not first)


def test_without_auto_update_an_outdated_result_is_not_applied(panel, processEvents):
    panel.widget("autoUpdateCheckBox").click()
    panel.widget("previewButton").click()
    panel.sendResult(filled(panel.masks()))
    panel.draw("heart", stack([8], 4))
    before = panel.masks()
    processEvents(1.5)
    panel.widget("applyButton").click()
    assert "changed since they were filled. Fill again." in panel.message
    assert np.array_equal(panel.masks(), before)


def test_next_slice_is_shown_in_the_view_across_the_slices(panel):
    panel.widget("previewButton").click()
    panel.sendResult(filled(panel.masks()))
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    green = slicer.app.layoutManager().sliceWidget("Green").mrmlSliceNode()
    offsets = red.GetSliceOffset(), green.GetSliceOffset()
    panel.options.nextSliceButton.click()
    assert red.GetSliceOffset() == pytest.approx(7.25 + 3 * 8) and red.GetSliceOffset() != offsets[0]
    assert green.GetSliceOffset() == offsets[1]


def test_nothing_here_declares_the_shown_slice_empty(panel):
    red = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode()
    red.SetSliceOffset(7.25 + 3 * 4)
    panel.chooseStructure("wall")
    panel.options.emptyButton.click()
    assert panel.message == "Slice 5 holds nothing of 'wall'."
    panel.widget("previewButton").click()
    assert panel.engine.last.params["empty"] == {"wall": [4]}
    panel.widget("cancelButton").click()
    panel.options.emptyButton.click()
    assert panel.message == "Slice 5 of 'wall' is to be filled again."
    red.SetSliceOffset(7.25 + 3 * 6)
    panel.options.emptyButton.click()
    assert panel.message == "'wall' is drawn in slice 7. Erase it there, or choose another slice."
    red.SetSliceOffset(1000)
    panel.options.emptyButton.click()
    assert panel.message.startswith("No slice view shows the volume")


def test_segments_that_come_and_go_are_offered(panel):
    box, segmentation = panel.options.structureComboBox, panel.segmentation.GetSegmentation()

    def offered():
        return [box.itemText(index) for index in range(box.count)]

    added = segmentation.AddEmptySegment("", "valve")
    assert offered() == ["heart", "wall", "valve"]
    segmentation.GetSegment(added).SetName("mitral valve")
    assert offered() == ["heart", "wall", "mitral valve"]
    segmentation.RemoveSegment(added)
    assert offered() == ["heart", "wall"]
    panel.editor.setActiveEffectByName("")
    segmentation.AddEmptySegment("", "aorta")
    assert offered() == ["heart", "wall"]  # nobody sees it
    panel.editor.setActiveEffectByName("Fill from drawn slices")
    assert offered() == ["heart", "wall", "aorta"]


def test_direction_is_sent_and_kept(panel):
    panel.options.directionComboBox.setCurrentIndex(1)
    panel.widget("previewButton").click()
    assert panel.engine.last.params["axis"] == "K"
    assert panel.effect.scriptedEffect.parameter("Direction") == "axial"


def test_region_is_sent_and_kept(panel):
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "middle")
    region.SetCenter(8, -48, 25)
    region.SetSize(10, 10, 10)
    panel.widget("previewButton").click()
    first = panel.engine.last
    panel.options.regionSelector.setCurrentNode(region)
    assert first.isCancelled and panel.engine.last.params["roi"][4:] == [4, 9]
    panel.editor.setActiveEffectByName("")
    panel.editor.setActiveEffectByName("Fill from drawn slices")
    assert panel.options.region is region
    slicer.mrmlScene.RemoveNode(region)
    assert panel.options.region is None and panel.engine.last.params["roi"] is None


def test_failures_are_said_and_change_nothing(panel, monkeypatch):
    before = panel.masks()
    from SAM2AdaptLib.Engine.Error import EngineError
    from SAM2AdaptLib.Install import Check

    panel.widget("previewButton").click()
    panel.sendPreview(filled(before))
    panel.engine.last.sendError(EngineError("EngineStopped", "The engine stopped unexpectedly.", "Try again."))
    assert panel.message == "The engine stopped unexpectedly. Try again." and panel.previewNode() is None
    missing = EngineError("EngineMissing", "The engine is not installed.", "Install it.")
    monkeypatch.setattr(Check, "findProblem", lambda: missing)
    panel.widget("previewButton").click()
    assert panel.message == "The engine is not installed. Install it."
    monkeypatch.setattr(Check, "findProblem", lambda: None)
    panel.segmentation.GetDisplayNode().SetAllSegmentsVisibility(False)
    panel.widget("previewButton").click()
    assert panel.message.startswith("No structure of 'CT segmentation' is drawn in any slice. 'heart' is hidden")
    assert np.array_equal(panel.masks(), before)
    assert panel.texts("previewButton") == "Fill" and not panel.widget("applyButton").enabled


def test_another_volume_ends_the_run(panel):
    panel.widget("previewButton").click()
    other = slicer.util.addVolumeFromArray(np.zeros(SHAPE, np.int16), name="other")
    panel.editor.setSourceVolumeNode(other)
    assert panel.engine.last.isCancelled and panel.message == "Another volume was chosen: fill again."
    panel.widget("previewButton").click()
    assert "lie outside volume 'other'" in panel.message


def test_closing_the_scene_during_a_run(panel, processEvents):
    panel.widget("previewButton").click()
    panel.sendPreview(filled(panel.masks()))
    slicer.mrmlScene.Clear(0)
    processEvents(0.1)
    assert panel.engine.last.isCancelled


def test_the_panel_of_auto_segment_opens_the_effect(effects, scene, effectEngine, processEvents):
    masks = {"heart": disc(4)[None].repeat(SHAPE[0], 0).astype(np.uint8)}
    volumeNode, segmentationNode = addDrawings(masks)
    slicer.util.selectModule("SAM2Adapt")
    widget = slicer.modules.SAM2AdaptWidget
    widget._parameterNode.inputVolume = volumeNode
    widget.ui.fillButton.click()
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    assert slicer.util.selectedModule() == "SegmentEditor"
    assert editor.activeEffect().name == "Fill from drawn slices"
    assert editor.segmentationNode() is segmentationNode and editor.sourceVolumeNode() is volumeNode


def test_what_was_filled_is_used_for_training(panel, slicerHost):
    button = panel.options.trainButton
    assert not button.enabled and button.toolTip == "Fill and apply first."
    slicerHost.loadModule(REPOSITORY / "SAM2AdaptTraining" / "SAM2AdaptTraining.py")
    try:
        panel.widget("previewButton").click()
        panel.sendResult(filled(panel.masks()))
        assert not button.enabled
        panel.widget("applyButton").click()
        assert button.enabled
        button.click()
        assert slicer.util.selectedModule() == "SAM2AdaptTraining"
        table = slicer.modules.SAM2AdaptTrainingWidget.ui.caseTable
        assert table.rowCount == 1 and table.item(0, 3).text() == "9 of 12, 6 filled"
        slicer.util.selectModule("SegmentEditor")
        panel.editor.setActiveEffectByName("Fill from drawn slices")
        assert button.enabled
        panel.editor.undo()
        assert not button.enabled
    finally:
        slicer.util.selectModule("SegmentEditor")
        slicerHost.unloadModule("SAM2AdaptTraining")
