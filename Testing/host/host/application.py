"""slicer.app over the real scene and logics of slicer-core."""

import os
import sys
import types
from pathlib import Path

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from . import records
from .emulated import emulated
from .main_window import qSlicerExtensionsManagerModel, qSlicerLayoutManager, qSlicerMainWindow
from .modules import qSlicerModuleManager

LOGICS = {
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "Volumes": "vtkSlicerVolumesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Sequences": "vtkSlicerSequencesLogic",
}
#: Slicer's subject hierarchy makes an item for each node of these; that is Qt code which slicer-core does not have.
_IN_SUBJECT_HIERARCHY = ("vtkMRMLDisplayableNode", "vtkMRMLTableNode", "vtkMRMLTextNode", "vtkMRMLSequenceBrowserNode")


@emulated
class qSlicerApplication(QtWidgets.QApplication):
    startupCompleted = QtCore.Signal()

    def __init__(self, temporaryPath: str):
        super().__init__(["Slicer"])
        self._temporaryPath = temporaryPath
        self._modules = qSlicerModuleManager()
        self._extensions = qSlicerExtensionsManagerModel()
        self.setApplicationName("Slicer")
        self.setOrganizationName("NA-MIC")
        self.setQuitOnLastWindowClosed(False)

    temporaryPath = QtCore.Property(
        str, lambda self: self._temporaryPath, lambda self, path: setattr(self, "_temporaryPath", path)
    )
    slicerHome = QtCore.Property(str, lambda self: self._temporaryPath)
    majorVersion = QtCore.Property(int, lambda self: 5)
    minorVersion = QtCore.Property(int, lambda self: 11)
    revision = QtCore.Property(str, lambda self: "34045")
    os = QtCore.Property(str, lambda self: {"win32": "win", "darwin": "macosx"}.get(sys.platform, "linux"))
    arch = QtCore.Property(str, lambda self: "amd64")

    @QtCore.Slot(result=object)
    def moduleManager(self):
        return self._modules

    @QtCore.Slot(result=object)
    def applicationLogic(self):
        return self._logic

    @QtCore.Slot(result=object)
    def mrmlScene(self):
        return slicer.mrmlScene

    @QtCore.Slot(result=object)
    def layoutManager(self):
        return self._layoutManager

    @QtCore.Slot(result=object)
    def extensionsManagerModel(self):
        return self._extensions

    @QtCore.Slot(result=bool)
    def testingEnabled(self) -> bool:
        return False

    @QtCore.Slot(result=object)
    def settings(self):
        return QtCore.QSettings()

    @QtCore.Slot(result=object)
    def userSettings(self):
        return QtCore.QSettings()

    @QtCore.Slot(result=object)
    def revisionUserSettings(self):
        return QtCore.QSettings()

    @QtCore.Slot(result=object)
    def startupEnvironment(self):
        return QtCore.QProcessEnvironment.systemEnvironment()

    @QtCore.Slot()
    def restart(self) -> None:
        records.ask("restart", None, title="", text="")

    def _start(self) -> None:
        """Scene and logics; the attributes of `slicer` that are there before any module is loaded."""
        scene, logic = slicer.vtkMRMLScene(), slicer.vtkSlicerApplicationLogic()
        logic.SetMRMLScene(scene)
        colors = logic.GetColorLogic()
        colors.SetMRMLScene(scene)
        colors.AddDefaultColorNodes()
        logic.SetModuleLogic("Colors", colors)
        self._logic = logic
        slicer.mrmlScene = scene
        for name, className in LOGICS.items():
            module = getattr(slicer, className)()
            module.SetMRMLApplicationLogic(logic)
            module.SetMRMLScene(scene)
            logic.SetModuleLogic(name, module)
            setattr(slicer.modules, name.lower(), types.SimpleNamespace(logic=lambda module=module: module))
        slicer.modules.colors = types.SimpleNamespace(logic=lambda: colors)
        slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
        slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene)
        self._layoutManager = qSlicerLayoutManager(logic)
        self._mainWindow = qSlicerMainWindow(self._modules)
        scene.AddObserver(scene.NodeAddedEvent, _addItem)
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, _removeItem)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _addItem(scene, _event, node) -> None:
    if scene.IsImporting() or node.GetHideFromEditors() or not any(node.IsA(name) for name in _IN_SUBJECT_HIERARCHY):
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _removeItem(scene, _event, node) -> None:
    if scene.IsClosing() or scene.IsImporting() or node.IsA("vtkMRMLSubjectHierarchyNode"):
        return
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if item := hierarchy.GetItemByDataNode(node):
        hierarchy.RemoveItem(item, False, False)


def homeFolder(parent: Path) -> str:
    """A folder with an empty QSettings store, so that nothing of the user's decides whether tests pass."""
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(parent / "settings"))
    temporary = parent / "temporary"
    temporary.mkdir(exist_ok=True)
    os.environ.pop("SLICER_HOME", None)
    return str(temporary)
