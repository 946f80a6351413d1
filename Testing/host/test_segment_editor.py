"""Slicer's own effects, unmodified, in the stand-in of the Segment Editor: the proof that it behaves as effects expect.

Their sources are not part of this repository: SLICER_EDITOR_EFFECTS names a folder that holds them.
"""

import os
from pathlib import Path

import numpy as np
import pytest
import slicer
from host.editor_effects import SOURCES

FOLDER = os.environ.get(SOURCES)
pytestmark = pytest.mark.skipif(
    not FOLDER, reason=f"needs Slicer's Modules/Loadable/Segmentations/EditorEffects/Python, named by {SOURCES}"
)
SHAPE = (9, 20, 24)


@pytest.fixture
def editor(scene):
    """An editor with the effects, each made from its file as Slicer does at its start."""
    import qSlicerSegmentationsEditorEffectsPythonQt as effects
    import SegmentEditorEffects  # noqa: F401  # first, as Slicer's module Segment Editor does

    for name in ("FillBetweenSlices", "GrowFromSeeds"):
        effect = effects.qSlicerSegmentEditorScriptedEffect(None)
        path = Path(FOLDER) / "SegmentEditorEffects" / f"SegmentEditor{name}Effect.py"
        assert effect.setPythonSource(path.as_posix())
        effect.self().register()
    slicer.util.selectModule("SegmentEditor")
    widget = slicer.util.getModuleWidget("SegmentEditor").editor
    widget.updateEffectList()
    widget.setMRMLSegmentEditorNode(scene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
    yield widget
    widget.setActiveEffectByName("")


def segmentationOf(editor, masks):
    """Choose a volume, bright where the first mask is, and a segmentation with these masks in the editor."""
    voxels = 100 * np.maximum.reduce([masks[0], np.roll(masks[0], 1, 0), np.roll(masks[0], -1, 0)])
    volumeNode = slicer.util.addVolumeFromArray(voxels.astype(np.int16), name="volume")
    node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "drawings")
    node.CreateDefaultDisplayNodes()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
    for number, mask in enumerate(masks):
        segmentId = node.GetSegmentation().AddEmptySegment(f"s{number}", f"s{number}")
        slicer.util.updateSegmentBinaryLabelmapFromArray(mask, node, segmentId, volumeNode)
    editor.setSegmentationNode(node)
    editor.setSourceVolumeNode(volumeNode)
    return volumeNode, node


def mask(*slices):
    voxels = np.zeros(SHAPE, np.uint8)
    voxels[list(slices), 6:14, 6:16] = 1
    return voxels


def arrayOf(node, segmentId, volumeNode):
    return slicer.util.arrayFromSegmentBinaryLabelmap(node, segmentId, volumeNode)


def test_fill_between_slices(editor):
    volumeNode, node = segmentationOf(editor, [mask(1, 4, 7)])
    editor.setActiveEffectByName("Fill between slices")
    effect = editor.activeEffect().self()
    assert effect.previewButton.text == "Initialize" and not effect.applyButton.enabled
    effect.previewButton.click()
    assert effect.getPreviewNode().GetName() == "drawings preview" and effect.applyButton.enabled
    assert np.array_equal(arrayOf(node, "s0", volumeNode), mask(1, 4, 7))
    effect.applyButton.click()
    assert np.array_equal(arrayOf(node, "s0", volumeNode), mask(*range(1, 8)))
    assert effect.getPreviewNode() is None and not effect.applyButton.enabled
    editor.undo()
    assert np.array_equal(arrayOf(node, "s0", volumeNode), mask(1, 4, 7))


def test_fill_between_slices_follows_edits(editor, processEvents):
    volumeNode, node = segmentationOf(editor, [mask(1, 4)])
    editor.setActiveEffectByName("Fill between slices")
    effect = editor.activeEffect().self()
    effect.previewButton.click()
    slicer.util.updateSegmentBinaryLabelmapFromArray(mask(1, 4, 7), node, "s0", volumeNode)
    wanted = mask(*range(1, 8))
    assert processEvents(10, until=lambda: arrayOf(effect.getPreviewNode(), "s0", volumeNode).sum() == wanted.sum())
    effect.cancelButton.click()
    assert effect.getPreviewNode() is None
    assert np.array_equal(arrayOf(node, "s0", volumeNode), mask(1, 4, 7))


def test_grow_from_seeds(editor):
    inside = mask(4)
    outside = np.zeros(SHAPE, np.uint8)
    outside[[1, 4, 7], 1:3, 1:23] = 1
    volumeNode, node = segmentationOf(editor, [inside, outside])
    editor.setActiveEffectByName("Grow from seeds")
    effect = editor.activeEffect().self()
    effect.previewButton.click()
    grown = arrayOf(effect.getPreviewNode(), "s0", volumeNode)
    assert grown.sum() > inside.sum() and grown[4, 10, 10]
    effect.cancelButton.click()
    assert np.array_equal(arrayOf(node, "s0", volumeNode), inside)
