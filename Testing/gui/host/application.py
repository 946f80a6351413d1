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
        """None, as in a Slicer that was started without a main window."""

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
        scene.AddObserver(scene.NodeAddedEvent, _addItem)
        scene.AddObserver(scene.NodeAboutToBeRemovedEvent, _removeItem)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _addItem(scene, _event, node) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    wanted = any(node.IsA(name) for name in _IN_SUBJECT_HIERARCHY) and not node.GetHideFromEditors()
    if wanted and not scene.IsImporting() and hierarchy is not None and not hierarchy.GetItemByDataNode(node):
        hierarchy.CreateItem(hierarchy.GetSceneItemID(), node)


@vtk.calldata_type(vtk.VTK_OBJECT)
def _removeItem(scene, _event, node) -> None:
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if not scene.IsClosing() and hierarchy not in (None, node) and hierarchy.GetItemByDataNode(node):
        hierarchy.RemoveItem(hierarchy.GetItemByDataNode(node), False, False)


def homeFolder(parent: Path) -> str:
    """A folder with an empty QSettings store, so that nothing of the user's decides whether tests pass."""
    QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
    QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, str(parent / "settings"))
    temporary = parent / "temporary"
    temporary.mkdir(exist_ok=True)
    os.environ.pop("SLICER_HOME", None)
    return str(temporary)
