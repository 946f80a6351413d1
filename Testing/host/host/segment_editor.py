"""Slicer's Segment Editor with its scripted effects, as far as Python code can see them.

After the C++ headers of Slicer's EditorEffects and qMRMLSegmentEditorWidget: effects of the factory are cloned for each
editor, get its parameter node and frame, and are told of what changes. Painting is not here.
"""

import importlib.util
import sys
import types
from pathlib import Path

import slicer
import vtk
from PySide6 import QtCore, QtGui, QtWidgets

from . import masking, records
from .emulated import emulated, stored
from .mrml_widgets import Observers, qMRMLWidget
from .pythonqt import keep, unwrap, wrap, wrapperClassOf

#: What stands for a filter that slicer-core lacks: the one that Slicer used before it.
_FILTERS = {"vtkITKGrowCut": "vtkImageGrowCutSegment"}


@emulated
class qSlicerSegmentEditorScriptedEffect(QtCore.QObject):
    """The C++ half of an effect; calls the Python half, and leaves out what that has not."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._python = self._node = self._editor = None
        self._active, self._source = False, ""
        self._frame = QtWidgets.QFrame()
        QtWidgets.QFormLayout(self._frame).setContentsMargins(4, 4, 4, 4)

    name = stored("name", str, "UnnamedScriptedEffect")
    title = stored("title", str, "")
    perSegment = stored("perSegment", bool, True)
    requireSegments = stored("requireSegments", bool, True)
    showEffectCursorInSliceView = stored("showEffectCursorInSliceView", bool, True)
    showEffectCursorInThreeDView = stored("showEffectCursorInThreeDView", bool, False)

    @QtCore.Slot(str, result=bool)
    def setPythonSource(self, path: str) -> bool:
        """Load the file as a module that is named after its folder, and make its class that is named after it."""
        file = Path(path)
        className = file.stem if file.stem.endswith("Effect") else f"{file.stem}Effect"
        module = sys.modules.get(file.parent.name)
        if not hasattr(module, className):
            specification = importlib.util.spec_from_file_location(file.parent.name, file)
            module = sys.modules[file.parent.name] = importlib.util.module_from_spec(specification)
            specification.loader.exec_module(module)
        self._python = getattr(module, className)(wrap(self))
        self._source = path
        setattr(slicer, file.parent.name, self._python)
        return True

    @QtCore.Slot(result=str)
    def pythonSource(self) -> str:
        return self._source

    @QtCore.Slot(result=object)
    def self(self):
        return self._python

    def _call(self, method: str, *arguments):
        if hasattr(self._python, method):
            return records.callSlot(getattr(self._python, method), [wrap(argument) for argument in arguments])
        return None

    @QtCore.Slot()
    def updateGUIFromMRML(self) -> None:
        if self._active:
            self._call("updateGUIFromMRML")

    @QtCore.Slot()
    def updateMRMLFromGUI(self) -> None:
        self._call("updateMRMLFromGUI")

    @QtCore.Slot()
    def activate(self) -> None:
        self._active = True
        self._frame.setVisible(True)
        self.updateGUIFromMRML()
        self._call("activate")

    @QtCore.Slot()
    def deactivate(self) -> None:
        self._active = False
        self._frame.setVisible(False)
        self._call("deactivate")

    @QtCore.Slot(result=bool)
    def active(self) -> bool:
        return self._active

    @QtCore.Slot(result=str)
    def helpText(self) -> str:
        return self._python.helpText()

    @QtCore.Slot(result=object)
    def parameterSetNode(self):
        return self._node

    @QtCore.Slot(result=object)
    def scene(self):
        return self._node.GetScene() if self._node is not None else None

    @QtCore.Slot(result=object)
    def optionsFrame(self):
        return self._frame

    @QtCore.Slot(result=object)
    def optionsLayout(self):
        return self._frame.layout()

    @QtCore.Slot(object)
    def addOptionsWidget(self, widget) -> None:
        self._adopt(widget)
        self._frame.layout().addRow(widget)

    @QtCore.Slot(str, object, result=object)
    def addLabeledOptionsWidget(self, text: str, widget):
        self._adopt(widget)
        label = QtWidgets.QLabel(text)
        self._frame.layout().addRow(label, widget)
        return label

    def _adopt(self, widget) -> None:
        if isinstance(widget, QtWidgets.QWidget):
            widget.setParent(self._frame)
            policy = QtWidgets.QSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.MinimumExpanding)
            policy.setHeightForWidth(widget.hasHeightForWidth())
            widget.setSizePolicy(policy)

    @QtCore.Slot(str, result=str)
    def parameter(self, name: str) -> str:
        value = self._node.GetAttribute(f"{self.name}.{name}")
        value = self._node.GetAttribute(name) if value is None else value
        if value is None:
            records.problem(f"{self.name} has no parameter {name}")
        return value or ""

    @QtCore.Slot(str, result=int)
    def integerParameter(self, name: str) -> int:
        return int(self.parameter(name) or 0)

    @QtCore.Slot(str, result=float)
    def doubleParameter(self, name: str) -> float:
        return float(self.parameter(name) or 0)

    @QtCore.Slot(str, result=bool)
    def parameterDefined(self, name: str) -> bool:
        return self.commonParameterDefined(f"{self.name}.{name}")

    @QtCore.Slot(str, result=bool)
    def commonParameterDefined(self, name: str) -> bool:
        return self._node is not None and bool(self._node.GetAttribute(name))

    @QtCore.Slot(str, object)
    def setParameter(self, name: str, value) -> None:
        self.setCommonParameter(f"{self.name}.{name}", value)

    @QtCore.Slot(str, object)
    def setParameterDefault(self, name: str, value) -> None:
        if not self.parameterDefined(name):
            self.setParameter(name, value)

    @QtCore.Slot(str, object)
    def setCommonParameter(self, name: str, value) -> None:
        if self._node is None:
            records.problem(f"{self.name}: parameter {name} is set without a parameter node")
        elif (self._node.GetAttribute(name) or "") != str(value):
            disabled = self._node.GetDisableModifiedEvent()
            self._node.SetDisableModifiedEvent(1)
            self._node.SetAttribute(name, str(value))
            self._node.SetDisableModifiedEvent(disabled)
            self._node.InvokeCustomModifiedEvent(self._node.EffectParameterModified)

    @QtCore.Slot(str, result=object)
    def nodeReference(self, name: str):
        if self._node is None:
            return None
        return self._node.GetNodeReference(f"{self.name}.{name}") or self._node.GetNodeReference(name)

    @QtCore.Slot(str, object)
    def setNodeReference(self, name: str, node) -> None:
        self.setCommonNodeReference(f"{self.name}.{name}", node)

    @QtCore.Slot(str, object)
    def setCommonNodeReference(self, name: str, node) -> None:
        if node is not self._node.GetNodeReference(name):
            self._node.SetNodeReferenceID(name, node.GetID() if node else None)
            self._node.InvokeCustomModifiedEvent(self._node.EffectParameterModified)

    @QtCore.Slot()
    def saveStateForUndo(self) -> None:
        self._editor._saveState()

    @QtCore.Slot(result=object)
    def sourceVolumeImageData(self):
        return self._editor._alignedSourceVolume()

    @QtCore.Slot(object, str, object, int)
    def modifySegmentByLabelmap(self, segmentationNode, segmentId, labelmap, mode, bypassMasking=False) -> None:
        """Set a segment, or add or remove voxels where the editor's masking allows it."""
        logic, modes = slicer.vtkSlicerSegmentationsModuleLogic, qSlicerSegmentEditorAbstractEffect
        if mode == modes.ModificationModeSet:
            logic.SetBinaryLabelmapToSegment(labelmap, segmentationNode, segmentId, logic.MODE_REPLACE)
            return
        if mode not in (modes.ModificationModeAdd, modes.ModificationModeRemove):
            records.problem(f"{self.name}: modification mode {mode} is not here")
            return
        masking.modify(self._node, segmentId, labelmap, mode == modes.ModificationModeAdd)


