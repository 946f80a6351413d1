"""The sections of the panel for cases and structures: filled from the scene and from folders, never by guessing."""

import re
from pathlib import Path

import qt
import slicer
import vtk
from sam2adapt.shared.errors import UserError
from sam2adapt.shared.labels.overlaps import FIRST, LAST, REFUSE
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import fromUserError
from SAM2AdaptLib.Panels import Dialogs, Editor, Effects
from SAM2AdaptLib.Panels.Training.AnnotationSection import AnnotationSection
from SAM2AdaptLib.Panels.Training.CaseList import CaseList
from SAM2AdaptLib.Panels.Training.CaseTable import CaseTable
from SAM2AdaptLib.Panels.Training.ClassTable import ClassTable
from SAM2AdaptLib.Training import Cases, LabelNames

_ITEM = re.compile(r"mrml://scene/subjecthierarchy/item\?id=(\d+)")  # what dragging in the Data module gives
_NAMES_SHOWN = 3
_DELAY = 300  # ms; brushing a segment changes it many times a second


class DropFilter(qt.QObject):
    """Takes folders and nodes that are dropped onto a widget; files are left to Slicer, which loads them."""

    def __init__(self, onFolder, onItems, parent):
        """
        :param onFolder: called with the path of each dropped folder.
        :param onItems: called with the subject hierarchy IDs of dropped nodes.
        """
        qt.QObject.__init__(self, parent)
        self._onFolder, self._onItems = onFolder, onItems

    def eventFilter(self, watched, event):
        kind = event.type()
        if kind not in (qt.QEvent.DragEnter, qt.QEvent.DragMove, qt.QEvent.Drop):
            return False
        urls = event.mimeData().urls()
        folders = [url.toLocalFile() for url in urls if url.isLocalFile() and Path(url.toLocalFile()).is_dir()]
        items = [int(dragged[1]) for url in urls if (dragged := _ITEM.fullmatch(url.toString()))]
        if not folders and not items:
            return False
        event.acceptProposedAction()
        if kind == qt.QEvent.Drop:
            for folder in folders:
                self._onFolder(folder)
            if items:
                self._onItems(items)
        return True


