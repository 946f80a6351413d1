"""The section of the panel that is there only while the engine cannot start."""

import slicer
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Install import Installer, OfflineFolder, PyTorchExtension
from SAM2AdaptLib.Panels import Dialogs


class InstallSection:
    """Says why the engine cannot start, and installs it after asking.

    :ivar problem: ``EngineError`` that says why the engine cannot start; None if nothing is known against it.
    """

    def __init__(self, ui, onChanged):
        """
        :param ui: widgets of the panel by name.
        :param onChanged: called when the engine was installed.
        """
        self._ui = ui
        self._onChanged = onChanged
        self._job = None
        self.problem = None
        ui.installButton.connect("clicked()", self._onButton)
        ui.shoppingListButton.connect("clicked()", self._showShoppingList)
        ui.installCollapsibleButton.visible = False

    def show(self, problem):
        """Show the section for a problem (an ``EngineError``), or hide it for None."""
        self.problem = problem
        self._ui.installCollapsibleButton.visible = problem is not None
        if problem:
            self._ui.installLabel.text = str(problem)

    def resume(self):
        """Go on with an installation that had to wait for Slicer's restart; the user has agreed to it already."""
        pending = PyTorchExtension.takePendingInstall() if self.problem else None
        if pending:
            self._ui.installFolderEdit.currentPath = pending["wheelFolder"] or ""
            self._install()

    def cancel(self):
        """Stop an installation; what was downloaded is kept."""
        if self._isRunning():
            self._job.cancel()

    def _isRunning(self):
        return self._job is not None and not self._job.isOver

    def _onButton(self):
        if self._isRunning():
            self._job.cancel()
        elif self._isAgreed():
            self._install()

    def _isAgreed(self):
        """Show what is going to be installed and ask."""
        steps = Installer.plan(self._wheelFolder())
        names = "\n".join(f"{step.title}: {', '.join(step.missing)}" for step in steps)
        size = sum(step.megabytes for step in steps)
        question = _("Install the engine?")
        if self._wheelFolder():
            return Dialogs.confirm(question, _("From the folder chosen:") + "\n" + names, _("Install"))
        text = _("About {size} MB are downloaded into Slicer's Python:").format(size=size)
        return Dialogs.confirm(question, f"{text}\n{names}", _("Install"))

    def _install(self):
        self._ui.installLogEdit.plainText = ""
        self._ui.installLogEdit.visible = True
        self._ui.installProgressBar.value = 0
        self._ui.installProgressBar.visible = True
        self._ui.installButton.text = _("Stop")
        self._job = Installer.install(
            self._wheelFolder(),
            onProgress=self._onProgress,
            onLog=self._ui.installLogEdit.appendPlainText,
            onFinished=self._onFinished,
            onError=self._onError,
        )

    def _onProgress(self, progress):
        self._ui.installProgressBar.value = round(1000 * progress["fraction"])
        self._ui.installLabel.text = progress["text"]

    def _onFinished(self, job):
        self._showEnd()
        self._ui.statusLabel.text = _("The engine is installed. {device}").format(device=job.diagnosis.device)
        self.show(None)
        self._onChanged()

    def _onError(self, job, error):
        self._showEnd()
        self.show(error)
        if error.kind == "PyTorchExtensionMissing":
            self._offerExtension(error)
        elif error.kind != "CancelledError":
            Dialogs.showError(error)

    def _offerExtension(self, error):
        """Ask whether Slicer's PyTorch extension may be installed and Slicer started again."""
        explanation = _(
            "It is downloaded from Slicer's server. Slicer starts again after that, so save your work first."
        )
        if not Dialogs.confirm(error.message, explanation, _("Install and restart")):
            return
        try:
            PyTorchExtension.installPyTorchExtension(self._wheelFolder())
        except EngineError as failure:
            Dialogs.showError(failure)
        else:
            slicer.util.restart()

    def _showEnd(self):
        self._ui.installProgressBar.visible = False
        self._ui.installButton.text = _("Install engine…")

    def _wheelFolder(self):
        return self._ui.installFolderEdit.currentPath or None

    def _showShoppingList(self):
        Dialogs.showText(_("To fetch on another computer"), OfflineFolder.shoppingList())