@emulated
class qSlicerSegmentEditorAbstractEffect(QtCore.QObject):
    """Only its enum, which Python code names."""

    ModificationModeSet, ModificationModeAdd, ModificationModeRemove, ModificationModeRemoveAll = range(4)


@emulated
class qSlicerSegmentEditorEffectFactory(QtCore.QObject):
    """Keeps one effect of each name, to be cloned."""

    effectRegistered = QtCore.Signal(object)
    effectUnregistered = QtCore.Signal(object)
    _only = None

    @staticmethod
    def instance():
        if qSlicerSegmentEditorEffectFactory._only is None:
            qSlicerSegmentEditorEffectFactory._only = qSlicerSegmentEditorEffectFactory()
            qSlicerSegmentEditorEffectFactory._only._effects = []
            keep(qSlicerSegmentEditorEffectFactory._only)
        return qSlicerSegmentEditorEffectFactory._only

    @QtCore.Slot(object, result=bool)
    def registerEffect(self, effect) -> bool:
        if not effect.name or effect.name in [known.name for known in self._effects]:
            return False
        self._effects.append(effect)
        self.effectRegistered.emit(effect)
        return True

    @QtCore.Slot(object, result=bool)
    def unregisterEffect(self, effect) -> bool:
        if effect not in self._effects:
            return False
        self._effects.remove(effect)
        self.effectUnregistered.emit(effect)
        return True

    @QtCore.Slot(result=object)
    def registeredEffects(self):
        return list(self._effects)


