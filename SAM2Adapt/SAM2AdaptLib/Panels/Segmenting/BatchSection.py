"""The section of the panel that segments many studies: volumes of the scene, or all that lies in a folder."""

import os

import qt
import slicer
import vtk
from sam2adapt.shared.manifest_table import table
from slicer.i18n import tr as _
from slicer.util import VTKObservationMixin

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Engine.Job import RUNNING
from SAM2AdaptLib.Panels import Dialogs
from SAM2AdaptLib.Panels.JobControl import JobControl
from SAM2AdaptLib.Panels.Segmenting import BatchResults, RunControl
from SAM2AdaptLib.Panels.Widgets import StatusLine
from SAM2AdaptLib.Scene import Volumes

SCENE, FOLDER = range(2)
_PAGE = "report.html"  # in the folder of results


class BatchSection(VTKObservationMixin):
    """What is to be segmented, the progress over studies, and the table of results."""

    def __init__(self, ui, logic, chosen, whyNot, onSegmented, onEngineMissing):
        """
        :param ui: widgets of the panel by name.
        :param logic: ``SAM2AdaptLogic``.
        :param chosen: function that gives the parameter node (None while the panel is left) and the model.
        :param whyNot: function that says why no volume can be segmented with that model; "" if it can.
        :param onSegmented: called with a volume and its segmentation, to show them.
        :param onEngineMissing: called with the ``EngineError`` that says why the engine does not start.
        """
        VTKObservationMixin.__init__(self)
        self._ui, self._logic, self._chosen, self._whyNot = ui, logic, chosen, whyNot
        self._onEngineMissing = onEngineMissing
        self._control = JobControl(logic.downloadBase, self._showProgress, self._onStopped)
        self.isRunning, self.cancel = self._control.isRunning, self._control.cancel
        self._pageControl = JobControl(logic.downloadBase, self._showProgress, self._onPageStopped, showsBoxes=False)
        self._statusLine = StatusLine(ui.batchStatusLabel, ui.batchHintLabel)
        self._unchecked = set()  # IDs of volumes
        self._results = BatchResults.BatchResults(ui.batchTable, logic, onSegmented, self._statusLine.show)
        ui.batchButton.connect("clicked()", self.startOrStop)
        ui.batchSaveButton.connect("clicked()", self.saveTable)
        ui.batchOpenButton.connect("clicked()", self.openFolder)
        ui.batchPageButton.connect("clicked()", self.makePage)
        ui.batchSourceComboBox.connect("currentIndexChanged(int)", self._onSourceChanged)
        ui.batchVolumeList.connect("itemChanged(QListWidgetItem*)", self._onItemChanged)
        ui.batchInputEdit.connect("currentPathChanged(QString)", self.update)
        ui.batchOutputEdit.connect("currentPathChanged(QString)", self.update)
        scene = slicer.mrmlScene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self._onNode)
        self.addObserver(scene, scene.EndBatchProcessEvent, self._showVolumes)
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneClosed)
        self._onSourceChanged()
        self._showVolumes()

    def cleanup(self):
        """Cancel, and follow the scene no longer."""
        self.cancel()
        self._pageControl.cancel()
        self.removeObservers()

    def startOrStop(self):
        """Start a batch; or stop it after the slices in work, and the second time at once."""
        if not self.isRunning():
            self._start(*self._chosen())
        elif self._control.isJobRunning() and self._control.job.state == RUNNING:
            self._statusLine.show(_("Stopping…"))
            self._control.job.stop()
        else:
            self.cancel()
        self.update()

    def saveTable(self):
        """Ask for a file and write the table to it."""
        path = qt.QFileDialog.getSaveFileName(self._ui.batchSaveButton, _("Save table"), "batch.csv", "CSV (*.csv)")
        if not path:
            return
        try:
            with open(path, "w", encoding="utf-8-sig", newline="") as file:  # by the mark Excel knows UTF-8
                file.write(table(self._results.rows))
        except OSError as error:
            Dialogs.showError(
                EngineError(
                    "OutputError",
                    _("The table cannot be written: {error}.").format(error=error.strerror or error),
                    _("Choose another folder."),
                )
            )

    def makePage(self):
        """Make a page to look through the results, and show it in the browser; it names no file."""
        path = os.path.join(self._results.folder, _PAGE)

        def onFinished(job):
            self._statusLine.show(_("The page is {path}; only you can read it.").format(path=path))
            self.update()
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path))

        def start(**callbacks):
            return self._logic.startBatchPage(self._results.folder, path, **callbacks)

        self._pageControl.start(start, onFinished)
        self.update()

    def openFolder(self):
        """Show the folder of results in the file manager."""
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(self._results.folder))

    def update(self, *_unused):
        """Show what is possible now, and if not, why."""
        running, reason = self.isRunning(), self._whyNot() or self._missing()
        ui = self._ui
        self._statusLine.hint("" if running else reason)
        ui.batchButton.text = _("Segment all")
        ui.batchButton.toolTip = reason or _("One study after the other; one that fails does not stop the others.")
        if running:
            isStopping = self._control.isJobRunning() and self._control.job.state != RUNNING
            ui.batchButton.text = _("Stop at once") if isStopping else _("Cancel")
            ui.batchButton.toolTip = _("What is done stays; start again to go on.")
        ui.batchButton.enabled = running or not reason
        ui.batchProgressBar.visible = running or self._pageControl.isRunning()
        for widget in (ui.batchSourceComboBox, ui.batchVolumeList, ui.batchInputEdit, ui.batchOutputEdit):
            widget.enabled = not running
        hasRows = bool(self._results.rows)
        ui.batchTable.visible = hasRows
        ui.batchSaveButton.visible = hasRows
        for button in (ui.batchOpenButton, ui.batchPageButton):
            button.visible = hasRows and bool(self._results.folder)
        ui.batchPageButton.enabled = not (running or self._pageControl.isRunning())

    def _start(self, parameterNode, model):
        options = RunControl.runOptions(parameterNode, model)
        if self._ui.batchSourceComboBox.currentIndex == SCENE:
            options |= RunControl.sceneOptions(parameterNode)
            begin, inputs, folders = self._logic.startSegmentVolumes, [self._checkedVolumes()], ("", "")
        else:
            folders = self._ui.batchInputEdit.currentPath, self._ui.batchOutputEdit.currentPath
            begin, inputs = self._logic.startSegmentFolder, folders

        def start(**callbacks):
            self._results.begin(*folders)
            return begin(*inputs, model.path, **options, **callbacks)

        self._control.start(start, self._onFinished, onProgress=self._onProgress)
        self.update()

    def _showProgress(self, fraction, text):
        self._ui.batchProgressBar.value = round(1000 * fraction)
        self._statusLine.show(text)
        self.update()

    def _onProgress(self, progress):
        if progress["rows"]:
            self._results.add(progress["rows"])
        self._showProgress(progress["fraction"], progress["text"])

    def _onFinished(self, job):
        self._results.show(job.rows)
        self._statusLine.show(BatchResults.summary(job.rows))
        self.update()

    def _onStopped(self, error):
        rows = self._control.job.rows if self._control.job else []
        self._results.show(rows)
        self._statusLine.show("\n".join([str(error), *([BatchResults.summary(rows)] if rows else [])]))
        if error.kind == "EngineMissing":
            self._onEngineMissing(error)
        self.update()

    def _onPageStopped(self, error):
        self._statusLine.show(str(error))
        self.update()

    def _missing(self):
        """What is missing for a batch beside the model; "" for nothing."""
        if self._ui.batchSourceComboBox.currentIndex == SCENE:
            return "" if self._checkedVolumes() else _("Check at least one volume.")
        if not os.path.isdir(self._ui.batchInputEdit.currentPath):
            return _("Choose the folder to segment.")
        return "" if self._ui.batchOutputEdit.currentPath else _("Choose a folder for the results.")

    def _onSourceChanged(self, index=None):
        isFolder = self._ui.batchSourceComboBox.currentIndex == FOLDER
        for widget in (self._ui.batchVolumesLabel, self._ui.batchVolumeList):
            widget.visible = not isFolder
        for name in ("Input", "Output"):
            for kind in ("Label", "Edit"):
                getattr(self._ui, f"batch{name}{kind}").visible = isFolder
        self.update()

    def _onSceneClosed(self, caller, event):
        self._unchecked.clear()
        if not self._results.sceneClosed() and not self.isRunning():
            self._statusLine.show("")
        self._showVolumes()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _onNode(self, caller, event, node):
        if node.IsA("vtkMRMLVolumeNode") and not (caller.IsBatchProcessing() or caller.IsClosing()):
            self._showVolumes()

    def _showVolumes(self, caller=None, event=None):
        """List the volumes that could be segmented; new ones are checked."""
        volumeList = self._ui.batchVolumeList
        volumeList.blockSignals(True)
        volumeList.clear()
        self.removeObservers(self._onVolumeModified)
        for node in self._logic.volumes():
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onVolumeModified)
            item = qt.QListWidgetItem(node.GetName(), volumeList)
            item.setData(qt.Qt.UserRole, node.GetID())
            item.setCheckState(qt.Qt.Unchecked if node.GetID() in self._unchecked else qt.Qt.Checked)
        volumeList.blockSignals(False)
        self.update()

    def _onVolumeModified(self, caller, event):
        """Show the new name of a volume."""
        for row in range(self._ui.batchVolumeList.count):
            item = self._ui.batchVolumeList.item(row)
            if item.data(qt.Qt.UserRole) == caller.GetID() and item.text() != caller.GetName():
                item.setText(caller.GetName())

    def _onItemChanged(self, item):
        change = self._unchecked.discard if item.checkState() == qt.Qt.Checked else self._unchecked.add
        change(item.data(qt.Qt.UserRole))
        self.update()

    def _checkedVolumes(self):
        items = [self._ui.batchVolumeList.item(row) for row in range(self._ui.batchVolumeList.count)]
        checked = [item.data(qt.Qt.UserRole) for item in items if item.checkState() == qt.Qt.Checked]
        nodes = [slicer.mrmlScene.GetNodeByID(nodeId) for nodeId in checked]
        return [node for node in nodes if Volumes.hasVoxels(node)]
