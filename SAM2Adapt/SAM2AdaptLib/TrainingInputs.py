"""The sections of the panel for cases and structures: filled from the scene and from folders, never by guessing."""

from pathlib import Path

import qt
from sam2adapt.errors import UserError
from slicer.i18n import tr as _

from SAM2AdaptLib import Messages, TrainingCases
from SAM2AdaptLib.EngineError import EngineError
from SAM2AdaptLib.TrainingCaseList import TrainingCaseList
from SAM2AdaptLib.TrainingTables import CaseTable, ClassTable

_DELAY = 300  # ms; brushing a segment changes it many times a second


class FolderDropFilter(qt.QObject):
    """Takes folders that are dropped onto a widget."""

    def __init__(self, onFolder, parent):
        """
        :param onFolder: called with the path of each dropped folder.
        """
        qt.QObject.__init__(self, parent)
        self._onFolder = onFolder

    def eventFilter(self, watched, event):
        kind = event.type()
        if kind not in (qt.QEvent.DragEnter, qt.QEvent.DragMove, qt.QEvent.Drop):
            return False
        folders = [url.toLocalFile() for url in event.mimeData().urls() if Path(url.toLocalFile()).is_dir()]
        if not folders:
            return False
        event.acceptProposedAction()
        if kind == qt.QEvent.Drop:
            for folder in folders:
                self._onFolder(folder)
        return True


class TrainingInputs:
    """What there is to train on, and what of it is wrong."""

    def __init__(self, ui, onChanged):
        """
        :param ui: widgets of the panel by name.
        :param onChanged: called when cases or structures are others than before.
        """
        self._ui = ui
        self._onChanged = onChanged
        self._parameterNode = None
        self._list = TrainingCaseList(self._onNodesChanged)
        self._caseTable = CaseTable(ui, self._setUse, self._showChosen)
        self._classTable = ClassTable(ui, self._setClassUse)
        self._timer = qt.QTimer(ui.caseTable)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY)
        self._timer.connect("timeout()", self._onChanged)
        for text, whole in (
            (_("as the segments look"), None),
            (_("all of the volume"), True),
            (_("only those with segments"), False),
        ):
            ui.annotatedComboBox.addItem(text, whole)
        ui.annotatedComboBox.connect("activated(int)", self._setWhole)
        ui.emptySlicesEdit.connect("editingFinished()", self._declareEmpty)
        ui.addSceneButton.connect("clicked()", self.addScene)
        ui.addFolderButton.connect("clicked()", self.chooseFolder)
        ui.removeCaseButton.connect("clicked()", self.removeCase)
        self._dropFilter = FolderDropFilter(self.addFolder, ui.casesCollapsibleButton)
        ui.casesCollapsibleButton.acceptDrops = True
        ui.casesCollapsibleButton.installEventFilter(self._dropFilter)

    @property
    def cases(self):
        """List of ``TrainingCases.TrainingCase``."""
        return self._list.cases

    @property
    def classes(self):
        """List of ``TrainingClasses.TrainingClass``."""
        return self._list.classes

    def setParameterNode(self, parameterNode):
        """Follow another parameter node, or None."""
        self._parameterNode = parameterNode
        if parameterNode is None:
            self.cleanup()

    def cleanup(self):
        """Stop to follow the scene."""
        self._timer.stop()
        self._list.clear()

    def problem(self):
        """What forbids to train, in words; "" if nothing does."""
        if not self.cases:
            return _("Add corrected cases.")
        problems = self._list.problems()
        return str(problems[0]) if problems else ""

    def update(self):
        """Show cases and structures as they are now."""
        if self._parameterNode is None:
            return
        self._timer.stop()
        self._list.read(self._parameterNode)
        self._caseTable.show(self.cases)
        used = [case for case in self.cases if case.use != TrainingCases.IGNORE]
        self._classTable.show(self.classes, len(used))
        self._ui.classesCollapsibleButton.visible = bool(self.classes)
        self._showChosen()

    def addScene(self):
        """Add every segmentation of the scene."""
        if not self._list.addScene() and not self.cases:
            self._ui.statusLabel.text = _("No segmentation is in the scene. Segment a volume first.")
        self._onChanged()

    def chooseFolder(self):
        """Ask for a folder and add its cases."""
        folder = qt.QFileDialog.getExistingDirectory(self._ui.addFolderButton, _("Folder of images and labels"))
        if folder:
            self.addFolder(folder)

    def addFolder(self, folder):
        """Add the pairs of images and labels of a folder; nothing is loaded into the scene."""
        try:
            self._list.addFolder(self._parameterNode, folder)
        except UserError as error:
            self._ui.statusLabel.text = str(error)
            Messages.showError(EngineError(type(error).__name__, error.message, error.remedy))
        self._onChanged()

    def removeCase(self):
        """Take the chosen case out of the table."""
        if case := self._caseTable.chosen():
            self._list.remove(self._parameterNode, case)
            self._onChanged()

    def _onNodesChanged(self):
        self._timer.start()

    def _setUse(self, case, use):
        self._list.setUse(self._parameterNode, case, use)
        # Not from inside the signal of a box that showing the cases anew replaces.
        qt.QTimer.singleShot(0, self._onChanged)

    def _setClassUse(self, entry, isWanted):
        skipped = [key for key in self._parameterNode.skippedClasses if key != entry.key]
        self._parameterNode.skippedClasses = skipped if isWanted else [*skipped, entry.key]

    def _showChosen(self):
        """Show what there is to say and to set about the chosen case."""
        case = self._caseTable.chosen()
        texts = [str(text) for text in (*case.problems, *case.notes)] if case else []
        self._ui.caseHintLabel.text = "\n".join(texts)
        self._ui.caseHintLabel.visible = bool(texts)
        self._ui.removeCaseButton.enabled = case is not None
        isInScene = case is not None and case.segmentationNode is not None
        self._ui.annotationWidget.visible = isInScene
        if isInScene:
            choice = {TrainingCases.ALL: 1, TrainingCases.SOME: 2}
            attribute = case.segmentationNode.GetAttribute(TrainingCases.ANNOTATED_ATTRIBUTE)
            self._ui.annotatedComboBox.setCurrentIndex(choice.get(attribute, 0))
            self._ui.emptySlicesEdit.text = _declaredEmpty(case.segmentationNode)

    def _setWhole(self, index):
        case = self._caseTable.chosen()
        TrainingCases.setWhole(case.segmentationNode, self._ui.annotatedComboBox.itemData(index))
        self._examine(case)

    def _declareEmpty(self):
        case = self._caseTable.chosen()
        text = self._ui.emptySlicesEdit.text
        if case is None or case.segmentationNode is None or text == _declaredEmpty(case.segmentationNode):
            return
        words = [word for word in text.replace(",", " ").split() if word]
        try:
            if not all(word.isdecimal() for word in words):
                raise EngineError("SettingsError", _("Write numbers of slices with commas between them, as in 3,4,9."))
            TrainingCases.declareEmpty(case.segmentationNode, [int(word) for word in words])
        except (UserError, EngineError) as error:
            self._ui.statusLabel.text = str(error)
        self._examine(case)

    def _examine(self, case):
        case.examine()
        self._onChanged()


def _declaredEmpty(segmentationNode):
    try:
        return ",".join(map(str, TrainingCases.emptySlices(segmentationNode)))
    except UserError:
        return ""
