"""Slicer's widgets for one segmentation."""

import slicer
import vtk
from PySide6 import QtCore, QtWidgets

from .ctk import ctkMenuButton
from .emulated import emulated, row, stored
from .mrml_widgets import Observers, qMRMLWidget


class _SegmentationWidget:
    """What widgets of one segmentation share. Slots cannot be inherited from here: PySide would not show them."""

    def _follow(self, node, changed) -> None:
        self._node = node if node is not None and node.IsA("vtkMRMLSegmentationNode") else None
        self._observers.clear()
        if self._node is not None:
            s = slicer.vtkSegmentation
            events = (s.SegmentAdded, s.SegmentRemoved, s.SegmentModified, s.ContainedRepresentationNamesModified)
            self._observers.add(self._node, (*events, vtk.vtkCommand.ModifiedEvent), changed)
        changed()


@emulated
class qMRMLSegmentationShow3DButton(_SegmentationWidget, ctkMenuButton):
    """Makes and removes the closed surface of a segmentation."""

    def __init__(self, *args):
        super().__init__(*args)
        self._node, self._observers = None, Observers(self)
        self.setText("Show 3D")
        self.setCheckable(True)
        self.setEnabled(False)
        self.toggled.connect(self._onToggled)

    def _refresh(self) -> None:
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        surface = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
        usable = segmentation is not None and segmentation.GetNumberOfSegments() > 0 and not self.locked
        self.setEnabled(usable and segmentation.GetSourceRepresentationName() != surface)
        self.blockSignals(True)
        self.setChecked(segmentation is not None and segmentation.ContainsRepresentation(surface))
        self.blockSignals(False)

    locked = stored("locked", bool, False, "_refresh")

    @QtCore.Slot(result=object)
    def segmentationNode(self):
        return self._node

    @QtCore.Slot(object)
    def setSegmentationNode(self, node) -> None:
        self._follow(node, self._refresh)

    @QtCore.Slot(bool)
    def setLocked(self, locked: bool) -> None:
        self.setProperty("locked", locked)

    def _onToggled(self, checked: bool) -> None:
        if self._node is None:
            return
        surface = slicer.vtkSegmentationConverter.GetClosedSurfaceRepresentationName()
        if not checked:
            self._node.GetSegmentation().RemoveRepresentation(surface)
        elif self._node.GetSegmentation().CreateRepresentation(surface) and self._node.GetDisplayNode():
            self._node.GetDisplayNode().SetPreferredDisplayRepresentationName3D(surface)


@emulated
class qMRMLSegmentsTableView(_SegmentationWidget, qMRMLWidget):
    """The segments of a segmentation as a table; only names are shown."""

    selectionChanged = QtCore.Signal(QtCore.QItemSelection, QtCore.QItemSelection)
    segmentAboutToBeModified = QtCore.Signal(str)

    def __init__(self, *args):
        super().__init__(*args)
        self._node, self._observers = None, Observers(self)
        self._table = QtWidgets.QTableWidget(0, 1, self)
        self._table.setSelectionBehavior(QtWidgets.QAbstractItemView.SelectRows)
        self._table.selectionModel().selectionChanged.connect(self.selectionChanged)
        row(self, self._table)

    def _idsShown(self) -> list[str]:
        segmentation = self._node.GetSegmentation() if self._node is not None else None
        return list(segmentation.GetSegmentIDs()) if segmentation is not None else []

    def _refresh(self) -> None:
        ids = self._idsShown()
        self._table.setRowCount(len(ids))
        for number, segmentId in enumerate(ids):
            name = self._node.GetSegmentation().GetSegment(segmentId).GetName()
            self._table.setItem(number, 0, QtWidgets.QTableWidgetItem(name))

    headerVisible = stored("headerVisible", bool, True)
    visibilityColumnVisible = stored("visibilityColumnVisible", bool, True)
    colorColumnVisible = stored("colorColumnVisible", bool, True)
    opacityColumnVisible = stored("opacityColumnVisible", bool, True)
    statusColumnVisible = stored("statusColumnVisible", bool, False)
    layerColumnVisible = stored("layerColumnVisible", bool, False)
    filterBarVisible = stored("filterBarVisible", bool, False)
    readOnly = stored("readOnly", bool, False)
    selectionMode = stored("selectionMode", int, 3)
    jumpToSelectedSegmentEnabled = stored("jumpToSelectedSegmentEnabled", bool, False)
    segmentCount = QtCore.Property(int, lambda self: len(self._idsShown()))

    @QtCore.Slot(result=object)
    def segmentationNode(self):
        return self._node

    @QtCore.Slot(object)
    def setSegmentationNode(self, node) -> None:
        self._follow(node, self._refresh)

    @QtCore.Slot(result="QStringList")
    def selectedSegmentIDs(self) -> list[str]:
        ids = self._idsShown()
        return [ids[index.row()] for index in self._table.selectionModel().selectedRows()]

    @QtCore.Slot("QStringList")
    def setSelectedSegmentIDs(self, segmentIds: list[str]) -> None:
        self._table.clearSelection()
        for segmentId in segmentIds:
            self._table.selectRow(self._idsShown().index(segmentId))

    @QtCore.Slot()
    def clearSelection(self) -> None:
        self._table.clearSelection()
