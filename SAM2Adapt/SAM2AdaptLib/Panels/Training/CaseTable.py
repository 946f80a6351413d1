"""The table of cases."""

import qt
from slicer.i18n import tr as _

from SAM2AdaptLib.Panels import Widgets
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
        Widgets.fitColumns(self._table.horizontalHeader(), PROBLEM + 1, stretched=(VOLUME, SEGMENTATION))
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
            self._table.setItem(row, column, Widgets.tableItem(text, tip))
        warning = Widgets.tableItem("", tip)
        if problem:
            warning.setIcon(Widgets.warningIcon())
        self._table.setItem(row, PROBLEM, warning)
        self._table.setCellWidget(row, USE, self._useBox(case))

    def _useBox(self, case):
        box = qt.QComboBox()
        for use, text in uses().items():
            box.addItem(text, use)
        box.setCurrentIndex(box.findData(case.use))
        box.connect("currentIndexChanged(int)", lambda index: self._onUse(case, box.itemData(index)))
        return box


def annotatedText(case):
    """How many slices of a case are annotated, in few words."""
    if case.annotatedSlices is None:
        return _("as in the file") if not case.problems else "-"
    if case.isWhole:
        return _("all {count}").format(count=case.sliceCount)
    text = _("{count} of {total}").format(count=len(case.annotatedSlices), total=case.sliceCount)
    return _("{text}, {filled} filled").format(text=text, filled=len(case.filledSlices)) if case.filledSlices else text
