"""The table of structures."""

import qt
from slicer.i18n import tr as _

from SAM2AdaptLib.Panels import Widgets

NAME, COUNT, PROBLEM = range(3)


class ClassTable:
    """Shows the structures; each can be left out."""

    def __init__(self, ui, onUse):
        """
        :param ui: widgets of the panel by name.
        :param onUse: called with a ``TrainingClass`` and whether it is to be learned.
        """
        self._table = ui.classTable
        self._onUse = onUse
        self._classes = []
        Widgets.fitColumns(self._table.horizontalHeader(), PROBLEM + 1)
        self._table.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)

    def show(self, classes, caseCount):
        """Show what ``Classes.match`` gave for so many cases."""
        self._classes = classes
        self._table.blockSignals(True)
        self._table.setRowCount(len(classes))
        with Widgets.fittedOnce(self._table.horizontalHeader()):
            for row, entry in enumerate(classes):
                self._showRow(row, entry, caseCount)
        self._table.blockSignals(False)

    def _showRow(self, row, entry, caseCount):
        tip = entry.ambiguous or ""
        name = Widgets.tableItem(entry.name, tip)
        name.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
        name.setCheckState(qt.Qt.Checked if entry.use else qt.Qt.Unchecked)
        if entry.color is not None:
            name.setIcon(_colorIcon(entry.color))
        self._table.setItem(row, NAME, name)
        count = _("{count} of {total}").format(count=caseCount - len(entry.missing), total=caseCount)
        self._table.setItem(row, COUNT, Widgets.tableItem(count, tip))
        warning = Widgets.tableItem("", tip)
        if entry.ambiguous and entry.use:
            warning.setIcon(Widgets.warningIcon())
        self._table.setItem(row, PROBLEM, warning)

    def _onItemChanged(self, item):
        if item.column() == NAME:
            self._onUse(self._classes[item.row()], item.checkState() == qt.Qt.Checked)


def _colorIcon(color):
    pixmap = qt.QPixmap(12, 12)
    pixmap.fill(qt.QColor.fromRgbF(*color))
    return qt.QIcon(pixmap)
