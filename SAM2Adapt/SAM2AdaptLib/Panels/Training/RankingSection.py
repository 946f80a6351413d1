"""The section of the panel that says which case, and which slices of it, to correct next."""

import qt
import slicer
from slicer.i18n import tr as _

from SAM2AdaptLib.Panels import Widgets
from SAM2AdaptLib.Panels.JobControl import JobControl
from SAM2AdaptLib.Scene import SliceViews, Volumes


class RankingSection:
    """Ranks volumes by a model's doubts and takes the slice views to them; nothing in the scene is changed."""

    def __init__(self, ui, logic, chosenModel, whyNoEngine, onEngineMissing):
        """
        :param ui: widgets of the panel by name.
        :param logic: ``SAM2AdaptTrainingLogic``.
        :param chosenModel: function that gives the ``Catalog.Model`` to rank with, None without one.
        :param whyNoEngine: function that says why the engine cannot run; "" if it can.
        :param onEngineMissing: called with the ``EngineError`` that says why the engine does not start.
        """
        self._ui = ui
        self._logic = logic
        self._chosenModel = chosenModel
        self._whyNoEngine = whyNoEngine
        self._onEngineMissing = onEngineMissing
        self._control = JobControl(logic.downloadBase, self._showProgress, self._showError)
        self.isRunning, self.cancel = self._control.isRunning, self._control.cancel
        self._targets = []  # of the items of the tree, by number: (RankedVolume, position or None)
        self._loaded = {}  # path of a ranked file -> ID of the volume that was loaded from it
        Widgets.fitColumns(ui.rankingTree.header(), ui.rankingTree.columnCount)
        ui.rankSceneButton.connect("clicked()", self.rankScene)
        ui.rankFolderButton.connect("clicked()", self.rankFolder)
        ui.rankingTree.connect("itemClicked(QTreeWidgetItem*,int)", self._onItemClicked)
        ui.rankingTree.connect("itemDoubleClicked(QTreeWidgetItem*,int)", self._onItemDoubleClicked)
        ui.rankingTree.connect("itemActivated(QTreeWidgetItem*,int)", self._onItemDoubleClicked)  # by the keyboard
        self.clear()

    def leave(self):
        """Stop for good, because the panel is about to go."""
        self._control.leave()
        self.cancel()

    def clear(self):
        """Forget the list, for instance because its scene was closed."""
        self._targets, self._loaded = [], {}
        self._ui.rankingTree.clear()
        self._ui.rankingLabel.text = ""

    def update(self):
        """Show what is possible now."""
        running = self.isRunning()
        reason = self._whyNoEngine() or ("" if self._chosenModel() else _("Choose a model."))
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
            self.cancel()
        else:
            self._rank(Volumes.unlabelled(), self._chosenModel())

    def rankFolder(self):
        """Ask for a folder and rank its images."""
        folder = qt.QFileDialog.getExistingDirectory(self._ui.rankFolderButton, _("Folder of images"))
        if folder:
            self._rank(folder, self._chosenModel())

    def _rank(self, volumes, model, anyModality=False):
        def start(**callbacks):
            return self._logic.startRanking(volumes, str(model.path), anyModality=anyModality, **callbacks)

        self.clear()
        self._control.start(start, self._onFinished, anyway=lambda: self._rank(volumes, model, anyModality=True))
        self.update()

    def _showProgress(self, fraction, text):
        self._ui.rankingProgressBar.value = round(1000 * fraction)
        self._ui.rankingLabel.text = text
        self.update()

    def _showError(self, error):
        self._ui.rankingLabel.text = str(error)
        if error.kind == "EngineMissing":
            self._onEngineMissing(error)
        self.update()

    def _onFinished(self, job):
        for volume in job.ranked:
            item = self._add(self._ui.rankingTree, volume, None, volume.name, f"{volume.score:.3f}")
            for entry in volume.slices:
                names = {"direction": entry.direction, "number": entry.index + 1, "count": entry.count}
                text = _("{direction} slice {number} of {count}").format(**names)
                self._add(item, volume, entry.position, text, "")
        if self._ui.rankingTree.topLevelItemCount:
            self._ui.rankingTree.topLevelItem(0).setExpanded(True)
        failed = [_("{name}: {error}").format(name=name, error=error) for name, error in job.failed]
        self._ui.rankingLabel.text = "\n".join(failed) or _("Correct the first, then train again.")
        self.update()

    def _add(self, parent, volume, position, *texts):
        item = qt.QTreeWidgetItem(parent)
        for column, text in enumerate(texts):
            item.setText(column, text)
        item.setData(0, qt.Qt.UserRole, len(self._targets))
        if volume.path:
            item.setToolTip(0, _("Double-click to load it into the scene."))
        self._targets.append((volume, position))
        return item

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
