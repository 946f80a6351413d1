"""What a training starts from: a base network by a preset, or one of the models to teach more; and the new name."""

import re
import time

from slicer.i18n import tr as _

from SAM2AdaptLib.Models import Catalog
from SAM2AdaptLib.Panels import Widgets
from SAM2AdaptLib.Training import Options

_NAME = re.compile(r"[^./\\@][^/\\@]{0,99}")  # as the schema of model files has it


class StartSection:
    """Fills the boxes of models and says what the choice needs; what is chosen are parameters.

    :ivar models: usable models as last read from the disk.
    """

    def __init__(self, ui):
        """
        :param ui: widgets of the panel by name.
        """
        self._ui = ui
        self.models = []
        _fill(ui.baseComboBox, _("As the preset says"), Options.BASES)
        _fill(ui.methodComboBox, _("As the preset says"), Options.METHODS)
        _fill(ui.axisComboBox, _("Chosen from the data"), Options.AXES)
        self.read()

    def read(self, newModel=""):
        """Read the models again.

        :param newModel: NAME@VERSION of a model that was just trained, which is the next to rank cases with.
        """
        self.models = [model for model in Catalog.modelList() if not model.problem]
        names = [model.id for model in self.models]
        starts = [(_("Continue {model}").format(model=name), name) for name in names]
        Widgets.fillComboBox(self._ui.startComboBox, [(_("Base network (a new model)"), ""), *starts])
        Widgets.fillComboBox(self._ui.rankingModelComboBox, [(name, name) for name in names], keepsChoice=False)
        if newModel in names:
            self._ui.rankingModelComboBox.setCurrentIndex(self._ui.rankingModelComboBox.findData(newModel))

    def rankingModel(self):
        """The ``Catalog.Model`` chosen for the ranking, None without one."""
        return Catalog.findModel(self.models, self._ui.rankingModelComboBox.currentData or "")

    def problem(self, node):
        """Why the chosen start is not possible; "" if it is."""
        if node.startModel and not Catalog.findModel(self.models, node.startModel):
            return _("The model “{name}” is not on this computer. Choose another start.").format(name=node.startModel)
        return ""

    def nameProblem(self, name):
        """Why a new model cannot be called that; "" if it can."""
        if not name.strip():
            return _("Give the model a name.")
        if not _NAME.fullmatch(name.strip()):
            return _("The model's name holds a character that file names cannot have. Use letters, digits and -.")
        if self._isTaken(name):
            return _("There is a model “{name}” already. Give the new one another name.").format(name=name.strip())
        return ""

    def freeName(self, name=""):
        """A name for a new model: this one, or one that tells when it was made, with a number where it is taken."""
        base = re.sub(r"-\d{1,3}$", "", name.strip()) or time.strftime("my-model-%Y%m%d")
        names = [name.strip() or base, *(f"{base}-{number}" for number in range(2, 1000))]
        return next(name for name in names if not self._isTaken(name))

    def _isTaken(self, name):
        return any(model.name.casefold() == name.strip().casefold() for model in self.models)

    def update(self, node):
        """Show what fits the chosen start."""
        isNew = not node.startModel
        for name in ("presetComboBox", "presetComboBoxLabel"):
            getattr(self._ui, name).visible = isNew
        for name in ("baseComboBox", "methodComboBox", "methodSettingsEdit"):
            getattr(self._ui, name).enabled = isNew
        self._ui.quickCheckBox.visible = Options.quickFits(node)
        self._ui.startHintLabel.text = self.problem(node) or self._hint(node)

    def _hint(self, node):
        if node.quick and Options.quickFits(node):
            return _("Only the last layers learn. For a few corrected cases of the same kind.")
        if node.startModel:
            return _("Learns more from your cases, and is checked against what it could before.")
        if node.base or node.method:
            return _("Base and method are those chosen under Expert.")
        return node.preset.needs()


def _fill(box, default, values):
    box.addItem(default, "")
    for value in values:
        box.addItem(value, value)
