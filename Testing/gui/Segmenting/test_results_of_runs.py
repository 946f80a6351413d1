"""No run, undo or batch takes work of the user away or shows the result of another volume, with a scripted engine."""

import numpy as np
import pytest
import slicer
from auto_segment_testing import segmentNames
from example_engines import ScriptedEngine

pytest_plugins = ["auto_segment_testing"]
SHAPE = (6, 24, 24)
LUNGS = ("right lung", "left lung")


@pytest.fixture
def engine(panel, monkeypatch):
    """An engine that does what the test says, and a CT model."""
    engine = ScriptedEngine()
    monkeypatch.setattr(panel.widget.logic, "engine", engine)
    panel.widget._parameterNode.model = "torso-ct@1.0.0"
    yield engine
    panel.widget._run.cancel()
    panel.widget._batch.cancel()


def addVolume(panel, name, seed=0):
    voxels = np.random.default_rng(seed).integers(-1000, 900, SHAPE).astype(np.int16)
    node = slicer.util.addVolumeFromArray(voxels, ijkToRAS=np.diag([-8.0, -8.0, 5.0, 1.0]), name=name)
    panel.processEvents()
    return node


def addDrawing(volumeNode, name="right lung"):
    """A segmentation that the user drew."""
    from SAM2AdaptLib.Scene import LabelImport

    labels = np.zeros(SHAPE, np.uint8)
    labels[2, 3:6, 3:6] = 1
    return LabelImport.importLabels(volumeNode, labels, [{"id": 1, "name": name}])


def answer(panel, engine, shift=0, uncertainty=False):
    """What the engine gives: two boxes."""
    request, labels = engine.last, np.zeros(SHAPE, np.uint8)
    labels[1:4, 2:6, 2 + shift : 6 + shift], labels[1:4, 2:6, 9 + shift : 13 + shift] = 1, 2
    np.save(request.params["labels"], labels)
    if uncertainty:
        np.save(request.params["uncertainty"], np.full(SHAPE, 0.5, np.float32))
    structures = [{"id": k, "name": name, "voxels": 48, "ml": 0.2} for k, name in enumerate(LUNGS, start=1)]
    result = {"structures": structures, "warnings": [], "slices": 0, "seconds": {}, "device": "cpu"}
    request.sendResult(result | {"model": {"name": "torso-ct", "version": "1.0.0", "digest": "sha256:0"}})
    panel.processEvents()


def run(panel, engine, **options):
    assert panel.ui.applyButton.enabled, panel.hint
    panel.click()
    answer(panel, engine, **options)
    return panel.widget._parameterNode.outputSegmentation


def choose(panel, node):
    panel.ui.inputSelector.setCurrentNode(node)
    panel.processEvents()


def voxels(volumeNode, segmentationNode, name):
    from SAM2AdaptLib.Scene import SegmentMasks

    grid = SegmentMasks.drawingGrid(volumeNode, segmentationNode)
    segmentId = segmentationNode.GetSegmentation().GetSegmentIdBySegmentName(name)
    return SegmentMasks.read(segmentationNode, [segmentId], grid)[0]


def correct(volumeNode, segmentationNode, name):
    """Draw three more voxels into a segment, as in the Segment Editor."""
    from SAM2AdaptLib.Scene import SegmentMasks

    grid = SegmentMasks.drawingGrid(volumeNode, segmentationNode)
    mask = np.zeros(SHAPE, np.uint8)
    mask[0, 14, 1:4] = 1
    segmentId = segmentationNode.GetSegmentation().GetSegmentIdBySegmentName(name)
    SegmentMasks.add(segmentationNode, segmentId, mask, grid)
    return voxels(volumeNode, segmentationNode, name)


def segmentations():
    return slicer.util.getNodesByClass("vtkMRMLSegmentationNode")


def table(panel):
    widget = panel.ui.resultsTable
    return [widget.item(row, 0).text() for row in range(widget.rowCount)]


