"""The menu behind the list of models: import, export, details, removal, downloaded weights."""

import qt
from sam2adapt.shared.files import models_folder
from slicer.i18n import tr as _

from SAM2AdaptLib.Models import Catalog
from SAM2AdaptLib.Panels import Dialogs

FILE_FILTER = "SAM2Adapt (*.safetensors)"


class ModelMenu:
    """Actions on model files. What reads or changes a model is done by the engine, which checks it in full."""

    def __init__(self, ui, engine, chosenModel, onChanged):
        """
        :param ui: widgets of the panel by name.
        :param engine: ``EngineClient``.
        :param chosenModel: function that gives the ``Catalog.Model`` chosen in the list, or None.
        :param onChanged: called with the engine's row of a new model, or without argument when something is gone.
        """
        self._button = ui.modelMenuButton
        self._statusLabel = ui.statusLabel
        self._engine = engine
        self._chosenModel = chosenModel
        self._onChanged = onChanged
        # Python's reference keeps the menu: a QToolButton does not own the menu that it shows.
        self._menu = qt.QMenu(self._button)
        self._forChosen = []
        self._add(_("Import model from file…"), self.importModel)
        self._add(_("Export model…"), self.exportModel, forChosen=True)
        self._add(_("Model details"), self.showDetails, forChosen=True)
        self._removeAction = self._add(_("Remove model…"), self.removeModel)
        self._menu.addSeparator()
        self._deleteAction = self._add(_("Delete downloaded weights…"), self.deleteDownloads)
        self._add(_("Open models folder"), self.openFolder)
        self._menu.connect("aboutToShow()", self.update)
        self._button.setMenu(self._menu)

    def _add(self, text, slot, forChosen=False):
        action = self._menu.addAction(text)
        action.connect("triggered()", slot)
        if forChosen:
            self._forChosen.append(action)
        return action

    def update(self):
        """Enable what is possible with the chosen model."""
        model = self._chosenModel()
        for action in self._forChosen:
            action.enabled = model is not None and not model.problem
        self._removeAction.enabled = model is not None and model.where == Catalog.OWN
        self._deleteAction.enabled = bool(Catalog.downloadedFiles())

    def importModel(self):
        """Ask for a model file and add a checked copy of it to the user's models."""
        path = qt.QFileDialog.getOpenFileName(self._button, _("Import model from file"), "", FILE_FILTER)
        if path:
            self._request("addModel", {"path": path}, _("The model was imported."), self._onChanged)

    def exportModel(self):
        """Ask for a place and write a copy of the chosen model there."""
        model = self._chosenModel()
        path = qt.QFileDialog.getSaveFileName(self._button, _("Export model"), model.path.name, FILE_FILTER)
        if path:
            self._request("exportModel", {"name": model.id, "path": path}, _("The model was exported."))

    def showDetails(self):
        """Show all that the chosen model's file says about itself."""
        model = self._chosenModel()
        self._request("modelDetails", {"name": model.id}, "", lambda r: Dialogs.showText(model.name, r["text"]))

    def removeModel(self):
        """Delete the chosen model's file, after asking."""
        model = self._chosenModel()
        question = _("Remove the model “{name}”?").format(name=model.id)
        if Dialogs.confirm(question, _("Its file is deleted: {path}").format(path=model.path), _("Remove")):
            self._request("removeModel", {"name": model.id}, _("The model was removed."), lambda r: self._onChanged())

    def deleteDownloads(self):
        """Delete the downloaded base weights, after asking. They can be downloaded again."""
        paths = Catalog.downloadedFiles()
        megabytes = round(sum(path.stat().st_size for path in paths) / 1e6)
        question = _("Delete {megabytes} MB of downloaded weights?").format(megabytes=megabytes)
        explanation = _("Models that need them download them again: {names}")
        names = ", ".join(path.name for path in paths)
        if not Dialogs.confirm(question, explanation.format(names=names), _("Delete")):
            return
        for path in paths:
            path.unlink()
        self._statusLabel.text = _("The downloaded weights were deleted.")
        self._onChanged()

    def openFolder(self):
        """Show the user's models in the file manager."""
        folder = models_folder()
        folder.mkdir(parents=True, exist_ok=True)
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(folder)))

    def _request(self, method, params, done, onResult=lambda result: None):
        before, asking = self._statusLabel.text, _("Asking the engine…")

        def finished(result):
            # A run that the engine was busy with may have said something since.
            if done or self._statusLabel.text == asking:
                self._statusLabel.text = done or before
            onResult(result)

        def failed(error):
            self._statusLabel.text = str(error)
            Dialogs.showError(error)

        self._statusLabel.text = asking
        self._engine.request(method, params, onResult=finished, onError=failed)