class InputsSection:
    """What there is to train on, and what of it is wrong."""

    def __init__(self, ui, onChanged):
        """
        :param ui: widgets of the panel by name.
        :param onChanged: called when cases or structures are others than before.
        """
        self._ui = ui
        self._onChanged = onChanged
        self._parameterNode = None
        self._adding = []  # pairs of what ``CaseList.addScene`` gave and a function for its result
        self._channelMissing = False  # whether a folder had no case with the chosen channel
        self._list = CaseList(self._onNodesChanged)
        self._caseTable = CaseTable(ui, self._setUse, self._showChosen)
        self._classTable = ClassTable(ui, self._setClassUse)
        self._timer = qt.QTimer(ui.caseTable)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_DELAY)
        self._timer.connect("timeout()", self._onChanged)
        self._annotation = AnnotationSection(ui, self._examine)
        for text, choice in (
            (_("the later segment wins"), LAST),
            (_("the earlier segment wins"), FIRST),
            (_("refuse the case"), REFUSE),
        ):
            ui.overlapComboBox.addItem(text, choice)
        ui.addSceneButton.connect("clicked()", self.addScene)
        ui.addFolderButton.connect("clicked()", self.chooseFolder)
        ui.removeCaseButton.connect("clicked()", self.removeCase)
        ui.fillButton.connect("clicked()", self.fillCase)
        self._dropFilter = DropFilter(self.addFolder, self.addItems, ui.casesCollapsibleButton)
        ui.casesCollapsibleButton.acceptDrops = True
        ui.casesCollapsibleButton.installEventFilter(self._dropFilter)

    @property
    def cases(self):
        """List of ``Cases.TrainingCase``."""
        return self._list.cases

    @property
    def classes(self):
        """List of ``Classes.TrainingClass``."""
        return self._list.classes

    @property
    def isLooking(self):
        """Whether cases are left to look at, some at a time."""
        return self._list.isWaiting or bool(self._adding)

    def setParameterNode(self, parameterNode):
        """Follow another parameter node, or None."""
        self._parameterNode = parameterNode
        if parameterNode is None:
            self.cleanup()

    def cleanup(self):
        """Stop to follow the scene."""
        self._timer.stop()
        self._adding = []
        self._list.clear()
        self._unfollow()

    def _unfollow(self):
        if self._list.unfollowSome():
            qt.QTimer.singleShot(0, self._unfollow)

    def problem(self):
        """What forbids to train, in words; "" if nothing does."""
        if self.isLooking:
            return _("Looking at the cases…")
        if self._list.refused:
            return str(fromUserError(self._list.refused[0]))
        if not self.cases:
            return _("Add corrected cases.")
        try:
            LabelNames.parse(self._parameterNode.labelNames)
        except UserError as error:
            return str(error)
        problems = self._list.problems()
        return str(problems[0]) if problems else ""

    def update(self):
        """Show cases and structures as they are now."""
        if self._parameterNode is None:
            return
        self._timer.stop()
        self._list.read(self._parameterNode)
        self._caseTable.show(self.cases)
        used = [case for case in self.cases if case.use != Cases.IGNORE]
        self._classTable.show(self.classes, len(used))
        self._ui.classesCollapsibleButton.visible = bool(self.classes)
        self._showDecisions(used)
        self._showChosen()
        if self._list.isWaiting:
            qt.QTimer.singleShot(0, self.lookOn)

    def lookOn(self):
        """Look at more of the cases, unless the panel was left meanwhile."""
        if self._parameterNode is not None and self._list.isWaiting:
            self._onChanged()

    def _showDecisions(self, used):
        """Say what training decides by itself about these cases, and show the controls to decide otherwise."""
        hasOverlap = any(case.hasOverlap for case in used)
        hasUnnamed = any(getattr(case, "isUnnamed", False) for case in self.cases)
        hasChannels = self._channelMissing or any(len(getattr(case, "channels", ())) > 1 for case in self.cases)
        self._ui.overlapWidget.visible = hasOverlap or self._parameterNode.overlap != LAST
        self._ui.channelWidget.visible = hasChannels or self._parameterNode.channel != 0
        self._ui.labelNamesWidget.visible = hasUnnamed
        texts = {
            "splitHintLabel": splitText(used, self._parameterNode.allForTraining),
            "classHintLabel": "\n".join(filter(None, map(missingText, self.classes))),
        }
        for name, text in texts.items():
            label = getattr(self._ui, name)
            label.text, label.visible = text, bool(text)

    def nodeRemoved(self, node):
        """Show that a node has left the scene, if it belongs to a case."""
        if any(node in (case.volumeNode, case.segmentationNode) for case in self.cases):
            self._onChanged()

    def addScene(self):
        """Add every segmentation of the scene that is not empty."""

        def added(count, empty):
            text = ""
            if not count and not self.cases and not empty:
                text = _("No segmentation is in the scene. Segment a volume first.")
            self._ui.statusLabel.text = " ".join(filter(None, [text, _emptyText(empty)]))

        self._add(None, added)

    def addItems(self, items):
        """Add the segmentations, and those of the volumes, that subject hierarchy items hold."""
        hierarchy, nodes = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene), []
        for item in items:
            collection = vtk.vtkCollection()
            hierarchy.GetDataNodesInBranch(item, collection, "vtkMRMLNode")
            nodes += [collection.GetItemAsObject(number) for number in range(collection.GetNumberOfItems())]

        def added(count, empty):
            if not count and not empty:
                self._ui.statusLabel.text = _("None of these is a segmentation, or has one, that is not in the table.")
            elif empty:
                self._ui.statusLabel.text = _emptyText(empty)

        self._add(nodes, added)

    def _add(self, nodes, onAdded):
        """Add segmentations of the scene, some at a time; several clicks are done one after the other."""
        self._adding.append((self._list.addScene(nodes), onAdded))
        if len(self._adding) == 1:
            self._addSome()

    def _addSome(self):
        if not self._adding:
            return
        steps, onAdded = self._adding[0]
        try:
            next(steps)
            self._ui.statusLabel.text = _("Looking at the cases…")
        except StopIteration as end:
            self._adding.pop(0)
            self._ui.statusLabel.text = ""
            onAdded(*end.value)
            self._onChanged()
        if self._adding:
            qt.QTimer.singleShot(0, self._addSome)

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
            failure = fromUserError(error)
            self._channelMissing = self._channelMissing or "channel" in error.setting
            self._ui.statusLabel.text = str(failure)
            Dialogs.showError(failure)
        self._onChanged()

    def removeCase(self):
        """Take the chosen case out of the table."""
        if case := self._caseTable.chosen():
            self._list.remove(self._parameterNode, case)
            self._onChanged()

    def fillCase(self):
        """Open the Segment Editor on the chosen case, with the effect that fills the slices between drawn ones."""
        case = self._caseTable.chosen()
        Editor.show(case.volumeNode, case.segmentationNode, Effects.FILL)

    def _onNodesChanged(self):
        self._timer.start()

    def _setUse(self, case, use):
        self._list.setUse(self._parameterNode, case, use)
        # Later, because showing the cases replaces the box whose signal this is.
        qt.QTimer.singleShot(0, self._onChanged)

    def _setClassUse(self, entry, isUsed):
        skipped = [key for key in self._parameterNode.skippedClasses if key != entry.key]
        self._parameterNode.skippedClasses = skipped if isUsed else [*skipped, entry.key]

    def _showChosen(self):
        """Show what there is to say and to set about the chosen case."""
        case = self._caseTable.chosen()
        texts = [str(text) for text in (*case.problems, *case.notes)] if case else []
        self._ui.caseHintLabel.text = "\n".join(texts)
        self._ui.caseHintLabel.visible = bool(texts)
        self._ui.removeCaseButton.enabled = case is not None
        self._ui.fillButton.enabled = bool(case and case.segmentationNode and case.volumeNode)
        self._annotation.show(case)

    def _examine(self, case):
        self._list.lookAgain(case)
        self._onChanged()