def test_batch_replaces_only_what_a_run_made_and_nobody_has_changed(panel, engine):
    volumeNode = addVolume(panel, "a")
    drawing = addDrawing(volumeNode)
    before = voxels(volumeNode, drawing, "right lung")

    def batch(shift):
        panel.ui.batchButton.click()
        answer(panel, engine, shift)

    batch(0)
    assert segmentNames(drawing) == ["right lung"] and np.array_equal(voxels(volumeNode, drawing, "right lung"), before)
    _drawing, first = segmentations()
    assert segmentNames(first) == list(LUNGS)
    batch(1)  # nobody has touched the result of the batch before
    assert segmentations() == [drawing, first] and voxels(volumeNode, first, "left lung")[2, 3, 13] == 1
    corrected = correct(volumeNode, first, "left lung")
    batch(2)
    assert len(segmentations()) == 3 and np.array_equal(voxels(volumeNode, first, "left lung"), corrected)


def test_undo_keeps_corrections_and_says_so_and_redo_brings_the_result_back(panel, engine):
    volumeNode = addVolume(panel, "a")
    node = run(panel, engine)
    assert panel.ui.redoButton.isHidden()
    corrected = correct(volumeNode, node, "left lung")
    panel.ui.undoButton.click()
    assert segmentNames(node) == ["left lung"] and np.array_equal(voxels(volumeNode, node, "left lung"), corrected)
    assert panel.status == "Undone. You have changed left lung since the run, so that stays."
    panel.ui.redoButton.click()
    assert set(segmentNames(node)) == set(LUNGS)
    assert np.array_equal(voxels(volumeNode, node, "left lung"), corrected) and set(table(panel)) == set(LUNGS)


def test_redo_of_a_run_that_made_its_segmentation(panel, engine):
    volumeNode = addVolume(panel, "a")
    node = run(panel, engine)
    result = voxels(volumeNode, node, "right lung")
    panel.ui.undoButton.click()
    assert segmentations() == [] and panel.ui.resultsTable.isHidden() and not panel.ui.redoButton.isHidden()
    assert panel.ui.resultsLabel.text == "The result for a was undone."
    panel.ui.redoButton.click()
    (again,) = segmentations()
    assert panel.widget._parameterNode.outputSegmentation is again and table(panel) == list(LUNGS)
    assert np.array_equal(voxels(volumeNode, again, "right lung"), result)
    panel.ui.undoButton.click()
    other = addVolume(panel, "b")
    choose(panel, other)
    assert panel.ui.resultsCollapsibleButton.isHidden()  # there is nothing to redo on this volume


def test_results_follow_the_volume_and_name_it_and_its_segmentation_is_chosen_again(panel, engine):
    first, second = addVolume(panel, "a"), addVolume(panel, "b", seed=1)
    choose(panel, first)
    node = run(panel, engine)
    assert panel.ui.resultsLabel.text == "a, by torso-ct"
    choose(panel, second)
    assert panel.ui.resultsCollapsibleButton.isHidden() and panel.ui.outputSelector.currentNode() is None
    other = run(panel, engine, shift=1)
    assert panel.ui.resultsLabel.text == "b, by torso-ct"
    choose(panel, first)
    assert panel.ui.outputSelector.currentNode() is node and panel.ui.resultsLabel.text == "a, by torso-ct"
    run(panel, engine, shift=2)
    assert segmentations() == [node, other]  # no "a segmentation_1"


def test_a_run_that_ends_after_another_volume_was_chosen_does_not_show_its_result_there(panel, engine):
    first, second = addVolume(panel, "a"), addVolume(panel, "b", seed=1)
    choose(panel, first)
    panel.click()
    choose(panel, second)
    answer(panel, engine)
    assert panel.ui.outputSelector.currentNode() is None and panel.ui.resultsCollapsibleButton.isHidden()
    choose(panel, first)
    assert panel.ui.resultsLabel.text == "a, by torso-ct"


def test_what_happened_and_what_is_missing_are_two_lines(panel, engine):
    addVolume(panel, "a")
    run(panel, engine)
    assert panel.status.startswith("Found: right lung, left lung.") and panel.hint == ""
    panel.widget._parameterNode.model = ""
    panel.widget._parameterNode.skippedStructures = list(LUNGS)
    panel.widget._parameterNode.model = "torso-ct@1.0.0"
    panel.processEvents()
    assert not panel.ui.applyButton.enabled and panel.hint == "Check at least one structure under Advanced."
    assert panel.status.startswith("Found: right lung, left lung.")


