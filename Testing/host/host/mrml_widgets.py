"""Slicer's MRML widgets that the product's panels use, on a real scene."""

from types import MappingProxyType

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from . import records
from .ctk import ctkComboBox, ctkSliderWidget
from .emulated import emulated, row, stored
from .observers import Observers


@emulated
class qMRMLWidget(QtWidgets.QWidget):
    """Hands its scene on to the widgets that are connected to mrmlSceneChanged in the .ui file."""

    mrmlSceneChanged = QtCore.Signal(object)
    vtkSignals = MappingProxyType({"mrmlSceneChanged": "vtkMRMLScene*"})

    def __init__(self, *args):
        super().__init__(*args)
        self._scene = None

    @QtCore.Slot(result=object)
    def mrmlScene(self):
        return self._scene

    @QtCore.Slot(object)
    def setMRMLScene(self, scene) -> None:
        if scene is not self._scene:
            self._scene = scene
            self.mrmlSceneChanged.emit(scene)


@emulated
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """Chooses a node; which one it takes by itself follows qMRMLNodeComboBox.cxx and QComboBox."""

    currentNodeChanged = QtCore.Signal((object,), (bool,))
    currentNodeIDChanged = QtCore.Signal(str)
    currentNodeRenamed = QtCore.Signal(str)
    nodeAboutToBeEdited = QtCore.Signal(object)
    nodeAboutToBeRemoved = QtCore.Signal(object)
    nodeActivated = QtCore.Signal(object)
    nodeAdded = QtCore.Signal(object)
    nodeAddedByUser = QtCore.Signal(object)
    nodeAddedByUserAction = QtCore.Signal(object)
    vtkSignals = dict.fromkeys(
        (
            "currentNodeChanged",
            "nodeAboutToBeEdited",
            "nodeAboutToBeRemoved",
            "nodeActivated",
            "nodeAdded",
            "nodeAddedByUser",
            "nodeAddedByUserAction",
        ),
        "vtkMRMLNode*",
    )

    def __init__(self, *args):
        super().__init__(*args)
        self._scene = None
        self._ids: list[str] = []
        self._current, self._requested, self._shownName = "", "", ""
        self._attributes: list[tuple] = []
        self._baseNames: dict[str, str] = {}
        self._labels: dict[str, str] = {}
        self._menuActions: list = []
        self._sceneObservers, self._nodeObservers = Observers(self), Observers(self)
        self._comboBox = ctkComboBox(self)
        self._comboBox.activated.connect(self._onActivated)
        row(self, self._comboBox)
        self.setEnabled(False)

    nodeTypes = stored("nodeTypes", "QStringList", [], "_update")
    hideChildNodeTypes = stored("hideChildNodeTypes", "QStringList", [], "_update")
    showChildNodeTypes = stored("showChildNodeTypes", bool, True, "_update")
    showHidden = stored("showHidden", bool, False, "_update")
    noneEnabled = stored("noneEnabled", bool, False, "_onNoneEnabled")
    noneDisplay = stored("noneDisplay", str, "None", "_show")
    addEnabled = stored("addEnabled", bool, True, "_show")
    removeEnabled = stored("removeEnabled", bool, True, "_show")
    editEnabled = stored("editEnabled", bool, False, "_show")
    renameEnabled = stored("renameEnabled", bool, False, "_show")
    selectNodeUponCreation = stored("selectNodeUponCreation", bool, True)
    interactionNodeSingletonTag = stored("interactionNodeSingletonTag", str, "Singleton")
    currentNodeID = QtCore.Property(
        str, lambda self: self._current, lambda self, nodeId: self._select(nodeId), notify=currentNodeIDChanged
    )

    def _setBaseName(self, name: str) -> None:
        if not self.nodeTypes:
            records.problem("qMRMLNodeComboBox.baseName was set before nodeTypes and has no effect")
        self._baseNames.update(dict.fromkeys(self.nodeTypes, name))

    baseName = QtCore.Property(str, lambda self: self._baseNames.get((self.nodeTypes or [""])[0], ""), _setBaseName)

    #
    # What Python can call
    #

    @QtCore.Slot(result=object)
    def mrmlScene(self):
        return self._scene

    @QtCore.Slot(object)
    def setMRMLScene(self, scene) -> None:
        if scene is self._scene:
            return
        self._sceneObservers.clear()
        self._scene, self._ids = scene, []
        if scene is not None:
            s = slicer.vtkMRMLScene
            events = (s.NodeAddedEvent, s.NodeRemovedEvent, s.EndCloseEvent, s.EndImportEvent, s.EndBatchProcessEvent)
            self._sceneObservers.add(scene, events, self._update)
        self.setEnabled(scene is not None)
        self._update()
        if self._requested:
            self._select(self._requested)
        elif not self._current and not self.noneEnabled and self._ids:
            self._select(self._ids[0])
        self._requested = ""

    @QtCore.Slot(result=object)
    def currentNode(self):
        return self._node(self._current)

    @QtCore.Slot(object)
    def setCurrentNode(self, node) -> None:
        if node is not None and not isinstance(node, slicer.vtkMRMLNode):
            raise TypeError(f"{node!r} is not a MRML node")
        self._select(node.GetID() or "" if node is not None else "")

    @QtCore.Slot(str)
    def setCurrentNodeID(self, nodeId: str) -> None:
        self._select(nodeId)

    @QtCore.Slot(int)
    def setCurrentNodeIndex(self, index: int) -> None:
        self._select(self._ids[index] if 0 <= index < len(self._ids) else "")

    @QtCore.Slot(result=int)
    def nodeCount(self) -> int:
        return len(self._ids)

    @QtCore.Slot(int, result=object)
    def nodeFromIndex(self, index: int):
        return self._node(self._ids[index]) if 0 <= index < len(self._ids) else None

    @QtCore.Slot(str, str)
    def setNodeTypeLabel(self, label: str, nodeType: str) -> None:
        self._labels[nodeType] = label
        self._show()

    @QtCore.Slot(str, result=str)
    def nodeTypeLabel(self, nodeType: str) -> str:
        known = self._scene.GetTypeDisplayNameByClassName(nodeType) if self._scene is not None and nodeType else ""
        return self._labels.get(nodeType) or known or "node"

    @QtCore.Slot(str, str)
    @QtCore.Slot(str, str, object)
    def addAttribute(self, nodeType: str, name: str, value=None) -> None:
        self._attributes.append((nodeType, name, value))
        self._update()

    @QtCore.Slot(str, str)
    def removeAttribute(self, nodeType: str, name: str) -> None:
        self._attributes = [known for known in self._attributes if known[:2] != (nodeType, name)]
        self._update()

    @QtCore.Slot(object)
    def addMenuAction(self, action) -> None:
        self._menuActions.append(action)
        self._show()

    @QtCore.Slot(result=object)
    @QtCore.Slot(str, result=object)
    def addNode(self, nodeType: str = ""):
        nodeType = nodeType or (self.nodeTypes or [""])[0]
        if nodeType not in self.nodeTypes:
            records.problem(f"qMRMLNodeComboBox.addNode: {nodeType!r} is none of its node types")
            return None
        node = self._scene.CreateNodeByClass(nodeType)
        node.UnRegister(None)
        node.SetName(self._scene.GenerateUniqueName(self._baseNames.get(nodeType) or node.GetNodeTagName()))
        for kind, name, value in self._attributes:
            if node.IsA(kind):
                node.SetAttribute(name, "" if value is None else str(value))
        node = self._scene.AddNode(node)
        if self.selectNodeUponCreation:
            self._select(node.GetID())
        self.nodeAddedByUser.emit(node)
        return node

    @QtCore.Slot()
    def removeCurrentNode(self) -> None:
        self._scene.RemoveNode(self.currentNode())

    @QtCore.Slot()
    def editCurrentNode(self) -> None:
        self.nodeAboutToBeEdited.emit(self.currentNode())

    @QtCore.Slot()
    def renameCurrentNode(self) -> None:
        node = self.currentNode()
        if node is None:
            return
        name = records.ask("QInputDialog.getText", "", title=f"Rename {self.nodeTypeLabel(node.GetClassName())}")
        if name:
            node.SetName(name)
            self.currentNodeRenamed.emit(name)

    #
    # The list
    #

    def _node(self, nodeId: str):
        return self._scene.GetNodeByID(nodeId) if self._scene is not None and nodeId else None

    def _accepts(self, node) -> bool:
        if not any(node.IsA(kind) for kind in self.nodeTypes) or (node.GetHideFromEditors() and not self.showHidden):
            return False
        if node.GetClassName() not in self.nodeTypes:
            if not self.showChildNodeTypes or any(node.IsA(kind) for kind in self.hideChildNodeTypes):
                return False
        for kind, name, value in self._attributes:
            found = node.GetAttribute(name)
            if node.IsA(kind) and (found is None or (value is not None and found != str(value))):
                return False
        return True

    def _update(self) -> None:
        """Read the scene anew and choose as QComboBox does when rows come and go."""
        if self._scene is None:
            return
        nodes = [self._scene.GetNthNode(number) for number in range(self._scene.GetNumberOfNodes())]
        before, self._ids = self._ids, [node.GetID() for node in nodes if node.GetID() and self._accepts(node)]
        self._nodeObservers.clear()
        for nodeId in self._ids:
            self._nodeObservers.add(self._node(nodeId), [vtk.vtkCommand.ModifiedEvent], self._onNodeModified)
        old = self._current
        if old not in self._ids:
            self._current = self._neighbour(before, old)
        self._show()
        for nodeId in self._ids:
            if nodeId not in before:
                self.nodeAdded.emit(self._node(nodeId))
        if self._current != old:
            self._emitCurrent()

    def _neighbour(self, before: list[str], gone: str) -> str:
        """What is chosen when the chosen node has gone, or when there was none."""
        if gone in before and not self._scene.IsClosing():
            rows = [""] * self.noneEnabled + self._ids
            return rows[min(before.index(gone) + self.noneEnabled, len(rows) - 1)] if rows else ""
        takesFirst = not gone and not before and not self.noneEnabled and not self._extraItems()
        return self._ids[0] if takesFirst and self._ids else ""

    def _onNodeModified(self) -> None:
        node = self.currentNode()
        if node is not None and (node.GetName() or "") != self._shownName:
            self._show()
            self._emitCurrent()
        elif not all(self._accepts(self._node(nodeId)) for nodeId in self._ids):
            self._update()

    def _onNoneEnabled(self) -> None:
        if not self.noneEnabled and not self._current and self._ids:
            self._select(self._ids[0])
        self._show()

    def _select(self, nodeId: str) -> None:
        if self._scene is None:
            self._requested = nodeId
            return
        if nodeId not in self._ids:
            self._update()
        nodeId = nodeId if nodeId in self._ids else ""
        if nodeId != self._current:
            self._current = nodeId
            self._show()
            self._emitCurrent()

    def _emitCurrent(self) -> None:
        node = self.currentNode()
        self.currentNodeChanged[object].emit(node)
        self.currentNodeChanged[bool].emit(node is not None)
        self.currentNodeIDChanged.emit(self._current)

    #
    # The combo box
    #

    def _extraItems(self) -> list[tuple]:
        """The commands under the nodes: (text, function)."""
        kinds = self.nodeTypes
        label = self.nodeTypeLabel(kinds[0] if len(kinds) == 1 else "")
        items = [(f"Rename current {label}", self.renameCurrentNode)] * self.renameEnabled
        items += [(f"Edit current {label}", self.editCurrentNode)] * self.editEnabled
        if self.addEnabled:
            items += [
                (f"Create new {self.nodeTypeLabel(kind)}", lambda kind=kind: self._create(kind)) for kind in kinds
            ]
        items += [(f"Delete current {label}", self.removeCurrentNode)] * self.removeEnabled
        return items + [(action.text(), action.trigger) for action in self._menuActions]

    def _create(self, nodeType: str) -> None:
        node = self.addNode(nodeType)
        self.setCurrentNode(node)
        self.nodeAddedByUserAction.emit(node)

    def _show(self) -> None:
        box, node = self._comboBox, self.currentNode()
        self._shownName = (node.GetName() or "") if node is not None else ""
        box.blockSignals(True)
        box.clear()
        box.addItems([self.noneDisplay] * self.noneEnabled + [self._node(known).GetName() or "" for known in self._ids])
        row = self._ids.index(self._current) + self.noneEnabled if self._current else self.noneEnabled - 1
        extra = self._extraItems() if self._scene is not None else []
        if extra:
            box.insertSeparator(box.count())
            box.addItems([text for text, _function in extra])
        box.setProperty("defaultText", f"Select a {self.nodeTypeLabel((self.nodeTypes or [''])[0])}")
        box.setCurrentIndex(row)
        box.blockSignals(False)

    def _onActivated(self, row: int) -> None:
        number = row - self.noneEnabled
        if number < len(self._ids):
            self._select(self._ids[number] if number >= 0 else "")
            self.nodeActivated.emit(self.currentNode())
        else:
            self._show()
            self._extraItems()[number - len(self._ids) - 1][1]()


@emulated
class qMRMLSliderWidget(ctkSliderWidget):
    """A slider that takes its unit from the scene; here it has none."""

    @QtCore.Slot(object)
    def setMRMLScene(self, scene) -> None:
        self._scene = scene
