"""What the panels do with widgets in the same way everywhere: lists, tables, and the lines that say how it stands."""

import contextlib

import qt


class StatusLine:
    """Two labels: what happened last, and why the button below them cannot be clicked now."""

    def __init__(self, label, hintLabel):
        self._label, self._hintLabel = label, hintLabel
        self.show("")
        self.hint("")

    def show(self, text):
        """Show what happened; "" for nothing."""
        self._label.text = text

    def hint(self, text):
        """Show what is missing for a start; "" for nothing."""
        self._hintLabel.text = text
        self._hintLabel.visible = bool(text)


def fillComboBox(comboBox, items, keepsChoice=True):
    """Replace the items of a QComboBox; the chosen value stays chosen, and no signal is sent.

    :param items: list of (text, value).
    :param keepsChoice: add a chosen value that is not among them, because it is a parameter; else the first is chosen.
    """
    chosen = comboBox.currentData
    # Rebuilding the list is not a choice of the user, so the parameter must not change.
    comboBox.blockSignals(True)
    comboBox.clear()
    for text, value in items:
        comboBox.addItem(text, value)
    if keepsChoice and chosen and comboBox.findData(chosen) < 0:
        comboBox.addItem(chosen, chosen)
    comboBox.setCurrentIndex(max(0, comboBox.findData(chosen)))
    comboBox.blockSignals(False)


def fitColumns(header, count, stretched=(0,)):
    """Let some columns of a table or tree take the room that the others, as wide as their contents, leave."""
    for column in range(count):
        mode = qt.QHeaderView.Stretch if column in stretched else qt.QHeaderView.ResizeToContents
        header.setSectionResizeMode(column, mode)


@contextlib.contextmanager
def fittedOnce(header):
    """Fit columns once after a table is filled; Qt would fit them with each cell, which takes seconds for hundreds."""
    modes = [header.sectionResizeMode(column) for column in range(header.count())]
    for column in range(len(modes)):
        header.setSectionResizeMode(column, qt.QHeaderView.Fixed)
    yield
    for column, mode in enumerate(modes):
        header.setSectionResizeMode(column, mode)


def fillTable(table, rows):
    """Show rows of texts in a QTableWidget: a name on the left, numbers aligned at the right."""
    table.setRowCount(len(rows))
    with fittedOnce(table.horizontalHeader()):
        for index, row in enumerate(rows):
            for column, text in enumerate(row):
                item = qt.QTableWidgetItem(text)
                if column:
                    item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
                table.setItem(index, column, item)


def tableItem(text, toolTip):
    """A QTableWidgetItem with a text and a tool tip."""
    item = qt.QTableWidgetItem(text)
    item.setToolTip(toolTip)
    return item


def warningIcon():
    """The sign for something that the user has to mend."""
    return qt.QApplication.style().standardIcon(qt.QStyle.SP_MessageBoxWarning)
