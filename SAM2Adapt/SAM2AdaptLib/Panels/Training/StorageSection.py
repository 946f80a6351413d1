"""The section of the panel about what finished trainings have left on the disk."""

from sam2adapt.shared.errors import UserError
from slicer.i18n import tr as _

from SAM2AdaptLib.Panels import Dialogs
from SAM2AdaptLib.Training import RunFolders


class StorageSection:
    """Says how much room finished trainings take, and frees it; it is there only while there is something to free."""

    def __init__(self, ui, showStatus):
        """
        :param ui: widgets of the panel by name.
        :param showStatus: function that shows a sentence in the panel.
        """
        self._ui, self._showStatus = ui, showStatus
        ui.freeSpaceButton.connect("clicked()", self._free)
        self.read()

    def read(self):
        """Measure again."""
        work, slices = (_bytes(files) for files in (RunFolders.workFiles(), RunFolders.keptSlices()))
        self._ui.storageCollapsibleButton.visible = bool(work + slices)
        text = _("Working files of finished trainings: {work} MB. Slices kept for continuing models: {slices} MB.")
        self._ui.storageLabel.text = text.format(work=_megabytes(work), slices=_megabytes(slices))

    def _free(self):
        files = [*RunFolders.workFiles(), *RunFolders.keptSlices()]
        question = _("Delete {megabytes} MB of working files and kept slices?").format(
            megabytes=_megabytes(_bytes(files))
        )
        explanation = _("Your models stay. When you continue a model without its slices, it may forget more.")
        if Dialogs.confirm(question, explanation, _("Delete")):
            try:
                RunFolders.free()
            except UserError as error:
                self._showStatus(str(error))
            self.read()


def _bytes(files):
    return sum(file.stat().st_size for file in files)


def _megabytes(count):
    return f"{count / 1e6:.0f}" if count >= 1e7 else f"{count / 1e6:.1f}"