@emulated
class qMRMLSegmentEditorWidget(qMRMLWidget):
    """Choice of segmentation and volume, a button for each effect, the options of the active one, undo."""

    def __init__(self, *args):
        super().__init__(*args)
        self._node, self._effects, self._effect = None, [], None
        self._observers, self._history = Observers(self), slicer.vtkSegmentationHistory()
        layout = QtWidgets.QVBoxLayout(self)
        self._buttons = QtWidgets.QHBoxLayout()
        layout.addLayout(self._buttons)
        self._options = QtWidgets.QVBoxLayout()
        layout.addLayout(self._options)
        self.updateEffectList()

    @QtCore.Slot()
    def updateEffectList(self) -> None:
        """Clone what the factory has and this editor has not yet."""
        for registered in qSlicerSegmentEditorEffectFactory.instance()._effects:
            if registered.name in [effect.name for effect in self._effects]:
                continue
            effect = unwrap(registered._python.clone())
            effect._editor = self
            keep(effect)
            self._effects.append(effect)
            self._options.addWidget(effect._frame)
            effect._frame.hide()
            if self._node is not None:
                effect._node = self._node
                effect._call("setMRMLDefaults")
            effect._call("setupOptionsFrame")
            button = QtWidgets.QToolButton()
            icon = effect._python.icon()
            button.setIcon(unwrap(icon) if icon else QtGui.QIcon())
            button.setText(effect.title)
            button.setObjectName(effect.name)
            button.clicked.connect(lambda *_, effect=effect: self.setActiveEffect(effect))
            self._buttons.addWidget(button)

    @QtCore.Slot(object)
    def setMRMLSegmentEditorNode(self, node) -> None:
        self._observers.clear()
        self._node = node
        for effect in self._effects:
            effect._node = node
            if node is not None:
                effect._call("setMRMLDefaults")
                self._observers.add(node, [node.EffectParameterModified], effect.updateGUIFromMRML)
        if node is not None:
            self._observers.add(node, [vtk.vtkCommand.ModifiedEvent], self._update)

    @QtCore.Slot(result=object)
    def mrmlSegmentEditorNode(self):
        return self._node

    @QtCore.Slot(result="QStringList")
    def availableEffectNames(self) -> list[str]:
        return [effect.name for effect in self._effects]

    @QtCore.Slot(str, result=object)
    def effectByName(self, name: str):
        return next((effect for effect in self._effects if effect.name == name), None)

    @QtCore.Slot(result=object)
    def activeEffect(self):
        return self._effect

    @QtCore.Slot(object)
    def setActiveEffect(self, effect) -> None:
        if effect is self._effect:
            return
        if self._effect is not None:
            self._effect.deactivate()
        self._effect = effect
        if effect is not None:
            effect.activate()

    @QtCore.Slot(str)
    def setActiveEffectByName(self, name: str) -> None:
        self.setActiveEffect(self.effectByName(name) if name else None)

    @QtCore.Slot(result=object)
    def segmentationNode(self):
        return self._needed().GetSegmentationNode()

    @QtCore.Slot(object)
    def setSegmentationNode(self, node) -> None:
        if node is self._needed().GetSegmentationNode():
            return
        self.setActiveEffect(None)
        self._history.RemoveAllStates()
        self._history.SetSegmentation(node.GetSegmentation() if node is not None else None)
        self._node.SetAndObserveSegmentationNode(node)

    @QtCore.Slot(result=object)
    def sourceVolumeNode(self):
        return self._needed().GetSourceVolumeNode()

    @QtCore.Slot(object)
    def setSourceVolumeNode(self, node) -> None:
        if node is self._needed().GetSourceVolumeNode():
            return
        segmentationNode = self._node.GetSegmentationNode()
        if node is not None and segmentationNode is not None and not _hasGrid(segmentationNode):
            segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(node)
        self._node.SetAndObserveSourceVolumeNode(node)
        for effect in self._effects:
            effect._call("sourceVolumeNodeChanged")

    @QtCore.Slot()
    def undo(self) -> None:
        self._history.RestorePreviousState()

    @QtCore.Slot()
    def redo(self) -> None:
        self._history.RestoreNextState()

    def _saveState(self) -> None:
        self._history.SaveState()

    def _needed(self):
        """The parameter node; the module makes one, as Slicer's does."""
        if self._node is None:
            self.setMRMLSegmentEditorNode(slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentEditorNode"))
        return self._node

    def _update(self) -> None:
        if self._effect is not None:
            self._effect.updateGUIFromMRML()

    def _alignedSourceVolume(self):
        """The source volume on the grid of the segmentation; here they are the same."""
        volume, image = self._node.GetSourceVolumeNode(), slicer.vtkOrientedImageData()
        image.ShallowCopy(volume.GetImageData())
        matrix = vtk.vtkMatrix4x4()
        volume.GetIJKToRASMatrix(matrix)
        image.SetGeometryFromImageToWorldMatrix(matrix)
        return image


def _hasGrid(segmentationNode) -> bool:
    name = slicer.vtkSegmentationConverter.GetReferenceImageGeometryParameterName()
    return bool(segmentationNode.GetSegmentation().GetConversionParameter(name))


def install() -> None:
    """The Python modules by which effects reach all that."""
    effects = types.ModuleType("qSlicerSegmentationsEditorEffectsPythonQt")
    effects.qSlicerSegmentEditorScriptedEffect = wrapperClassOf(qSlicerSegmentEditorScriptedEffect)
    effects.qSlicerSegmentEditorAbstractEffect = wrapperClassOf(qSlicerSegmentEditorAbstractEffect)
    sys.modules[effects.__name__] = effects
    core = types.ModuleType("vtkSegmentationCorePython")
    for name in ("vtkSegmentation", "vtkSegmentationConverter", "vtkSegment", "vtkOrientedImageData"):
        setattr(core, name, getattr(slicer, name))
    sys.modules[core.__name__] = core
    filters = types.ModuleType("vtkITK")  # slicer-core has Slicer's filters in the package itself, not all of them
    filters.__getattr__ = lambda name: getattr(slicer, _FILTERS.get(name, name))
    sys.modules[filters.__name__] = filters