def test_a_scene_that_is_loaded_with_the_panel_open_shows_its_volume_output_and_result(panel, engine, tmp_path):
    volumeNode = addVolume(panel, "a")
    node = run(panel, engine)
    panel.saveAndCloseScene(tmp_path, volumeNode, node)
    assert panel.ui.resultsCollapsibleButton.isHidden()
    panel.loadScene(tmp_path)
    (loaded,) = segmentations()
    assert panel.ui.inputSelector.currentNode().GetName() == "a" and panel.ui.outputSelector.currentNode() is loaded
    assert panel.ui.resultsLabel.text == "a, by torso-ct" and table(panel) == list(LUNGS)
    assert panel.widget._parameterNode.model == "torso-ct@1.0.0"


def test_uncertainty_is_one_volume_that_no_list_takes_for_an_image_and_undo_removes(panel, engine):
    from SAM2AdaptLib.Scene import Results, Volumes

    volumeNode = addVolume(panel, "a")
    panel.widget._parameterNode.uncertainty = True
    run(panel, engine, uncertainty=True)
    run(panel, engine, shift=1, uncertainty=True)
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    assert [node.GetName() for node in volumes] == ["a", "a uncertainty"]
    assert panel.ui.inputSelector.nodeCount() == panel.ui.batchVolumeList.count == 1
    assert Volumes.unlabelled() == [] and Results.uncertaintyOf(volumeNode) is volumes[1]
    panel.ui.undoButton.click()
    assert Results.uncertaintyOf(volumeNode) is None
    panel.ui.redoButton.click()
    assert Results.uncertaintyOf(volumeNode) is volumes[1] and volumes[1].GetDisplayNode()


def test_an_empty_scene_proposes_no_model_and_a_volume_the_best_measured_one_that_fits(panel, modelsFolder):
    from auto_segment_testing import writeModel

    writeModel(modelsFolder / "own.safetensors", name="one-epoch", metrics=None)  # newer than any other
    panel.widget._parameterNode.model = ""
    panel.widget.enter()
    assert panel.widget._parameterNode.model == "" and not panel.ui.modelTree.selectedItems()
    addVolume(panel, "a")
    choose(panel, slicer.util.getNode("a"))
    assert panel.ui.modelTree.selectedItems()[0].text(0).startswith("torso-ct")


def test_a_model_for_other_images_is_readable_and_warned_of_by_the_button(panel, engine):
    addVolume(panel, "a")
    panel.widget._parameterNode.model = "hippocampus-mr@1.0.0"
    panel.processEvents()
    assert panel.hint == "This model is for MR, but the volume looks like CT." and panel.ui.applyButton.enabled
    item = panel.ui.modelTree.selectedItems()[0]
    assert not item.icon(1).isNull() and contrast(panel.ui.modelTree.palette, item.foreground(0)) >= 4.5


def contrast(palette, brush):
    """Contrast of a text with the background of its list, as WCAG defines it; a brush without style is the default."""
    import qt

    text = brush.color() if brush.style() != qt.Qt.NoBrush else palette.color(qt.QPalette.Active, qt.QPalette.Text)
    light, dark = sorted(
        (luminance(color) for color in (text, palette.color(qt.QPalette.Active, qt.QPalette.Base))), reverse=True
    )
    return (light + 0.05) / (dark + 0.05)


def luminance(color):
    parts = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in color.getRgbF()[:3]]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_a_model_that_the_user_copied_from_a_bundled_one_is_listed_once(panel, modelsFolder):
    from sam2adapt.shared import files

    count = panel.ui.modelTree.topLevelItemCount
    source = files.bundled_folder() / "torso-ct.safetensors"
    (modelsFolder / "copy.safetensors").write_bytes(source.read_bytes())
    panel.widget.enter()
    assert panel.ui.modelTree.topLevelItemCount == count


def test_the_list_of_a_batch_follows_new_names(panel, engine):
    volumeNode = addVolume(panel, "a")
    volumeNode.SetName("renamed")
    panel.processEvents()
    assert panel.ui.batchVolumeList.item(0).text() == "renamed"


def test_a_region_that_is_not_placed_is_said_in_the_panel_without_a_box(panel, engine, dialogs):
    addVolume(panel, "a")
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    panel.widget._parameterNode.roi = region
    panel.click()
    assert "Region 'R' has not been placed." in panel.status and dialogs == [] and not panel.isRunning()
