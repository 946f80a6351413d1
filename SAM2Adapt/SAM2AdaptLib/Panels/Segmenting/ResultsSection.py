"""The section of the panel that shows the result of a volume and leads on from it."""

import slicer
from slicer.i18n import tr as _

from SAM2AdaptLib.Panels import Dialogs, Editor, TrainingModule, Widgets
from SAM2AdaptLib.Scene import Results, SegmentationHistory, Sequences, Statistics

UNCERTAINTY_OPACITY = 0.5
# Hidden without a result.
_UNDONE = ("resultsTable", "editButton", "trainButton", "copyButton", "undoButton", "trustLabel")


class ResultsSection:
    """The table of the result of one volume, and what can be done with it."""

    def __init__(self, ui, onChanged, showStatus):
        """
        :param ui: widgets of the panel by name.
        :param onChanged: called after undo and redo with the volume and its segmentation, None if there is none now.
        :param showStatus: function that shows a sentence in the panel.
        """
        self._ui, self._onChanged, self._showStatus = ui, onChanged, showStatus
        Widgets.fitColumns(ui.resultsTable.horizontalHeader(), ui.resultsTable.columnCount)
        ui.copyButton.connect("clicked()", self.copy)
        ui.editButton.connect("clicked()", self.edit)
        ui.trainButton.connect("clicked()", self.useForTraining)
        ui.undoButton.connect("clicked()", self.undo)
        ui.redoButton.connect("clicked()", self.redo)
        ui.uncertaintyCheckBox.connect("toggled(bool)", self.showUncertainty)
        self.clear()

    def clear(self):
        """Forget the result, for instance because its scene was closed."""
        self._nodeIds, self._rows = ("", ""), []
        self._undone = self._undoneVolumeId = self._putUncertaintyBack = None
        self._ui.resultsCollapsibleButton.visible = False

    def show(self, volumeNode, segmentationNode):
        """Show a segmentation of a volume; the uncertainty of the volume is laid over the image."""
        self._undone = None
        self._nodeIds = volumeNode.GetID(), segmentationNode.GetID()
        self._rows = Statistics.measure(volumeNode, segmentationNode)
        Widgets.fillTable(self._ui.resultsTable, [_texts(row) for row in self._rows])
        model = Results.modelOf(segmentationNode)
        names = {"volume": volumeNode.GetName(), "model": model}
        self._ui.resultsLabel.text = (_("{volume}, by {model}") if model else _("{volume}")).format(**names)
        self._ui.trustLabel.text = Results.trust(segmentationNode)
        self._showWidgets(True)
        self._ui.undoButton.enabled = SegmentationHistory.canUndo(segmentationNode)
        self.showUncertainty(self._ui.uncertaintyCheckBox.checked)

    def follow(self, volumeNode):
        """Show the result of another volume, or nothing if it has none.

        :return: the segmentation, None without one.
        """
        segmentationNode = Results.ofVolume(volumeNode)
        if segmentationNode is None or segmentationNode.GetSegmentation().GetNumberOfSegments() == 0:
            if self._undone is None or volumeNode is None or volumeNode.GetID() != self._undoneVolumeId:
                self.clear()
            return None
        if self._nodeIds != (volumeNode.GetID(), segmentationNode.GetID()):
            self.show(volumeNode, segmentationNode)
        return segmentationNode

    def copy(self):
        """Put the table on the clipboard, tab separated."""
        slicer.app.clipboard().setText(Statistics.asText(self._rows))

    def edit(self):
        """Open the Segment Editor on the result."""
        Editor.show(*self._nodes())

    def useForTraining(self):
        """Open the training module on the result."""
        TrainingModule.useForTraining(self._nodes()[1])

    def undo(self):
        """Bring back the segmentation as it was before the last run, but keep what the user has changed since."""
        volumeNode, segmentationNode = self._nodes()
        changed = SegmentationHistory.changedSinceRun(segmentationNode)
        if changed and not SegmentationHistory.keepsChanges(segmentationNode):
            question = _("You have changed {structures} since the run.").format(structures=", ".join(changed))
            if not Dialogs.confirm(question, _("Undo takes these changes back, too."), _("Undo")):
                return
        undone = SegmentationHistory.undo(segmentationNode)
        uncertaintyNode = Results.uncertaintyOf(volumeNode)
        self._putUncertaintyBack = Sequences.removeUncertainty(uncertaintyNode) if uncertaintyNode else None
        if undone.kept:
            text = _("Undone. You have changed {structures} since the run, so that stays.")
            self._showStatus(text.format(structures=", ".join(undone.kept)))
        else:
            self._showStatus(_("The run was undone."))
        isLeft = segmentationNode.GetScene() and segmentationNode.GetSegmentation().GetNumberOfSegments()
        if isLeft:
            self.show(volumeNode, segmentationNode)
        else:
            self._nodeIds, self._rows = ("", ""), []
            self._ui.resultsLabel.text = _("The result for {volume} was undone.").format(volume=volumeNode.GetName())
        self._undone, self._undoneVolumeId = (undone if undone.canRedo else None), volumeNode.GetID()
        self._showWidgets(bool(isLeft))
        self._onChanged(volumeNode, segmentationNode if isLeft else None)

    def redo(self):
        """Bring back what ``undo`` took away."""
        volumeNode = slicer.mrmlScene.GetNodeByID(self._undoneVolumeId)
        segmentationNode = self._undone.redo()
        if self._putUncertaintyBack:
            self._putUncertaintyBack()
        self._showStatus("")
        self.show(volumeNode, segmentationNode)
        self._onChanged(volumeNode, segmentationNode)

    def showUncertainty(self, shown):
        """Lay the uncertainty of the result over the image, or take it away."""
        uncertaintyNode = Results.uncertaintyOf(self._nodes()[0])
        if uncertaintyNode:
            foreground = uncertaintyNode if shown else None
            slicer.util.setSliceViewerLayers(foreground=foreground, foregroundOpacity=UNCERTAINTY_OPACITY)

    def update(self):
        """Forget the result when one of its nodes is gone, and what cannot be redone when its volume is."""
        isGone = self._rows and not all(self._nodes())
        if isGone or (self._undone and not slicer.mrmlScene.GetNodeByID(self._undoneVolumeId)):
            self.clear()

    def _showWidgets(self, hasResult):
        self._ui.resultsCollapsibleButton.visible = hasResult or self._undone is not None
        for name in _UNDONE:
            getattr(self._ui, name).visible = hasResult
        self._ui.redoButton.visible = self._undone is not None

    def _nodes(self):
        return tuple(slicer.mrmlScene.GetNodeByID(nodeId) if nodeId else None for nodeId in self._nodeIds)


def _texts(row):
    """A row of ``Statistics.measure`` as the table shows it."""
    return row["structure"], f"{row['ml']:.1f}", "-" if row["mean"] is None else f"{row['mean']:.1f}"
