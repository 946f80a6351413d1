"""The table of a batch's studies: how each ended, the volume of each structure, and a way to see it."""

import os
from pathlib import Path

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Panels import Dialogs

STUDY, STATUS, SECONDS, FIRST_STRUCTURE = range(4)


class BatchResults:
    """Fills the table, and loads the study that is double-clicked.

    :ivar rows: see ``FolderBatch.FolderBatch``.
    :ivar folder: of the results; "" for a batch of the scene.
    """

    def __init__(self, table, logic, onShown, showStatus):
        """
        :param table: QTableWidget.
        :param logic: ``SAM2AdaptLogic``.
        :param onShown: called with the volume and the segmentation of a study that is to be seen.
        :param showStatus: function that shows a sentence in the panel.
        """
        self._table, self._logic, self._onShown, self._showStatus = table, logic, onShown, showStatus
        self._structures = []
        self._loaded = {}  # number of the row -> IDs of the nodes that were loaded for it
        self.begin("", "")
        table.connect("cellDoubleClicked(int,int)", self.open)
        table.connect("cellActivated(int,int)", self.open)  # by the keyboard

    def begin(self, inputFolder, folder):
        """Empty the table for a batch of a folder, or of the scene ("")."""
        self._inputFolder, self.folder = inputFolder, folder
        self.show([])

    def add(self, rows):
        """Show further rows."""
        structures = [s["name"] for row in rows for s in row["structures"] if s["name"] not in self._structures]
        if structures:
            self.show(self.rows + rows)
            return
        self.rows += rows
        self._table.setRowCount(len(self.rows))
        for number in range(len(self.rows) - len(rows), len(self.rows)):
            self._showRow(number)

    def show(self, rows):
        """Show these rows in the place of all others."""
        self.rows, self._loaded = list(rows), {}
        self._structures = list(dict.fromkeys(s["name"] for row in rows for s in row["structures"]))
        sizes = [_("{structure} (mL)").format(structure=name) for name in self._structures]
        titles = [_("Study"), _("Status"), _("Seconds"), *sizes, _("Message")]
        self._table.setColumnCount(len(titles))
        self._table.setHorizontalHeaderLabels(titles)
        self._table.setRowCount(len(self.rows))
        for number in range(len(self.rows)):
            self._showRow(number)
        self._table.resizeColumnsToContents()

    def sceneClosed(self):
        """Forget the nodes; of a batch of the scene also its rows. Returns whether rows of a folder are still shown."""
        self._loaded = {}
        if not self.folder:
            self.show([])
        return bool(self.rows)

    def open(self, number, column=0):
        """Show the volume of a study with its result; those of a folder are loaded into the scene."""
        row = self.rows[number]
        if row["status"] != "done":
            name = studyName(row, self._inputFolder)
            reason = row["message"] or _("start the batch again to go on.")
            self._showStatus(_("{name} was not segmented: {reason}").format(name=name, reason=reason))
            return
        try:
            nodes = self._nodes(number) or self._load(number)
        except EngineError as error:
            Dialogs.showError(error)
        else:
            self._onShown(*nodes)

    def _nodes(self, number):
        """Volume and segmentation of a row, if they are in the scene."""
        row = self.rows[number]
        ids = (row["volumeId"], row["segmentationId"]) if "volumeId" in row else self._loaded.get(number, ())
        nodes = [slicer.mrmlScene.GetNodeByID(nodeId or "") for nodeId in ids]
        if "volumeId" in row and not nodes[0]:
            raise EngineError("VolumeError", _("The volume is no longer in the scene."))
        return nodes if nodes and nodes[0] and (nodes[1] or "volumeId" in row) else None

    def _load(self, number):
        row = self.rows[number]
        volumeNode = loadVolume(row, self._logic)
        path = os.path.join(self.folder, row["output"])
        segmentationNode = slicer.modules.segmentations.logic().LoadSegmentationFromFile(path, True)
        if segmentationNode is None:
            slicer.mrmlScene.RemoveNode(volumeNode)
            raise EngineError("InputFileError", _("'{path}' cannot be loaded.").format(path=path))
        segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
        self._loaded[number] = volumeNode.GetID(), segmentationNode.GetID()
        return volumeNode, segmentationNode

    def _showRow(self, number):
        row = self.rows[number]
        sizes = {s["name"]: s["ml"] for s in row["structures"]}
        seconds = f"{sum(row['seconds'].values()):.1f}" if row["seconds"] else ""
        texts = [studyName(row, self._inputFolder), statusInWords(row["status"]), seconds]
        texts += ["" if sizes.get(name) is None else f"{sizes[name]:.1f}" for name in self._structures]
        for column, text in enumerate([*texts, row["message"]]):
            item = qt.QTableWidgetItem(text)
            item.setToolTip(row["message"] or row["input"])
            if SECONDS <= column < FIRST_STRUCTURE + len(self._structures):
                item.setTextAlignment(qt.Qt.AlignRight | qt.Qt.AlignVCenter)
            self._table.setItem(number, column, item)
        if row["status"] == "failed":
            icon = qt.QApplication.style().standardIcon(qt.QStyle.SP_MessageBoxWarning)
            self._table.item(number, STATUS).setIcon(icon)


def statusInWords(status):
    """Status of a study for people."""
    return {"done": _("segmented"), "failed": _("failed"), "open": _("not done yet")}[status]


def summary(rows):
    """How a batch ended, in a sentence."""
    counts = {status: sum(row["status"] == status for row in rows) for status in ("done", "failed", "open")}
    text = _("{done} of {count} studies are segmented, {failed} failed.").format(count=len(rows), **counts)
    return f"{text} {_('{open} are left.').format(**counts)}" if counts["open"] else text


def studyName(row, inputFolder):
    """A short name of a study: its place in the folder of inputs, and its DICOM series where that is not clear."""
    if not inputFolder:
        return row["input"]
    name = os.path.relpath(row["input"], inputFolder)
    if row["series"]:
        output = row["output"].removesuffix(".seg.nrrd") if row["output"] else f"{name} {row['series']}"
        return Path(output).as_posix()
    return Path(name).as_posix()


def loadVolume(row, logic):
    """Load the volume of a folder's study into the scene.

    :param row: see ``FolderBatch.FolderBatch``.
    :return: the volume node.
    :raises EngineError: it is no longer there, or cannot be loaded.
    """
    files = logic.seriesFiles(row["input"], row["series"]) if row["series"] else [row["input"]]
    names = vtk.vtkStringArray()
    for file in files:
        names.InsertNextValue(file)
    name = studyName(row, os.path.dirname(row["input"]))
    singleFile = 4  # of vtkSlicerVolumesLogic::LoadingOptions; neighbours with numbers in their names are other studies
    options = 0 if len(files) > 1 else singleFile
    node = slicer.modules.volumes.logic().AddArchetypeVolume(files[0], name, options, names)
    if node is None:
        raise EngineError("InputFileError", _("'{path}' cannot be loaded.").format(path=row["input"]))
    return node
