"""The tables of cases and of structures."""

import qt
from slicer.i18n import tr as _

from SAM2AdaptLib.Training.Cases import IGNORE, TRAIN, VALIDATE

VOLUME, SEGMENTATION, USE, ANNOTATED, PROBLEM = range(5)


def uses():
    """The uses of a case with their labels."""
    return {TRAIN: _("train"), VALIDATE: _("validate"), IGNORE: _("ignore")}


class CaseTable:
    """Shows the cases; the use of each is chosen in its row."""

    def __init__(self, ui, onUse, onChosen):
        """
        :param ui: widgets of the panel by name.
        :param onUse: called with a case and its new use.
        :param onChosen: called when another case is chosen.
        """
        self._table = ui.caseTable
        self._onUse = onUse
        self._cases = []
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(VOLUME, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(SEGMENTATION, qt.QHeaderView.Stretch)
        for column in (USE, ANNOTATED, PROBLEM):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        self._table.connect("itemSelectionChanged()", onChosen)

    def chosen(self):
        """The case of the chosen row, or None."""
        row = self._table.currentRow()
        return self._cases[row] if 0 <= row < len(self._cases) else None

    def show(self, cases):
        """Show these cases; the chosen row stays."""
        row = self._table.currentRow()
        self._cases = cases
        self._table.blockSignals(True)
        self._table.setRowCount(len(cases))
        for index, case in enumerate(cases):
            self._showCase(index, case)
        if cases:
            self._table.selectRow(min(max(row, 0), len(cases) - 1))
        self._table.blockSignals(False)

    def _showCase(self, row, case):
        volume = case.volumeNode.GetName() if case.volumeNode else case.name
        segmentation = case.segmentationNode.GetName() if case.segmentationNode else _("file")
        problem = "\n".join(map(str, case.problems))
        tip = problem or "\n".join([*case.notes, ", ".join(segment.name for segment in case.segments())])
        for column, text in ((VOLUME, volume), (SEGMENTATION, segmentation), (ANNOTATED, annotatedText(case))):
            self._table.setItem(row, column, _item(text, tip))
        warning = _item("", tip)
        if problem:
            warning.setIcon(warningIcon())
        self._table.setItem(row, PROBLEM, warning)
        self._table.setCellWidget(row, USE, self._useBox(case))

    def _useBox(self, case):
        box = qt.QComboBox()
        for use, text in uses().items():
            box.addItem(text, use)
        box.setCurrentIndex(box.findData(case.use))
        box.connect("currentIndexChanged(int)", lambda index: self._onUse(case, box.itemData(index)))
        return box


class ClassTable:
    """Shows the structures; each can be left out."""

    def __init__(self, ui, onUse):
        """
        :param ui: widgets of the panel by name.
        :param onUse: called with a ``TrainingClass`` and whether it is wanted.
        """
        self._table = ui.classTable
        self._onUse = onUse
        self._classes = []
        header = self._table.horizontalHeader()
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        for column in (1, 2):
            header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
        self._table.connect("itemChanged(QTableWidgetItem*)", self._onItemChanged)

    def show(self, classes, caseCount):
        """Show what ``TrainingClasses.match`` gave for so many cases."""
        self._classes = classes
        self._table.blockSignals(True)
        self._table.setRowCount(len(classes))
        for row, entry in enumerate(classes):
            tip = entry.ambiguous or _missingText(entry)
            name = _item(entry.name, tip)
            name.setFlags(qt.Qt.ItemIsEnabled | qt.Qt.ItemIsSelectable | qt.Qt.ItemIsUserCheckable)
            name.setCheckState(qt.Qt.Checked if entry.use else qt.Qt.Unchecked)
            if entry.color is not None:
                name.setIcon(_colorIcon(entry.color))
            self._table.setItem(row, 0, name)
            count = _("{count} of {total}").format(count=caseCount - len(entry.missing), total=caseCount)
            self._table.setItem(row, 1, _item(count, tip))
            warning = _item("", tip)
            if entry.ambiguous and entry.use:
                warning.setIcon(warningIcon())
            self._table.setItem(row, 2, warning)
        self._table.blockSignals(False)

    def _onItemChanged(self, item):
        if item.column() == 0:
            self._onUse(self._classes[item.row()], item.checkState() == qt.Qt.Checked)


def annotatedText(case):
    """How many slices of a case are annotated, in few words."""
    if case.annotatedSlices is None:
        return _("as in the file") if not case.problems else "-"
    if case.isWhole:
        return _("all {count}").format(count=case.sliceCount)
    return _("{count} of {total}").format(count=len(case.annotatedSlices), total=case.sliceCount)


def warningIcon():
    """The sign for something that the user has to mend."""
    return qt.QApplication.style().standardIcon(qt.QStyle.SP_MessageBoxWarning)


def _missingText(entry):
    if not entry.missing:
        return ""
    return _("Not in {cases}; there it counts as absent on annotated slices.").format(cases=", ".join(entry.missing))


def _item(text, tip):
    item = qt.QTableWidgetItem(text)
    item.setToolTip(tip)
    return item


def _colorIcon(color):
    pixmap = qt.QPixmap(12, 12)
    pixmap.fill(qt.QColor.fromRgbF(*color))
    return qt.QIcon(pixmap)