def splitText(used, allForTraining):
    """What becomes of the cases where none is set to “validate”; "" where nothing is decided silently."""
    count = sum(case.use == Cases.TRAIN for case in used)
    if allForTraining or count == 0 or any(case.use == Cases.VALIDATE for case in used):
        return ""
    if count == 1:
        return _("No case is set to “validate”: some slices of the case are kept out of training to measure accuracy.")
    return _(
        "No case is set to “validate”: {kept} of {count} cases will measure accuracy and not be trained on. Set “Use”"
        " to choose them, or tick “Train on all cases” under Expert."
    ).format(kept=Cases.heldOut(count), count=count)


def missingText(entry):
    """What a structure that is missing in some cases teaches; "" for others."""
    if not entry.use or not entry.missing:
        return ""
    cases = ", ".join(entry.missing[:_NAMES_SHOWN])
    if len(entry.missing) > _NAMES_SHOWN:
        cases = _("{cases} and {count} more").format(cases=cases, count=len(entry.missing) - _NAMES_SHOWN)
    return _(
        "'{name}' has no segment in {cases}: on annotated slices there the model learns that it is absent. If it was"
        " only not drawn, set these cases to “ignore” or uncheck '{name}'."
    ).format(name=entry.name, cases=cases)


def _emptyText(names):
    if not names:
        return ""
    return _("Not added, because nothing is drawn: {names}.").format(names=", ".join(names))
