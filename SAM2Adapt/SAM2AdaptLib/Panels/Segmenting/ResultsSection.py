"""The section of the panel that shows a result and leads on from it."""

import slicer

from SAM2AdaptLib.Panels import Editor, TrainingModule, Widgets
from SAM2AdaptLib.Scene import SegmentationHistory, Statistics

UNCERTAINTY_OPACITY = 0.5


class ResultsSection:
    """The table of the last result, and what can be done with it."""

    def __init__(self, ui, onUndone):
        """
        :param ui: widgets of the panel by name.
        :param onUndone: called after the former segmentation was brought back.
        """
        self._ui = ui
        self._onUndone = onUndone
        self._nodeIds = ("", "", "")
        self._rows = []
        Widgets.fitColumns(ui.resultsTable.horizontalHeader(), ui.resultsTable.columnCount)
        ui.copyButton.connect("clicked()", self.copy)
        ui.editButton.connect("clicked()", self.edit)
        ui.trainButton.connect("clicked()", self.useForTraining)
        ui.undoButton.connect("clicked()", self.undo)
        ui.uncertaintyCheckBox.connect("toggled(bool)", self.showUncertainty)
        self.clear()

    def clear(self):
        """Forget the result, for instance because its scene was closed."""
        self._nodeIds = ("", "", "")
        self._rows = []
        self._ui.resultsCollapsibleButton.visible = False

    def show(self, volumeNode, segmentationNode, uncertaintyNode=None):
        """Show a segmentation of a volume; ``uncertaintyNode`` is laid over the image."""
        nodes = (volumeNode, segmentationNode, uncertaintyNode)
        self._nodeIds = tuple(node.GetID() if node else "" for node in nodes)
        self._ui.resultsCollapsibleButton.visible = True
        self._rows = Statistics.measure(volumeNode, segmentationNode)
        Widgets.fillTable(self._ui.resultsTable, [_texts(row) for row in self._rows])
        self._ui.undoButton.enabled = SegmentationHistory.canUndo(segmentationNode)
        self.showUncertainty(self._ui.uncertaintyCheckBox.checked)

    def copy(self):
        """Put the table on the clipboard, tab separated."""
        slicer.app.clipboard().setText(Statistics.asText(self._rows))

    def edit(self):
        """Open the Segment Editor on the result."""
        Editor.show(*self._nodes()[:2])

    def useForTraining(self):
        """Open the training module on the result."""
        TrainingModule.useForTraining(self._nodes()[1])

    def undo(self):
        """Bring back the segmentation as it was before the last run."""
        volumeNode, segmentationNode = self._nodes()[:2]
        SegmentationHistory.undo(segmentationNode)
        if self._nodes()[1] and segmentationNode.GetSegmentation().GetNumberOfSegments():
            self.show(volumeNode, segmentationNode)
        else:
            self.clear()
        self._onUndone()

    def showUncertainty(self, shown):
        """Lay the uncertainty of the last result over the image, or take it away."""
        uncertaintyNode = self._nodes()[2]
        if uncertaintyNode:
            foreground = uncertaintyNode if shown else None
            slicer.util.setSliceViewerLayers(foreground=foreground, foregroundOpacity=UNCERTAINTY_OPACITY)

    def update(self):
        """Forget the result when one of its nodes is gone."""
        if self._rows and not all(self._nodes()[:2]):
            self.clear()

    def _nodes(self):
        return tuple(slicer.mrmlScene.GetNodeByID(nodeId) if nodeId else None for nodeId in self._nodeIds)


def _texts(row):
    """A row of ``Statistics.measure`` as the table shows it."""
    return row["structure"], f"{row['ml']:.1f}", "-" if row["mean"] is None else f"{row['mean']:.1f}"
