"""The table of cases."""

import qt
from slicer.i18n import tr as _

from SAM2AdaptLib.Panels import Widgets
from SAM2AdaptLib.Training.Cases import IGNORE, TRAIN, VALIDATE

VOLUME, SEGMENTATION, USE, ANNOTATED, PROBLEM = range(5)
_ROWS_AT_ONCE = 20  # a row with its box takes milliseconds, and a folder may hold hundreds of cases


def uses():
    """The uses of a case with their labels."""
    return {TRAIN: _("train"), VALIDATE: _("validate"), IGNORE: _("ignore")}


class CaseTable:
    """Shows the cases; the use of each is chosen in its row. Only rows that changed are written, a few at a time."""

    def __init__(self, ui, onUse, onChosen):
        """
        :param ui: widgets of the panel by name.
        :param onUse: called with a case and its new use.
        :param onChosen: called when another case is chosen.
        """
        self._table = ui.caseTable
        self._onUse = onUse
        self._cases = []
        self._shown = []  # for each row what it shows
        self._timer = qt.QTimer(self._table)
        self._timer.setSingleShot(True)
        self._timer.connect("timeout()", self._showSome)
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
        self._shown = [*self._shown, *[None] * len(cases)][: len(cases)]
        self._showSome()
        if cases:
            self._table.selectRow(min(max(row, 0), len(cases) - 1))
        self._table.blockSignals(False)

    def _showSome(self):
        """Write the first rows that show something else than their cases; the others follow from the event loop."""
        written = 0
        for row, case in enumerate(self._cases):
            content = _content(case)
            if content == self._shown[row]:
                continue
            if written == _ROWS_AT_ONCE:
                self._timer.start(0)
                return
            self._showCase(row, content)
            self._shown[row] = content
            written += 1

    def _showCase(self, row, content):
        volume, segmentation, use, annotated, problem, tip = content
        for column, text in ((VOLUME, volume), (SEGMENTATION, segmentation), (ANNOTATED, annotated)):
            self._table.setItem(row, column, Widgets.tableItem(text, tip))
        warning = Widgets.tableItem("", tip)
        if problem:
            warning.setIcon(Widgets.warningIcon())
        self._table.setItem(row, PROBLEM, warning)
        box = self._table.cellWidget(row, USE) or self._addUseBox(row)
        box.blockSignals(True)
        box.setCurrentIndex(box.findData(use))
        box.blockSignals(False)

    def _addUseBox(self, row):
        box = qt.QComboBox()
        for use, text in uses().items():
            box.addItem(text, use)
        box.connect("currentIndexChanged(int)", lambda index: self._onUse(self._cases[row], box.itemData(index)))
        self._table.setCellWidget(row, USE, box)
        return box


def _content(case):
    """What the row of a case shows: four texts, whether there is a problem, and the tool tip."""
    volume = case.volumeNode.GetName() if case.volumeNode else case.name
    segmentation = case.segmentationNode.GetName() if case.segmentationNode else _("file")
    problem = "\n".join(map(str, case.problems))
    tip = problem or "\n".join([*case.notes, ", ".join(segment.name for segment in case.segments())])
    return volume, segmentation, case.use, annotatedText(case), bool(problem), tip


def annotatedText(case):
    """How many slices of a case are annotated, in few words."""
    if case.annotatedSlices is None:
        return _("as in the file") if not case.problems else "-"
    if case.isWhole:
        return _("all {count}").format(count=case.sliceCount)
    text = _("{count} of {total}").format(count=len(case.annotatedSlices), total=case.sliceCount)
    return _("{text}, {filled} filled").format(text=text, filled=len(case.filledSlices)) if case.filledSlices else text
