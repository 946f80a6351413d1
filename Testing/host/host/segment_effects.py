"""The C++ half of Slicer's scripted Segment Editor effects, as far as Python code can see it.

After the headers and sources of Slicer's EditorEffects. What changes voxels is Slicer's own logic.
"""

import importlib.util
import sys
import types
from pathlib import Path

import slicer
from PySide6 import QtCore, QtWidgets

from . import records
from .emulated import emulated, stored
from .pythonqt import keep, unwrap, wrap, wrapperClassOf

#: What stands for a filter that slicer-core lacks: the one that Slicer used before it.
_FILTERS = {"vtkITKGrowCut": "vtkImageGrowCutSegment"}


@emulated
class qSlicerSegmentEditorAbstractEffect(QtCore.QObject):
    """Only its enum, which Python code names."""

    ModificationModeSet, ModificationModeAdd, ModificationModeRemove, ModificationModeRemoveAll = range(4)


@emulated
class qSlicerSegmentEditorScriptedEffect(QtCore.QObject):
    """The C++ half of an effect; calls the Python half, and leaves out what that has not."""

    def __init__(self, parent=None):
        super().__init__(parent)
        self._begin()

    def _begin(self) -> None:
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
        """What the Python half answers; None where it has no such method or raises, which C++ prints and forgets."""
        if not hasattr(self._python, method):
            return None
        try:
            return unwrap(getattr(self._python, method)(*[wrap(argument) for argument in arguments]))
        except Exception:
            records.slotError()
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
        return self._call("helpText") or ""

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
            widget.setSizePolicy(QtWidgets.QSizePolicy.Preferred, QtWidgets.QSizePolicy.MinimumExpanding)

    @QtCore.Slot(str, result=str)
    def parameter(self, name: str) -> str:
        if self._node is None:
            return ""
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
        if not isinstance(value, (str, int, float)):
            raise TypeError(f"{value!r} is no value of a parameter")
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
        if self._node is None:
            records.problem(f"{self.name}: node {name} is set without a parameter node")
        elif node is not self._node.GetNodeReference(name):
            self._node.SetNodeReferenceID(name, node.GetID() if node else None)
            self._node.InvokeCustomModifiedEvent(self._node.EffectParameterModified)

    @QtCore.Slot()
    def saveStateForUndo(self) -> None:
        self._editor.saveStateForUndo()

    @QtCore.Slot(result=object)
    def sourceVolumeImageData(self):
        """The source volume on the grid of the segmentation."""
        logic = self._editor._logic
        return logic.GetAlignedSourceVolume() if logic.UpdateAlignedSourceVolume() else None

    @QtCore.Slot(object, str, object, int)
    @QtCore.Slot(object, str, object, int, bool)
    def modifySegmentByLabelmap(self, segmentationNode, segmentId, labelmap, mode, bypassMasking=False) -> None:
        """Set a segment, or add or remove voxels where the editor's masking allows it."""
        logic = self._editor._logic
        modes = (logic.ModificationModeSet, logic.ModificationModeAdd, logic.ModificationModeRemove)
        logic.ModifySegmentByLabelmap(
            segmentationNode, segmentId, labelmap, modes[mode], self.perSegment, bypassMasking
        )


@emulated
class qSlicerSegmentEditorEffectFactory(QtCore.QObject):
    """Keeps one effect of each name, to be cloned."""

    effectRegistered = QtCore.Signal(str)
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
        self.effectRegistered.emit(effect.name)
        return True

    @QtCore.Slot(result=object)
    def registeredEffects(self):
        return list(self._effects)


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
    installFilters()


def installFilters() -> None:
    """Slicer's filters, under the name by which effects import them."""
    filters = types.ModuleType("vtkITK")  # slicer-core has Slicer's filters in the package itself, not all of them
    filters.__getattr__ = lambda name: getattr(slicer, _FILTERS.get(name, name))
    sys.modules[filters.__name__] = filters
