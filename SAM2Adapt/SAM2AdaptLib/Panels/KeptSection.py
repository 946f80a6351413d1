"""The section “What is kept on this computer”: what there is of patients beyond a run, and a button that deletes it."""

import ctk
import qt
from sam2adapt.shared.errors import UserError
from sam2adapt.shared.files import megabytes
from sam2adapt.shared.safety import kept
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import fromUserError
from SAM2AdaptLib.Panels import Dialogs, Widgets
from SAM2AdaptLib.Training import RunFolders

_UNTIL, _WHERE = 3, 4  # columns


class KeptSection:
    """Lists what is kept when it is opened, and deletes the kind that is selected after asking.

    :ivar button: ctkCollapsibleButton, collapsed; ``table``: QTableWidget, whose last two columns are long and shown
        for the selected row by ``detailLabel``; ``deleteButton``: QPushButton.
    """

    def __init__(self, layout):
        """
        :param layout: of the panel's sections; this one comes last.
        """
        self.button = ctk.ctkCollapsibleButton()
        self.button.text = _("What is kept on this computer")
        self.table = qt.QTableWidget()
        self.table.setColumnCount(5)
        self.table.setHorizontalHeaderLabels([_("What"), _("Number"), _("Size"), _("Until"), _("Where")])
        self.table.setEditTriggers(qt.QAbstractItemView.NoEditTriggers)
        self.table.setSelectionBehavior(qt.QAbstractItemView.SelectRows)
        self.table.setSelectionMode(qt.QAbstractItemView.SingleSelection)
        self.table.verticalHeader().hide()
        Widgets.fitColumns(self.table.horizontalHeader(), _UNTIL)
        for column in (_UNTIL, _WHERE):
            self.table.setColumnHidden(column, True)
        self.detailLabel = qt.QLabel()
        self.detailLabel.wordWrap = True
        self.deleteButton = qt.QPushButton(_("Delete…"))
        self.deleteButton.toolTip = _("Delete all of the kind that is selected.")
        self.label = qt.QLabel()
        self.label.wordWrap = True
        inside = qt.QVBoxLayout(self.button)
        for widget in (self.table, self.detailLabel, self.deleteButton, self.label):
            inside.addWidget(widget)
        layout.addWidget(self.button)
        self._found = []
        self.table.connect("itemSelectionChanged()", self._onSelected)
        self.deleteButton.connect("clicked()", self._onDelete)
        self.button.connect("contentsCollapsed(bool)", lambda isCollapsed: None if isCollapsed else self.update())
        self.button.collapsed = True

    def update(self):
        """Look again."""
        try:
            self._found = kept.kept()
        except UserError as error:
            self._found = []
            self.label.text = str(error)
        titles, times = _titles(), _times()
        rows = [(titles[one.kind], str(one.count), megabytes(one.bytes), times[one.kind], str(one.folder))
                for one in self._found]  # fmt: skip
        self.table.setRowCount(len(rows))
        for row, texts in enumerate(rows):
            for column, text in enumerate(texts):
                self.table.setItem(row, column, Widgets.tableItem(text, text))
        self._onSelected()

    def _selected(self):
        row = self.table.currentRow()
        return self._found[row] if 0 <= row < len(self._found) and self.table.selectedItems() else None

    def _onSelected(self):
        chosen = self._selected()
        self.deleteButton.enabled = chosen is not None and chosen.count > 0
        self.detailLabel.text = (
            _("Kept until {time}, in {folder}.").format(time=_times()[chosen.kind], folder=chosen.folder)
            if chosen
            else _("Select a row to see until when and where it is kept.")
        )

    def _onDelete(self):
        chosen = self._selected()
        if chosen is None:
            return
        question = _("Delete all of “{what}”?").format(what=_titles()[chosen.kind])
        if not Dialogs.confirm(question, _consequences()[chosen.kind], _("Delete")):
            return
        try:
            self.label.text = _deleteRuns() if chosen.kind == kept.RUNS else _deleteFiles(chosen.kind)
        except UserError as error:
            Dialogs.showError(fromUserError(error))
        self.update()


def _deleteFiles(kind):
    return _("Files deleted: {count}.").format(count=kept.delete_files(kind))


def _deleteRuns():
    """Delete the folders of all runs but those that a Slicer works on; returns what to say."""
    deleted = inUse = 0
    for folder in sorted(path for path in kept.folder_of(kept.RUNS).iterdir() if path.is_dir()):
        try:
            RunFolders.discard(folder)
        except UserError:
            inUse += 1
        else:
            deleted += 1
    text = _("Runs deleted: {count}.").format(count=deleted)
    if inUse:
        text += " " + _("In use, or not of SAM2Adapt, and kept: {count}.").format(count=inUse)
    return text


def _titles():
    return {
        kept.SLICES: _("Training slices"),
        kept.NAMES: _("Names of training cases"),
        kept.RUNS: _("Training runs"),
    }


def _times():
    return {
        kept.SLICES: _("the model is removed"),
        kept.NAMES: _("the model is removed"),
        kept.RUNS: _("you delete them, images and labels until the run ends"),
    }


def _consequences():
    return {
        kept.SLICES: _("Models stay. When you continue one, it may forget what it knew, and that cannot be measured."),
        kept.NAMES: _("Models stay. Which of your images were case 1, case 2 … is no longer known."),
        kept.RUNS: _(
            "Unfinished trainings cannot go on, and models that were not added to your own are lost. Models that were"
            " added stay."
        ),
    }
