"""Slicer's Segment Editor, opened on what a panel shows."""

import slicer


def show(volumeNode, segmentationNode, effect=""):
    """Open the module Segment Editor.

    :param effect: name of the effect to choose, "" for the one that is chosen there.
    """
    slicer.util.selectModule("SegmentEditor")
    editor = slicer.util.getModuleWidget("SegmentEditor").editor
    editor.setSegmentationNode(segmentationNode)
    editor.setSourceVolumeNode(volumeNode)
    if effect:
        editor.setActiveEffectByName(effect)
