"""The main window as far as modules ask for it: module selector, slice views without pictures, extensions."""

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from . import records
from .emulated import emulated, stored

ORIENTATIONS = {"Red": "Axial", "Green": "Coronal", "Yellow": "Sagittal"}


@emulated
class qSlicerModuleSelectorToolBar(QtWidgets.QToolBar):
    moduleSelected = QtCore.Signal(str)

    def __init__(self, parent, modules):
        super().__init__(parent)
        self._modules, self._selected = modules, ""

    selectedModule = QtCore.Property(str, lambda self: self._selected)

    @QtCore.Slot(str)
    def selectModule(self, name: str) -> None:
        """Leave the module that is open and enter another one."""
        if name == self._selected:
            return
        self._leave()
        module = self._modules.module(name)
        if module is None:
            records.problem(f"There is no module {name} to select")
            return
        widget = module.widgetRepresentation()
        self._selected = name
        widget.show()
        widget.enter()
        self.moduleSelected.emit(name)

    def _forget(self, name: str) -> None:
        """A module that is unloaded is not left; its panel cleans up instead."""
        if name == self._selected:
            self._selected = ""

    def _leave(self) -> None:
        module = self._modules.module(self._selected)
        self._selected = ""
        if module is not None:
            module.widgetRepresentation().exit()
            module.widgetRepresentation().hide()


@emulated
class qSlicerMainWindow(QtWidgets.QMainWindow):
    def __init__(self, modules):
        super().__init__()
        self.setObjectName("qSlicerMainWindow")
        self._selector = qSlicerModuleSelectorToolBar(self, modules)

    @QtCore.Slot(result=object)
    def moduleSelector(self):
        return self._selector


@emulated
class qMRMLSliceWidget(QtWidgets.QWidget):
    """A slice view that draws nothing; its nodes and its logic are real."""

    def __init__(self, name: str, applicationLogic):
        super().__init__()
        self._logic = slicer.vtkMRMLSliceLogic()
        self._logic.SetMRMLApplicationLogic(applicationLogic)
        self._logic.SetMRMLScene(slicer.mrmlScene)
        self._logic.AddSliceNode(name)
        self._logic.GetSliceNode().SetDimensions(400, 400, 1)
        self._logic.GetSliceNode().SetOrientation(ORIENTATIONS[name])

    @QtCore.Slot(result=object)
    def sliceLogic(self):
        return self._logic

    @QtCore.Slot(result=object)
    def mrmlSliceNode(self):
        return self._logic.GetSliceNode()

    @QtCore.Slot(result=object)
    def mrmlSliceCompositeNode(self):
        return self._logic.GetSliceCompositeNode()


@emulated
class qSlicerLayoutManager(QtCore.QObject):
    layoutChanged = QtCore.Signal(int)

    def __init__(self, applicationLogic):
        super().__init__()
        self._widgets = {name: qMRMLSliceWidget(name, applicationLogic) for name in ORIENTATIONS}
        self._logics = vtk.vtkCollection()
        for widget in self._widgets.values():
            self._logics.AddItem(widget.sliceLogic())
        applicationLogic.SetSliceLogics(self._logics)
        self._layoutLogic = slicer.vtkMRMLLayoutLogic()
        self._layoutLogic.SetMRMLScene(slicer.mrmlScene)

    threeDViewCount = QtCore.Property(int, lambda self: 0)
    layout = stored("layout", int, 3)

    @QtCore.Slot(result="QStringList")
    def sliceViewNames(self) -> list[str]:
        return list(self._widgets)

    @QtCore.Slot(str, result=object)
    def sliceWidget(self, name: str):
        return self._widgets.get(name)

    @QtCore.Slot(result=object)
    def layoutLogic(self):
        return self._layoutLogic

    @QtCore.Slot(result=object)
    def mrmlSliceLogics(self):
        return self._logics

    @QtCore.Slot()
    def resetSliceViews(self) -> None:
        for widget in self._widgets.values():
            widget.sliceLogic().FitSliceToBackground()


@emulated
class qSlicerExtensionsManagerModel(QtCore.QObject):
    """A Slicer without extensions; an installation is recorded as a dialog, whose answer says whether it succeeds."""

    interactive = stored("interactive", bool, True)

    @QtCore.Slot(str, result=bool)
    def isExtensionInstalled(self, _name: str) -> bool:
        return False

    @QtCore.Slot(str, bool, result=bool)
    def installExtensionFromServer(self, name: str, _restart: bool) -> bool:
        return records.ask("installExtensionFromServer", False, title="", text=name)
