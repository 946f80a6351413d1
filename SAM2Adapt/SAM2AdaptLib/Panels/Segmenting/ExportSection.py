"""The menu beside *Show 3D*: the segmentation as files of other programs, and as a page with pictures."""

import qt
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Panels.JobControl import JobControl
from SAM2AdaptLib.Report import DicomSource, Export, Surfaces
from SAM2AdaptLib.Scene import Volumes

_NIFTI, _DICOM, _PAGE = "NIfTI (*.nii.gz)", "DICOM (*.dcm)", "HTML (*.html)"


class ExportSection:
    """Asks where to, exports, and says in the panel what was written."""

    def __init__(self, ui, logic, chosen, showStatus):
        """
        :param ui: widgets of the panel by name.
        :param logic: ``SAM2AdaptLogic``.
        :param chosen: function that gives the volume and the segmentation, each perhaps None.
        :param showStatus: function that shows a sentence in the panel.
        """
        self._button, self._logic, self._chosen, self._showStatus = ui.exportButton, logic, chosen, showStatus
        self._control = JobControl(logic.downloadBase, self._onProgress, self._onStopped, showsBoxes=False)
        self._menu = qt.QMenu(self._button)  # Python's reference keeps it: a QToolButton does not own its menu
        self._menu.toolTipsVisible = True
        self._add(_("Label map (NIfTI)…"), self.exportLabelmap)
        self._dicomAction = self._add(_("DICOM segmentation…"), self.exportDicomSeg)
        self._add(_("Surfaces (STL)…"), lambda: self.exportSurfaces(Surfaces.STL))
        self._add(_("Surfaces (OBJ)…"), lambda: self.exportSurfaces(Surfaces.OBJ))
        self._menu.addSeparator()
        self._add(_("Page with pictures, without names…"), self.makePage)
        self._add(_("Page with pictures and names…"), lambda: self.makePage(showNames=True))
        self._menu.connect("aboutToShow()", self._updateMenu)
        self._button.setMenu(self._menu)
        self.update()

    def _add(self, text, slot):
        action = self._menu.addAction(text)
        action.connect("triggered()", slot)
        return action

    def cleanup(self):
        """Cancel what is running."""
        self._control.cancel()

    def update(self):
        """Enable the button where there is a segmentation to export."""
        volumeNode, segmentationNode = self._chosen()
        hasNodes = Volumes.hasVoxels(volumeNode) and bool(segmentationNode)
        self._button.enabled = hasNodes and not self._control.isRunning()

    def _updateMenu(self):
        """Say why there is no DICOM segmentation, where there can be none."""
        problem = ""
        try:
            DicomSource.files(self._chosen()[0])
        except DicomSource.SeriesError as error:
            problem = f"{error.message} {error.remedy}"
        self._dicomAction.enabled = not problem
        self._dicomAction.toolTip = problem

    def exportLabelmap(self):
        """Write the segmentation as NIfTI."""
        if path := self._askFile(_("Export label map"), ".nii.gz", _NIFTI):
            self._do(lambda: [_namesNote(path), *self._logic.exportLabelmap(*self._chosen(), path)], path)

    def exportSurfaces(self, fileFormat):
        """Write the surfaces of the segments."""
        folder = qt.QFileDialog.getExistingDirectory(self._button, _("Folder for the surfaces"))
        if folder:
            self._do(lambda: self._logic.exportSurfaces(self._chosen()[1], folder, fileFormat)[1], folder)

    def exportDicomSeg(self):
        """Write the segmentation as DICOM SEG."""
        if path := self._askFile(_("Export DICOM segmentation"), ".dcm", _DICOM):
            self._begin(self._logic.startExportDicomSeg, path)

    def makePage(self, showNames=False):
        """Write a page with pictures and volumes, and show it in the browser."""
        if path := self._askFile(_("Save page"), ".html", _PAGE, named=showNames):
            self._begin(self._logic.startPage, path, showNames, shown=True)

    def _askFile(self, title, suffix, kind, named=True):
        """Where to; "" if the user does not want to. The segmentation's name, which may be a patient's, is offered."""
        name = Export.fileName(self._chosen()[1].GetName()) if named else _("segmentation")
        path = qt.QFileDialog.getSaveFileName(self._button, title, f"{name}{suffix}", kind)
        return path if not path or path.lower().endswith(suffix) else f"{path}{suffix}"

    def _do(self, export, place):
        try:
            notes = export()
        except EngineError as error:
            self._showStatus(str(error))
        else:
            self._showStatus("\n".join([_("Exported to {place}.").format(place=place), *notes]))

    def _begin(self, start, path, *options, shown=False):
        nodes = self._chosen()

        def onFinished(job):
            self._showStatus("\n".join([_("Exported to {place}.").format(place=path), *job.log]))
            self.update()
            if shown:
                qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(path))

        self._control.start(lambda **callbacks: start(*nodes, path, *options, **callbacks), onFinished)
        self.update()

    def _onProgress(self, fraction, text):
        self._showStatus(_("Exporting…"))

    def _onStopped(self, error):
        self._showStatus(str(error))
        self.update()


def _namesNote(path):
    """Where the names of a label map's values are written."""
    return _("{file} beside it holds the names of its values.").format(file=Export.tableOf(path).name)
