"""The section of the panel that shows what a training gave and leads on from it."""

import qt
import slicer
from slicer.i18n import tr as _

from SAM2AdaptLib.Panels import Widgets
from SAM2AdaptLib.Scene import SliceViews

WORST_SHOWN = 8


class ResultsSection:
    """Dice for each structure, the worst cases, and what can be done with the new model."""

    def __init__(self, ui, addedModel, onExport):
        """
        :param ui: widgets of the panel by name.
        :param addedModel: function that gives the NAME@VERSION under which the model was added, "" if it was not.
        :param onExport: called with the path to which the model is to be copied.
        """
        self._ui = ui
        self._addedModel = addedModel
        self._onExport = onExport
        self._nodeIds = []
        for table in (ui.diceTable, ui.worstTable):
            Widgets.fitColumns(table.horizontalHeader(), table.columnCount)
        ui.worstTable.connect("cellClicked(int,int)", self._onWorstClicked)
        ui.worstTable.connect("cellActivated(int,int)", self._onWorstClicked)  # by the keyboard
        ui.useButton.connect("clicked()", self.useInAutoSegment)
        ui.exportButton.connect("clicked()", self.export)
        self.clear()

    def clear(self):
        """Hide the results of the run before."""
        self._nodeIds = []
        self._ui.resultsCollapsibleButton.visible = False

    def show(self, job):
        """Show what a run gave.

        :param job: finished ``TrainingJob``.
        """
        after = job.result.get("dice") or {}
        before = job.result.get("before") or {}
        rows = [
            (_("mean") if name == "mean" else name, _number(before.get(name)), _number(after[name])) for name in after
        ]
        Widgets.fillTable(self._ui.diceTable, rows)
        self._ui.diceTable.visible = bool(rows)
        worst = worstCases(job.result)[:WORST_SHOWN]
        self._nodeIds = [job.caseIds.get(name, (None, None)) for name, _dice in worst]
        nodes = [self._nodes(row)[0] for row in range(len(worst))]
        names = [node.GetName() if node else name for node, (name, _dice) in zip(nodes, worst, strict=True)]
        rows = [(name, _number(dice)) for name, (_id, dice) in zip(names, worst, strict=True)]
        Widgets.fillTable(self._ui.worstTable, rows)
        for widget in (self._ui.worstTable, self._ui.worstLabel):
            widget.visible = bool(worst)
        self._ui.resultsCollapsibleButton.visible = True
        self.update()

    def update(self):
        """Enable what is possible now."""
        self._ui.useButton.enabled = bool(self._addedModel())

    def useInAutoSegment(self):
        """Open Auto-segment with the new model."""
        slicer.util.getModuleLogic("SAM2Adapt").getParameterNode().model = self._addedModel()
        slicer.util.selectModule("SAM2Adapt")

    def export(self):
        """Ask for a place and copy the new model there."""
        path = qt.QFileDialog.getSaveFileName(
            self._ui.exportButton, _("Export model"), "model.safetensors", "SAM2Adapt (*.safetensors)"
        )
        if path:
            self._onExport(path)

    def _onWorstClicked(self, row, column):
        volumeNode, segmentationNode = self._nodes(row)
        if volumeNode and segmentationNode:
            SliceViews.jumpToSegmentation(volumeNode, segmentationNode)
        else:
            self._ui.statusLabel.text = _("This case is not in the scene.")

    def _nodes(self, row):
        return tuple(slicer.mrmlScene.GetNodeByID(nodeId) if nodeId else None for nodeId in self._nodeIds[row])


def worstCases(result):
    """List of (case, mean Dice of its structures) of the engine's answer to ``train``, the worst first."""
    metrics = (result.get("card") or {}).get("metrics") or {}
    means = []
    for case in result.get("cases") or metrics.get("cases") or []:
        values = [value for value in case["dice"].values() if value is not None]
        if values:
            means.append((case["id"], sum(values) / len(values)))
    return sorted(means, key=lambda entry: entry[1])


def _number(value):
    return "-" if value is None else f"{value:.3f}"
