"""Slicer's module objects and its module manager: what qSlicerScriptedLoadableModule does with a Python file."""

import importlib.util
import sys
from pathlib import Path

import slicer
from PySide6 import QtCore, QtGui, QtWidgets

from .emulated import emulated, stored
from .mrml_widgets import qMRMLWidget
from .pythonqt import keep, wrap


@emulated
class qSlicerScriptedLoadableModule(QtCore.QObject):
    """The `parent` of the module class."""

    def __init__(self, path: str):
        super().__init__()
        self._path, self._widget = path, None

    title = stored("title", str, "")
    categories = stored("categories", "QStringList", [])
    contributors = stored("contributors", "QStringList", [])
    dependencies = stored("dependencies", "QStringList", [])
    associatedNodeTypes = stored("associatedNodeTypes", "QStringList", [])
    helpText = stored("helpText", str, "")
    acknowledgementText = stored("acknowledgementText", str, "")
    icon = stored("icon", QtGui.QIcon, QtGui.QIcon())
    hidden = stored("hidden", bool, False)
    index = stored("index", int, -1)
    widgetRepresentationCreationEnabled = stored("widgetRepresentationCreationEnabled", bool, True)
    name = QtCore.Property(str, lambda self: Path(self._path).stem)
    path = QtCore.Property(str, lambda self: self._path)

    @QtCore.Slot(result=object)
    def widgetRepresentation(self):
        if self._widget is None and self.widgetRepresentationCreationEnabled:
            self._widget = qSlicerScriptedLoadableModuleWidget()
            keep(self._widget)
            self._widget._open(self._path)
            self._widget.setMRMLScene(slicer.mrmlScene)
        return self._widget


@emulated
class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The `parent` of the widget class; as in Slicer it is entered before the Python object hears of it."""

    def __init__(self, *args):
        super().__init__(*args)
        QtWidgets.QVBoxLayout(self)
        self._python, self._path, self._entered = None, "", False

    isEntered = QtCore.Property(bool, lambda self: self._entered)

    def _open(self, path: str) -> None:
        self._path, name = path, Path(path).stem
        self._python = getattr(sys.modules[name], f"{name}Widget")(wrap(self))
        setattr(slicer.modules, f"{name}Widget", self._python)
        self._python.setup()

    @QtCore.Slot(result=object)
    def self(self):
        return self._python

    @QtCore.Slot()
    def reload(self) -> None:
        self._open(self._path)

    @QtCore.Slot()
    def enter(self) -> None:
        self._entered = True
        self._python.enter()

    @QtCore.Slot()
    def exit(self) -> None:
        self._entered = False
        self._python.exit()


@emulated
class qSlicerModuleManager(QtCore.QObject):
    moduleLoaded = QtCore.Signal(str)
    moduleAboutToBeUnloaded = QtCore.Signal(str)

    def __init__(self):
        super().__init__()
        self._modules: dict[str, qSlicerScriptedLoadableModule] = {}

    @QtCore.Slot(str, result=object)
    def module(self, name: str):
        return self._modules.get(name)

    @QtCore.Slot(result="QStringList")
    def modulesNames(self) -> list[str]:
        return list(self._modules)

    def _load(self, path: Path) -> qSlicerScriptedLoadableModule:
        """Import the file and make its module object, as at the start of Slicer."""
        name = path.stem
        if str(path.parent) not in sys.path:
            sys.path.insert(0, str(path.parent))
        specification = importlib.util.spec_from_file_location(name, path)
        python = importlib.util.module_from_spec(specification)
        sys.modules[name] = python
        specification.loader.exec_module(python)
        module = qSlicerScriptedLoadableModule(str(path))
        keep(module)
        instance = getattr(python, name)(wrap(module))
        if hasattr(instance, "setup"):
            instance.setup()
        self._modules[name] = module
        setattr(slicer.modules, f"{name}Instance", instance)
        setattr(slicer.modules, name.lower(), wrap(module))
        self.moduleLoaded.emit(name)
        return module

    def _unload(self, name: str) -> None:
        self.moduleAboutToBeUnloaded.emit(name)
        slicer.app._checked()._mainWindow._selector._forget(name)
        module = self._modules.pop(name)
        if module._widget is not None:
            module._widget.deleteLater()
        for attribute in (name.lower(), f"{name}Instance", f"{name}Widget"):
            if hasattr(slicer.modules, attribute):
                delattr(slicer.modules, attribute)
