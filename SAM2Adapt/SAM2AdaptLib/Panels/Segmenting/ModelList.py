"""The searchable list of models: what each segments, for which images, how well and how fast."""

import functools
import textwrap

import qt
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine import ProgressTexts
from SAM2AdaptLib.Models import Catalog, ExpectedTime
from SAM2AdaptLib.Panels import Widgets
from SAM2AdaptLib.Scene import VolumeGrid, VolumeModality, Volumes

NAME, MODALITY, ACCURACY, TIME = range(4)
SEARCHED = qt.Qt.UserRole + 1
_STRUCTURES_SHOWN = 4
_TOOLTIP_WIDTH = 80
_LINE_WIDTH = 26  # characters; fits into a panel 400 pixels wide
_UNKNOWN = "\u2013"  # a dash: not measured yet


class ModelList:
    """Fills the tree of models and the structures of the chosen one; what is chosen there are parameters.

    :ivar models: list of ``Catalog.Model`` as last read from the disk.
    :ivar modality: that of the volume to segment; "" when it is not known.
    """

    def __init__(self, ui, propose):
        """
        :param ui: widgets of the panel by name.
        :param propose: function that gives the ``Catalog.Model`` to propose for a volume, or None, of those that fit.
        """
        self._ui, self._propose = ui, propose
        self._shown = None
        self.models = []
        self.modality = ""
        self._proposed = None  # model that was chosen here and not by the user
        self._modelHint = ""
        Widgets.fitColumns(ui.modelTree.header(), ui.modelTree.columnCount)
        ui.modelSearchBox.connect("textChanged(QString)", self._filter)
        self.read()

    def read(self):
        """Read the models and the expected times again."""
        self.models = Catalog.modelList()
        self._shown = None

    def chosen(self, parameterNode):
        """The model that the parameter names, None if it is not on this computer."""
        return next((model for model in self.models if model.id == parameterNode.model), None)

    def update(self, parameterNode):
        """Show the models for the parameters as they are now, those that fit the volume first."""
        volumeNode = parameterNode.inputVolume
        volume = (volumeNode, Volumes.hasVoxels(volumeNode))
        settings = (parameterNode.model, parameterNode.device, parameterNode.testTimeAugmentation)
        if self._shown == (volume, settings):
            return
        if self._shown is None or self._shown[0] != volume:
            self.modality = VolumeModality.volumeModality(volumeNode) if Volumes.hasVoxels(volumeNode) else ""
        self._shown = (volume, settings)
        isProposed = not parameterNode.model or parameterNode.model == self._proposed
        if isProposed and Volumes.hasVoxels(volumeNode):
            proposed = self._propose(volumeNode, self._fitting(volumeNode))
            self._proposed = parameterNode.model = proposed.id if proposed else ""
        model = self.chosen(parameterNode)
        self._fillModels(parameterNode)
        self._fillStructures(model.structures if model else (), parameterNode.skippedStructures)
        self._modelHint = self._hint(model, parameterNode.model)
        self._filter(self._ui.modelSearchBox.text)

    def _fitting(self, volumeNode):
        shapeAlong = functools.partial(VolumeGrid.sliceShape, volumeNode)
        return Catalog.candidates(self.models, self.modality, shapeAlong)

    def _fillModels(self, parameterNode):
        tree = self._ui.modelTree
        # Rebuilding the list is not a choice of the user, so the parameter must not change.
        tree.blockSignals(True)
        tree.clear()
        for model in sorted(self.models, key=lambda model: (bool(model.problem), not model.fits(self.modality))):
            item = self._item(model, self._expectedSeconds(model, parameterNode))
            if model.id == parameterNode.model and not tree.selectedItems():
                tree.setCurrentItem(item)
        tree.blockSignals(False)

    def _expectedSeconds(self, model, parameterNode):
        if model.problem or not Volumes.hasVoxels(parameterNode.inputVolume):
            return None
        slices = VolumeGrid.sliceCount(parameterNode.inputVolume, model.axis)
        settings = (parameterNode.device, parameterNode.testTimeAugmentation)
        return ExpectedTime.expectedSeconds(model, slices, *settings)

    def _item(self, model, seconds):
        item = qt.QTreeWidgetItem(self._ui.modelTree)
        item.setData(NAME, qt.Qt.UserRole, model.id)
        item.setData(NAME, SEARCHED, " ".join([model.description, model.license, *model.structures]))
        about = model.problem or structuresInWords(model.structures)
        item.setText(NAME, f"{model.name}\n{textwrap.fill(about, _LINE_WIDTH)}")  # a tree does not wrap by itself
        item.setText(MODALITY, model.modality)
        item.setText(ACCURACY, _UNKNOWN if model.dice is None else f"{model.dice:.2f}")
        item.setText(TIME, _UNKNOWN if seconds is None else ProgressTexts.duration(seconds))
        item.setToolTip(NAME, tooltip(model))
        item.setToolTip(TIME, _("For the whole of the chosen volume, as last measured on this computer."))
        item.setToolTip(ACCURACY, _("Dice overlap with the reference on other images: 1 is perfect, 0 is no overlap."))
        if warning := model.problem or mismatch(model, self.modality):
            item.setIcon(MODALITY, Widgets.warningIcon())
            for column in range(self._ui.modelTree.columnCount):
                item.setToolTip(column, f"{warning}\n{tooltip(model)}" if column == NAME else warning)
        return item

    def _fillStructures(self, names, skipped):
        structureList = self._ui.structureList
        structureList.blockSignals(True)
        structureList.clear()
        for name in names:
            item = qt.QListWidgetItem(name, structureList)
            item.setCheckState(qt.Qt.Unchecked if name in skipped else qt.Qt.Checked)
        structureList.blockSignals(False)

    def _hint(self, model, name):
        if model is None:
            missing = _("The model “{name}” is not on this computer. Choose another one, or import its file.")
            return missing.format(name=name) if name else _("There is no model on this computer. Import one.")
        weights = _("Needs the weights “{base}”, which are not on this computer. You can download them when it starts.")
        hints = [model.description, "" if model.basePresent or model.problem else weights.format(base=model.base)]
        return model.problem or " ".join(hints).strip()

    def _filter(self, text):
        """Show the models that have all words of a text, and below the list what there is to say."""
        words = text.casefold().split()
        tree, count = self._ui.modelTree, 0
        for row in range(tree.topLevelItemCount):
            item = tree.topLevelItem(row)
            searched = " ".join([item.text(NAME), item.text(MODALITY), item.data(NAME, SEARCHED)]).casefold()
            isShown = all(word in searched for word in words)
            item.setHidden(not isShown)
            count += isShown
        isEmpty = words and not count
        noMatch = _("No model matches “{text}”.").format(text=text.strip())
        self._ui.modelHintLabel.text = noMatch if isEmpty else self._modelHint


def mismatch(model, modality):
    """A sentence that warns of a model that was made for another modality than the volume's; "" when it fits."""
    if model.fits(modality):
        return ""
    text = _("This model is for {model}, but the volume looks like {volume}.")
    return text.format(model=model.modality, volume=modality)


def structuresInWords(structures):
    """The first names of a list of structures and how many more there are."""
    if len(structures) <= _STRUCTURES_SHOWN + 1:
        return ", ".join(structures)
    more = _("and {number} more").format(number=len(structures) - _STRUCTURES_SHOWN)
    return f"{', '.join(structures[:_STRUCTURES_SHOWN])} {more}"


def tooltip(model):
    """All that a line of the list has no room for."""
    where = _("came with SAM2Adapt") if model.where == Catalog.BUNDLED else str(model.path)
    licence = _("Licence: {license}").format(license=model.license) if model.license else ""
    lines = [f"{model.name} {model.version} ({where})", model.description, ", ".join(model.structures), licence]
    return "\n".join(textwrap.fill(line, _TOOLTIP_WIDTH) for line in lines if line)
