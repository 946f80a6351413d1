"""A stand-in for Slicer's Python package SegmentEditorEffects: the base of effects that complete a drawing.

It has the widgets, methods and life cycle of Slicer's base as effects see them, and no algorithm. Slicer's own package
takes its place where SLICER_EDITOR_EFFECTS names the folder that holds it (Slicer's sources:
Modules/Loadable/Segmentations/EditorEffects/Python).
"""

import importlib
import os
import sys
import types

import slicer

#: Environment variable with the folder of Slicer's own package.
SOURCES = "SLICER_EDITOR_EFFECTS"
_ROLE, _OWNER = "SegmentationResultPreview", "SegmentationResultPreviewOwnerEffect"


class AbstractScriptedSegmentEditorEffect:
    def __init__(self, scriptedEffect):
        self.scriptedEffect = scriptedEffect

    def register(self):
        slicer.qSlicerSegmentEditorEffectFactory.instance().registerEffect(self.scriptedEffect)

    def cleanup(self):
        pass


class AbstractScriptedSegmentEditorAutoCompleteEffect(AbstractScriptedSegmentEditorEffect):
    def __init__(self, scriptedEffect):
        import qt

        super().__init__(scriptedEffect)
        scriptedEffect.perSegment = False
        self.delayedAutoUpdateTimer = qt.QTimer()
        self.delayedAutoUpdateTimer.setSingleShot(True)
        self.delayedAutoUpdateTimer.interval = 1000
        self.delayedAutoUpdateTimer.connect("timeout()", self.onPreview)
        self.observedSegmentation, self.segmentationNodeObserverTags = None, []

    def cleanup(self):
        self.delayedAutoUpdateTimer.disconnect("timeout()", self.onPreview)

    def setMRMLDefaults(self):
        self.scriptedEffect.setParameterDefault("AutoUpdate", "1")

    def setupOptionsFrame(self):
        import ctk
        import qt

        self.autoUpdateCheckBox = qt.QCheckBox("Auto-update")
        self.autoUpdateCheckBox.setChecked(True)
        self.previewButton = qt.QPushButton("Initialize")
        self.previewOpacitySlider = ctk.ctkSliderWidget()
        self.previewOpacitySlider.maximum = 1.0
        self.previewOpacitySlider.singleStep = 0.05
        self.previewOpacitySlider.spinBoxVisible = False
        self.previewShow3DButton = qt.QPushButton("Show 3D")
        self.previewShow3DButton.setCheckable(True)
        self.cancelButton, self.applyButton = qt.QPushButton("Cancel"), qt.QPushButton("Apply")
        rows = (
            ("Preview:", self.autoUpdateCheckBox, self.previewButton),
            (
                "Display:",
                qt.QLabel("inputs"),
                self.previewOpacitySlider,
                qt.QLabel("results"),
                self.previewShow3DButton,
            ),
            ("", self.cancelButton, self.applyButton),
        )
        for label, *widgets in rows:
            layout = qt.QHBoxLayout()
            for widget in widgets:
                layout.addWidget(widget)
            if label:
                self.scriptedEffect.addLabeledOptionsWidget(label, layout)
            else:
                self.scriptedEffect.addOptionsWidget(layout)
        self.previewButton.connect("clicked()", self.onPreview)
        self.cancelButton.connect("clicked()", self.onCancel)
        self.applyButton.connect("clicked()", self.onApply)
        self.previewOpacitySlider.connect("valueChanged(double)", self.updateMRMLFromGUI)
        self.previewShow3DButton.connect("toggled(bool)", self.updateMRMLFromGUI)
        self.autoUpdateCheckBox.connect("stateChanged(int)", self.updateMRMLFromGUI)

    def _owner(self):
        return self.scriptedEffect.parameter(_OWNER) if self.scriptedEffect.parameterDefined(_OWNER) else ""

    def getPreviewNode(self):
        node = self.scriptedEffect.nodeReference(_ROLE)
        return node if node and self._owner() in ("", self.scriptedEffect.name) else None

    def updateGUIFromMRML(self):
        node = self.getPreviewNode()
        for button in (self.cancelButton, self.applyButton, self.previewShow3DButton, self.autoUpdateCheckBox):
            button.setEnabled(node is not None)
        self.previewOpacitySlider.setEnabled(node is not None)
        self.previewButton.text = "Update" if node else "Initialize"
        if node:
            self._showSilently(self.previewOpacitySlider, "value", self.getPreviewOpacity())
            self._showSilently(self.previewShow3DButton, "checked", self.getPreviewShow3D())
        else:
            self.delayedAutoUpdateTimer.stop()
        self.observeSegmentation(node is not None and self.autoUpdateCheckBox.isChecked())
        self._showSilently(self.autoUpdateCheckBox, "checked", self.scriptedEffect.integerParameter("AutoUpdate") != 0)

    def updateMRMLFromGUI(self):
        if self.getPreviewNode():
            self.setPreviewOpacity(self.previewOpacitySlider.value)
            self.setPreviewShow3D(self.previewShow3DButton.checked)
        self.scriptedEffect.setParameter("AutoUpdate", 1 if self.autoUpdateCheckBox.isChecked() else 0)

    def observeSegmentation(self, enabled):
        node = self.scriptedEffect.parameterSetNode().GetSegmentationNode()
        segmentation = node.GetSegmentation() if enabled and node else None
        if segmentation is self.observedSegmentation:
            return
        for tag in self.segmentationNodeObserverTags:
            self.observedSegmentation.RemoveObserver(tag)
        self.observedSegmentation, self.segmentationNodeObserverTags = segmentation, []
        s = slicer.vtkSegmentation
        for event in (s.SegmentAdded, s.SegmentRemoved, s.SegmentModified, s.SourceRepresentationModified):
            if segmentation is not None:
                self.segmentationNodeObserverTags.append(segmentation.AddObserver(event, self.onSegmentationModified))

    def reset(self):
        self.delayedAutoUpdateTimer.stop()
        self.observeSegmentation(False)
        if node := self.scriptedEffect.nodeReference(_ROLE):
            self.scriptedEffect.setCommonNodeReference(_ROLE, None)
            slicer.mrmlScene.RemoveNode(node)
            self.scriptedEffect.setCommonParameter(_OWNER, "")
        self.scriptedEffect.parameterSetNode().GetSegmentationNode().GetDisplayNode().SetOpacity(1.0)
        self.updateGUIFromMRML()

    def onCancel(self):
        self.reset()

    def setPreviewOpacity(self, opacity):
        self.scriptedEffect.parameterSetNode().GetSegmentationNode().GetDisplayNode().SetOpacity(1.0 - opacity)
        if node := self.getPreviewNode():
            node.GetDisplayNode().SetOpacity(opacity)
            node.GetDisplayNode().SetOpacity3D(opacity)
        self._showSilently(self.previewOpacitySlider, "value", opacity)

    def getPreviewOpacity(self):
        return self.getPreviewNode().GetDisplayNode().GetOpacity() if self.getPreviewNode() else 0.6

    def setPreviewShow3D(self, show):
        if node := self.getPreviewNode():
            node.CreateClosedSurfaceRepresentation() if show else node.RemoveClosedSurfaceRepresentation()
        self._showSilently(self.previewShow3DButton, "checked", show)

    def getPreviewShow3D(self):
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        node = self.getPreviewNode()
        return bool(node) and node.GetSegmentation().ContainsRepresentation(surface)

    @staticmethod
    def _showSilently(widget, name, value):
        blocked = widget.blockSignals(True)
        setattr(widget, name, value)
        widget.blockSignals(blocked)


def install() -> None:
    """Make SegmentEditorEffects importable, Slicer's own where it is."""
    if folder := os.environ.get(SOURCES):
        sys.path.append(folder)
        return
    module = sys.modules["SegmentEditorEffects"] = types.ModuleType("SegmentEditorEffects")
    for base in (AbstractScriptedSegmentEditorEffect, AbstractScriptedSegmentEditorAutoCompleteEffect):
        setattr(module, base.__name__, base)


def slicersOwn(name: str):
    """An effect's class of Slicer's package, None without it."""
    return getattr(importlib.import_module("SegmentEditorEffects"), name, None)
