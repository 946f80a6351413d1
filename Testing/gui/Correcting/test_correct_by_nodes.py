"""Markups and segments of the scene as what shows where a segment is wrong, chosen and applied in the panel."""

import numpy as np
import pytest
import slicer
import vtk
from correcting_testing import CorrectPanel, filledIn
from filling_testing import SHAPE, addDrawings, stack

pytest_plugins = ["effect_testing"]


@pytest.fixture
def panel(effects, scene, effectEngine):
    slicer.util.selectModule("SAM2Adapt")
    scribble = np.zeros(SHAPE, np.uint8)
    scribble[5:7, 2, 3:9] = 1
    volumeNode, segmentationNode = addDrawings({"heart": stack(range(2, 9)), "scribble": scribble})
    panel = CorrectPanel(volumeNode, segmentationNode, effectEngine, "heart")
    panel.options.kind, panel.options.isPositive, panel.options.carrySpinBox.value = "point", True, 0
    yield panel
    panel.editor.setActiveEffectByName("")


def choose(panel, node, segment=""):
    panel.options.nodeSelector.setCurrentNode(node)
    if segment:
        box = panel.options.segmentComboBox
        box.setCurrentIndex(box.findText(segment))


def addPoints(panel, voxels, className="vtkMRMLMarkupsFiducialNode"):
    node = slicer.mrmlScene.AddNewNodeByClass(className, "F")
    for voxel in voxels:
        node.AddControlPointWorld(vtk.vtkVector3d(*panel.position(voxel)))
    return node


def test_a_point_list_is_applied_as_one_step(panel):
    before = panel.mask("heart")
    choose(panel, addPoints(panel, [(3, 2, 5), (20, 16, 7)]))
    assert panel.options.segmentComboBox.isHidden()
    panel.options.removeButton.click()
    panel.options.applyButton.click()
    request = panel.engine.last
    assert request.params["gestures"] == [
        {"kind": "point", "positive": False, "voxels": [[3, 2, 5]]},
        {"kind": "point", "positive": False, "voxels": [[20, 16, 7]]},
    ]
    assert request.params["new"] == 2 and panel.message == "Correcting…"
    panel.answer(filledIn(request, slice(5, 8), slice(8, 10), slice(10, 12), 0), slices=[5, 7])
    assert "12 voxels changed, in 3 slices." in panel.message and not panel.mask("heart")[5:8, 8:10, 10:12].any()
    panel.editor.undo()
    assert np.array_equal(panel.mask("heart"), before)


def test_a_segment_is_applied_and_stays_as_it_was_drawn(panel):
    scribble, before = panel.mask("scribble"), panel.mask("heart")
    panel.node.SetOverwriteMode(panel.node.OverwriteAllSegments)
    choose(panel, panel.segmentation, "scribble")
    assert not panel.options.segmentComboBox.isHidden()
    assert [panel.options.segmentComboBox.itemText(n) for n in range(panel.options.segmentComboBox.count)] == [
        "scribble"
    ]
    panel.options.applyButton.click()
    request = panel.engine.last
    (gesture,) = request.params["gestures"]
    assert gesture["kind"] == "drawn" and gesture["positive"] and len(gesture["voxels"]) == 12
    assert request.params["new"] == 1
    panel.answer(filledIn(request, slice(5, 7), slice(0, 6), slice(0, 12)), slices=[5, 6])
    assert panel.mask("heart")[5:7, :6, :12].all() and np.array_equal(panel.mask("scribble"), scribble)
    panel.click((20, 16, 5), isControl=True)  # what was shown before stays so, as far as it lies in this slice
    earlier = panel.engine.last.params["gestures"][0]
    assert earlier["voxels"] == [[i, 2, 5] for i in range(3, 9)] and panel.engine.last.params["new"] == 1
    panel.answer(lambda mask: mask)
    panel.editor.undo()
    assert np.array_equal(panel.mask("heart"), before) and np.array_equal(panel.mask("scribble"), scribble)


def test_a_turned_box_changes_nothing_beside_it(panel):
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    turned = np.eye(4)
    turned[:2, :2] = np.array([[1, -1], [1, 1]]) / np.sqrt(2)
    turned[:3, 3] = panel.position((12, 10, 5))
    region.SetSize(4, 4, 4)
    region.SetAndObserveObjectToNodeMatrix(slicer.util.vtkMatrixFromArray(turned))
    before = panel.mask("heart")
    choose(panel, region)
    panel.options.removeButton.click()
    panel.options.applyButton.click()
    request = panel.engine.last
    low, high = np.array(request.params["gestures"][0]["voxels"])
    box = tuple(slice(a, b + 1) for a, b in zip(low[::-1], high[::-1], strict=True))

    def cleared(mask):
        mask[box[0].start - request.params["roi"][4] : box[0].stop - request.params["roi"][4], *box[1:]] = 0
        return mask

    panel.answer(cleared)
    after = panel.mask("heart")
    assert not after[5, 10, 12] and after[5, low[1], low[0]] and np.array_equal(after[:4], before[:4])


def test_a_box_over_several_slices_is_remembered_with_both_corners(panel):
    region = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "R")
    region.SetSize(2, 2, 9)
    region.SetCenter(*panel.position((12, 10, 5)))
    choose(panel, region)
    panel.options.removeButton.click()
    panel.options.applyButton.click()
    (box,) = panel.engine.last.params["gestures"]
    (i0, j0, k0), (i1, j1, k1) = box["voxels"]
    assert (k0, k1) == (4, 6)
    change = filledIn(panel.engine.last, slice(k0, k1 + 1), slice(j0, j1 + 1), slice(i0, i1 + 1), 0)
    panel.answer(change, slices=[4, 5, 6])
    panel.click((20, 16, 5))
    assert panel.engine.last.params["gestures"][0] == box and panel.engine.last.params["roi"][4:] == [5, 6]


def test_what_is_offered_follows_the_scene(panel, scene):
    options = panel.options
    options.applyButton.click()
    assert panel.message == "Choose markups, or a segment other than the one to correct, under “From the scene”."
    choose(panel, panel.segmentation)
    panel.choose("scribble")
    assert options.segmentComboBox.currentText == "heart"
    _, other = addDrawings({"stroke": stack([3], 1)})
    choose(panel, other)
    assert options.segmentComboBox.currentText == "stroke"
    other.GetSegmentation().RemoveSegment(other.GetSegmentation().GetNthSegmentID(0))
    options.applyButton.click()
    assert panel.message.startswith("Choose markups")
    scene.RemoveNode(other)
    assert options.nodeSelector.currentNode() is panel.segmentation and options.segmentComboBox.currentText == "heart"
    choose(panel, addPoints(panel, []))
    options.applyButton.click()
    assert panel.message == "'F' has not been placed. Place it in a slice view."
