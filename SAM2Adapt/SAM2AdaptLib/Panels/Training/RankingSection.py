"""The section of the panel that says which case, and which slices of it, to correct next."""

import qt
import slicer
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Panels import Dialogs
from SAM2AdaptLib.Scene import SliceViews
from SAM2AdaptLib.Training import RankingJob


class TrainingRanking:
    """Ranks volumes by a model's doubts and takes the slice views to them; nothing in the scene is changed."""

    def __init__(self, ui, startRanking, chosenModel):
        """
        :param ui: widgets of the panel by name.
        :param startRanking: ``SAM2AdaptTrainingLogic.startRanking``.
        :param chosenModel: function that gives the path of the model to rank with, "" without one.
        """
        self._ui = ui
        self._startRanking = startRanking
        self._chosenModel = chosenModel
        self._job = None
        self._targets = []  # of the items of the tree, by number: (RankedVolume, position or None)
        self._loaded = {}  # path of a ranked file -> ID of the volume that was loaded from it
        header = ui.rankingTree.header()
        header.setSectionResizeMode(0, qt.QHeaderView.Stretch)
        header.setSectionResizeMode(1, qt.QHeaderView.ResizeToContents)
        ui.rankSceneButton.connect("clicked()", self.rankScene)
        ui.rankFolderButton.connect("clicked()", self.rankFolder)
        ui.rankingTree.connect("itemClicked(QTreeWidgetItem*,int)", self._onItemClicked)
        ui.rankingTree.connect("itemDoubleClicked(QTreeWidgetItem*,int)", self._onItemDoubleClicked)
        self.clear()

    def isRunning(self):
        """Whether a ranking is on its way."""
        return self._job is not None and not self._job.isOver

    def cancel(self):
        """Stop at once."""
        if self.isRunning():
            self._job.cancel()

    def clear(self):
        """Forget the list, for instance because its scene was closed."""
        self._targets, self._loaded = [], {}
        self._ui.rankingTree.clear()
        self._ui.rankingLabel.text = ""

    def update(self, problem):
        """Show what is possible now.

        :param problem: sentence that says why the engine cannot run; "" if it can.
        """
        running = self.isRunning()
        reason = problem or ("" if self._chosenModel() else _("Choose a model."))
        self._ui.rankSceneButton.text = _("Cancel") if running else _("Rank volumes of the scene")
        self._ui.rankSceneButton.enabled = running or not reason
        self._ui.rankFolderButton.enabled = not running and not reason
        for button in (self._ui.rankSceneButton, self._ui.rankFolderButton):
            if reason:
                button.toolTip = reason
        self._ui.rankingProgressBar.visible = running

    def rankScene(self):
        """Rank the volumes of the scene that have no segmentation, or stop that."""
        if self.isRunning():
            self._job.cancel()
        else:
            self._rank(RankingJob.unlabelledVolumes())

    def rankFolder(self):
        """Ask for a folder and rank its images."""
        folder = qt.QFileDialog.getExistingDirectory(self._ui.rankFolderButton, _("Folder of images"))
        if folder:
            self._rank(folder)

    def _rank(self, volumes):
        self.clear()
        try:
            self._job = self._startRanking(
                volumes,
                self._chosenModel(),
                onProgress=self._onProgress,
                onFinished=self._onFinished,
                onError=self._onError,
            )
        except EngineError as error:
            self._ui.rankingLabel.text = str(error)
        self.update("")

    def _onProgress(self, progress):
        self._ui.rankingProgressBar.value = round(1000 * progress["fraction"])
        self._ui.rankingLabel.text = progress["text"]

    def _onFinished(self, job):
        for volume in job.ranked:
            item = self._add(self._ui.rankingTree, volume, None, volume.name, f"{volume.score:.3f}")
            for entry in volume.slices:
                text = _("slice {axis} {number}").format(axis=entry.axis, number=entry.index)
                self._add(item, volume, entry.position, text, "")
        if self._ui.rankingTree.topLevelItemCount:
            self._ui.rankingTree.topLevelItem(0).setExpanded(True)
        failed = [_("{name}: {error}").format(name=name, error=error) for name, error in job.failed]
        self._ui.rankingLabel.text = "\n".join(failed) or _("Correct the first, then train again.")
        self.update("")

    def _add(self, parent, volume, position, *texts):
        item = qt.QTreeWidgetItem(parent)
        for column, text in enumerate(texts):
            item.setText(column, text)
        item.setData(0, qt.Qt.UserRole, len(self._targets))
        if volume.path:
            item.setToolTip(0, _("Double-click to load it into the scene."))
        self._targets.append((volume, position))
        return item

    def _onError(self, job, error):
        self._ui.rankingLabel.text = str(error)
        self.update("")
        if error.kind != "CancelledError":
            Dialogs.showError(error)

    def _onItemClicked(self, item, column):
        volume, position = self._targets[item.data(0, qt.Qt.UserRole)]
        self._jump(self._node(volume), position or next((s.position for s in volume.slices), None))

    def _onItemDoubleClicked(self, item, column):
        volume = self._targets[item.data(0, qt.Qt.UserRole)][0]
        if volume.path and not self._node(volume):
            self._loaded[volume.path] = slicer.util.loadVolume(str(volume.path)).GetID()
        self._onItemClicked(item, column)

    def _node(self, volume):
        if volume.path:
            nodeId = self._loaded.get(volume.path)
            return slicer.mrmlScene.GetNodeByID(nodeId) if nodeId else None
        return volume.volumeNode if slicer.mrmlScene.IsNodePresent(volume.volumeNode) else None

    def _jump(self, volumeNode, position):
        if volumeNode:
            SliceViews.showVolume(volumeNode)
            if position is not None:
                SliceViews.jumpTo(position)
