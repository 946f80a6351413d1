"""Slicer's Segment Editor with its scripted effects, as far as Python code can see them.

After the C++ sources of qMRMLSegmentEditorWidget: effects of the factory are cloned for each editor, get its parameter
node and frame, and are told of what changes. Masking, undo and grids are Slicer's own logic. Painting is not here.
"""

import contextlib

import slicer
import vtk
from PySide6 import QtGui, QtWidgets
from PySide6.QtCore import Signal, Slot

from . import records
from .emulated import emulated
from .mrml_widgets import qMRMLWidget
from .observers import Observers
from .pythonqt import keep, unwrap
from .segment_effects import qSlicerSegmentEditorEffectFactory


@emulated
class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Choice of segmentation and volume, a button for each effect, the options of the active one, undo."""

    segmentationNodeChanged = Signal(object)
    sourceVolumeNodeChanged = Signal(object)
    vtkSignals = {  # noqa: RUF012  # read by name, never changed
        "segmentationNodeChanged": "vtkMRMLSegmentationNode*", "sourceVolumeNodeChanged": "vtkMRMLVolumeNode*"
    }  # fmt: skip

    def __init__(self, *args):
        super().__init__(*args)
        self._begin()

    def _begin(self) -> None:
        self._logic = slicer.vtkSlicerSegmentEditorLogic()
        self._node = self._segmentation = self._volume = self._effect = None
        self._effects, self._effectButtons = [], {}
        self._sceneObservers, self._nodeObservers, self._segmentationObservers = (Observers(self) for _ in range(3))
        layout = QtWidgets.QVBoxLayout(self)
        self._addButton = _button(layout, "AddSegmentButton", "Add", lambda *_: self._logic.AddEmptySegment())
        self._effectsFrame = _frame(layout, "EffectsGroupBox", QtWidgets.QHBoxLayout)
        self._optionsFrame = _frame(layout, "EffectsOptionsFrame", QtWidgets.QVBoxLayout)
        self._undoButton = _button(layout, "UndoButton", "Undo", lambda *_: self.undo())
        self._redoButton = _button(layout, "RedoButton", "Redo", lambda *_: self.redo())
        self._logic.AddObserver(self._logic.SegmentationHistoryChangedEvent, lambda *_: self._updateUndoButtons())
        self.updateEffectList()

    @Slot(object)
    def setMRMLScene(self, scene) -> None:
        if scene is self.mrmlScene():
            return
        super().setMRMLScene(scene)
        self._logic.SetMRMLApplicationLogic(slicer.app.applicationLogic())
        self._logic.SetMRMLScene(scene)
        self._logic.SetVerbose(True)
        self._sceneObservers.clear()
        if scene is not None:
            self._sceneObservers.add(scene, [scene.EndCloseEvent], self._onSceneClosed)
            self._sceneObservers.add(scene, [scene.EndBatchProcessEvent], self.updateWidgetFromMRML)
        self.updateWidgetFromMRML()

    def _onSceneClosed(self) -> None:
        self._initializeNode()
        self.updateWidgetFromMRML()

    @Slot()
    def updateEffectList(self) -> None:
        """Clone what the factory has and this editor has not yet."""
        for registered in qSlicerSegmentEditorEffectFactory.instance()._effects:
            if self.effectByName(registered.name) is not None:
                continue
            effect = unwrap(registered._python.clone())
            effect._editor = self
            keep(effect)
            self._effects.append(effect)
            if self._node is not None:
                effect._node = self._node
                effect._call("setMRMLDefaults")
                self._nodeObservers.add(self._node, [self._node.EffectParameterModified], effect.updateGUIFromMRML)
            self._addEffectButton(effect)
            effect._call("setupOptionsFrame")
            effect._frame.setVisible(False)
            self._optionsFrame.layout().addWidget(effect._frame)

    def _addEffectButton(self, effect) -> None:
        button = QtWidgets.QToolButton()
        button.setIcon(effect._call("icon") or QtGui.QIcon())
        button.setText(effect.title)
        button.setObjectName(effect.name)
        button.setCheckable(True)
        button.clicked.connect(lambda *_: self.setActiveEffect(effect))
        self._effectsFrame.layout().addWidget(button)
        self._effectButtons[effect.name] = button

    @Slot(object)
    def setMRMLSegmentEditorNode(self, node) -> None:
        if node is self._node:
            return
        self._nodeObservers.clear()
        self._node = node
        self._logic.SetSegmentEditorNode(node)
        if node is None:
            return
        self._nodeObservers.add(node, [vtk.vtkCommand.ModifiedEvent], self.updateWidgetFromMRML)
        for effect in self._effects:
            self._nodeObservers.add(node, [node.EffectParameterModified], effect.updateGUIFromMRML)
        self._initializeNode()
        self.updateWidgetFromMRML()

    def _initializeNode(self) -> None:
        if self._node is None:
            return
        with _oneEvent(self._node):
            for effect in self._effects:
                effect._node = self._node
                effect._call("setMRMLDefaults")

    @Slot(result=object)
    def mrmlSegmentEditorNode(self):
        return self._node

    #
    # Updating
    #

    @Slot()
    def updateWidgetFromMRML(self) -> None:
        """Follow the parameter node; the only place where effects are activated."""
        scene = self.mrmlScene()
        if scene is None or scene.IsClosing() or scene.IsBatchProcessing() or self._node is None:
            return
        with _oneEvent(self._node):
            self._updateSegmentation()
            self._updateVolume()
            self._addButton.setEnabled(self._logic.CanAddSegments())
            self._updateEffects()
            self._updateUndoButtons()

    def _updateSegmentation(self) -> None:
        node = self._logic.GetSegmentationNode()
        if node is self._segmentation:
            return
        self._segmentationObservers.clear()
        self._segmentation = node
        if node is not None:
            self._segmentationObservers.add(node, [vtk.vtkCommand.ModifiedEvent], self.updateWidgetFromMRML)
            role = slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
            self._logic.SetSourceVolumeNode(node.GetNodeReference(role))
            node.CreateDefaultDisplayNodes()
            if node.GetSegmentation().GetNumberOfSegments() > 0:
                self._logic.SelectFirstSegment(False)
        self.segmentationNodeChanged.emit(node)

    def _updateVolume(self) -> None:
        volume = self._logic.GetSourceVolumeNode()
        if self._segmentation is None or volume is self._volume:
            return
        self._volume = volume
        self.sourceVolumeNodeChanged.emit(volume)
        for effect in self._effects:
            effect._call("sourceVolumeNodeChanged")
            effect._call("masterVolumeNodeChanged")

    def _updateEffects(self) -> None:
        isEnabled = self._node.GetSourceVolumeNode() is not None
        self._effectsFrame.setEnabled(isEnabled)
        self._optionsFrame.setEnabled(isEnabled)
        hasSegments = self._segmentation is not None and self._segmentation.GetSegmentation().GetNumberOfSegments() > 0
        isSelected = hasSegments and bool(self._node.GetSelectedSegmentID())
        for effect in self._effects:
            isPossible = not effect.requireSegments or (hasSegments and (isSelected or not effect.perSegment))
            self._effectButtons[effect.name].setEnabled(isPossible)
        active = self.effectByName(self._node.GetActiveEffectName() or "")
        if active is self._effect:
            return
        if self._effect is not None:
            self._effect.deactivate()
        if active is not None and not self._logic.TrivialSetSourceRepresentationToBinaryLabelmap():
            records.problem("The Segment Editor would ask whether to convert the segmentation to binary label maps")
            active = None
        if active is not None:
            active.activate()
            active.helpText()
        for effect in self._effects:
            self._effectButtons[effect.name].setChecked(effect is active)
        self._effect = active

    def _updateUndoButtons(self) -> None:
        self._undoButton.setEnabled(self._logic.CanUndo())
        self._redoButton.setEnabled(self._logic.CanRedo())

    #
    # What Python code asks for and changes
    #

    @Slot(result="QStringList")
    def availableEffectNames(self) -> list[str]:
        return [effect.name for effect in self._effects]

    @Slot(str, result=object)
    def effectByName(self, name: str):
        return next((effect for effect in self._effects if effect.name == name), None)

    @Slot(result=object)
    def activeEffect(self):
        return self._effect

    @Slot(object)
    def setActiveEffect(self, effect) -> None:
        if self._node is not None:
            self._node.SetActiveEffectName(effect.name if effect is not None else "")
        elif effect is not None:
            records.problem("The Segment Editor has no parameter node")

    @Slot(str)
    def setActiveEffectByName(self, name: str) -> None:
        self.setActiveEffect(self.effectByName(name))

    @Slot(result=object)
    def segmentationNode(self):
        return self._logic.GetSegmentationNode()

    @Slot(object)
    def setSegmentationNode(self, node) -> None:
        if node is not self._logic.GetSegmentationNode():
            self._logic.SetSegmentationNode(node)
            self.setActiveEffect(None)

    @Slot(result=str)
    def segmentationNodeID(self) -> str:
        node = self.segmentationNode()
        return node.GetID() if node is not None else ""

    @Slot(result=object)
    def sourceVolumeNode(self):
        return self._logic.GetSourceVolumeNode()

    @Slot(object)
    def setSourceVolumeNode(self, node) -> None:
        self._logic.SetSourceVolumeNode(node)

    @Slot(result=str)
    def sourceVolumeNodeID(self) -> str:
        node = self.sourceVolumeNode()
        return node.GetID() if node is not None else ""

    @Slot(str)
    def setSourceVolumeNodeID(self, nodeId: str) -> None:
        self.setSourceVolumeNode(self.mrmlScene().GetNodeByID(nodeId or ""))

    @Slot(result=str)
    def currentSegmentID(self) -> str:
        return self._logic.GetCurrentSegmentID()

    @Slot(str)
    def setCurrentSegmentID(self, segmentId: str) -> None:
        if self._node is not None:
            self._node.SetSelectedSegmentID(segmentId)

    @Slot()
    def saveStateForUndo(self) -> None:
        self._logic.SaveStateForUndo()

    @Slot()
    def undo(self) -> None:
        self._logic.Undo()

    @Slot()
    def redo(self) -> None:
        self._logic.Redo()


@contextlib.contextmanager
def _oneEvent(node):
    """Slicer's MRMLNodeModifyBlocker: what is changed inside is told afterwards, at once."""
    wasModifying = node.StartModify()
    try:
        yield
    finally:
        node.EndModify(wasModifying)


def _button(layout, name: str, text: str, onClick) -> QtWidgets.QPushButton:
    button = QtWidgets.QPushButton(text)
    button.setObjectName(name)
    button.setEnabled(False)
    button.clicked.connect(onClick)
    layout.addWidget(button)
    return button


def _frame(layout, name: str, kind: type) -> QtWidgets.QFrame:
    frame = QtWidgets.QFrame()
    frame.setObjectName(name)
    frame.setEnabled(False)
    kind(frame)
    layout.addWidget(frame)
    return frame
