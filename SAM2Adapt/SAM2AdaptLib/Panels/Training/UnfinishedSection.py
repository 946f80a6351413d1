"""The section of the panel for trainings that were interrupted; it is there only while there is one."""

from sam2adapt.shared.errors import UserError
from slicer.i18n import tr as _

from SAM2AdaptLib.Panels import Dialogs
from SAM2AdaptLib.Training import RunFolders


class UnfinishedSection:
    """Offers to resume what was interrupted, or to delete it."""

    def __init__(self, ui, onResume):
        """
        :param ui: widgets of the panel by name.
        :param onResume: called with one of ``RunFolders.unfinishedRuns``.
        """
        self._ui = ui
        self._onResume = onResume
        self._runs = []
        ui.resumeButton.connect("clicked()", self._resume)
        ui.discardButton.connect("clicked()", self._discard)
        self.read()

    def read(self):
        """Look for unfinished trainings that no Slicer works on."""
        self._runs = RunFolders.unfinishedRuns()
        self._ui.unfinishedComboBox.clear()
        for run in self._runs:
            text = _("{name}, {created}; passes done: {epochs}")
            created = run["created"].replace("T", " ")[:16]
            text = text.format(name=run["name"], created=created, epochs=run["epochs"])
            if run["place"]:
                text = _("{text}, on {place}").format(text=text, place=run["place"])
            self._ui.unfinishedComboBox.addItem(text)
        self._ui.unfinishedCollapsibleButton.visible = bool(self._runs)

    def setEnabled(self, enabled):
        """Allow to resume or not, for instance while another training runs."""
        self._ui.resumeButton.enabled = self._ui.discardButton.enabled = enabled

    def _chosen(self):
        return self._runs[self._ui.unfinishedComboBox.currentIndex]

    def _resume(self):
        self._onResume(self._chosen())

    def _discard(self):
        run = self._chosen()
        question = _("Delete the unfinished training of “{name}”?").format(name=run["name"])
        if Dialogs.confirm(question, _("What it has reached is lost."), _("Delete")):
            try:
                RunFolders.discard(run["folder"])
            except UserError as error:
                self._ui.statusLabel.text = str(error)
            self.read()
