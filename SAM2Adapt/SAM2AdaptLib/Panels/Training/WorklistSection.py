"""The section of the panel for a day's work: next case, its segmentation, its correction, and models that learn."""

import qt
import slicer
from sam2adapt.shared.errors import UserError
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError, asEngineErrors, fromUserError
from SAM2AdaptLib.Models import Catalog
from SAM2AdaptLib.Panels import Dialogs, Editor, Effects, Widgets
from SAM2AdaptLib.Panels.JobControl import JobControl
from SAM2AdaptLib.Segmenting import SegmentJob
from SAM2AdaptLib.Worklist.Loop import Loop
from SAM2AdaptLib.Worklist.OpenCase import OpenCase
from SAM2AdaptLib.Worklist.Worklist import DONE, LEARNT, NEW, OPEN, Worklist

SETTING = "SAM2Adapt/Worklist"  # the folder of the last worklist, in Slicer's settings
CASE, STATE, UNSURE = range(3)
_TICK = 1000  # ms between looks at what is due beside the user's work


class WorklistSection:
    """Shows a worklist; ``Loop`` does what goes on beside the user's work.

    :ivar ui: widgets of the section by name.
    :ivar worklist: ``Worklist.Worklist``, None before one is open.
    """

    def __init__(self, button, logic, options, freeName, isBusy, later=None):
        """
        :param button: ctkCollapsibleButton of ``Worklist.ui``.
        :param logic: ``SAM2AdaptTrainingLogic``.
        :param options, freeName: as of ``Loop``.
        :param isBusy: function that says whether the panel trains or the engine cannot run.
        :param later: as of ``Loop``.
        """
        self.ui = slicer.util.childWidgetVariables(button)
        self.worklist = self._loop = self._case = None
        self._logic, self._options, self._freeName, self._isBusy = logic, options, freeName, isBusy
        self._later = later or (lambda function: qt.QTimer.singleShot(0, function))
        self._control = JobControl(logic.downloadBase, self._showProgress, self._onStopped)
        self._shown = {}  # texts of the rows by id
        Widgets.fitColumns(self.ui.caseTree.header(), self.ui.caseTree.columnCount)
        self.ui.openButton.connect("clicked()", self.open)
        self.ui.nextButton.connect("clicked()", self.next)
        self.ui.segmentButton.connect("clicked()", self.segment)
        self.ui.fillButton.connect("clicked()", self.fill)
        self.ui.doneButton.connect("clicked()", self.done)
        self.ui.trainButton.connect("clicked()", self.trainOrStop)
        self.ui.afterSpinBox.connect("valueChanged(int)", self._work)
        self.ui.modelComboBox.connect("activated(int)", self._onModelChosen)
        self.ui.caseTree.connect("itemDoubleClicked(QTreeWidgetItem*,int)", self._onItem)
        self.ui.caseTree.connect("itemActivated(QTreeWidgetItem*,int)", self._onItem)  # by the keyboard
        self.ui.folderEdit.currentPath = qt.QSettings().value(SETTING) or ""
        self._timer = qt.QTimer(button)
        self._timer.setInterval(_TICK)
        self._timer.connect("timeout()", self._work)
        self.readModels()
        self.update()

    def readModels(self):
        """Read the models to begin with again."""
        names = [model.id for model in Catalog.modelList() if not model.problem]
        Widgets.fillComboBox(self.ui.modelComboBox, [(_("No model: draw"), ""), *((n, n) for n in names)])

    def leave(self):
        """Stop for good, because the panel is about to go; what is not done yet stays as it was."""
        self._timer.stop()
        self._control.leave()
        self._control.cancel()
        if self._loop:
            self._loop.leave()
            self.worklist.close()
        self.worklist = self._loop = self._case = None

    def sceneClosed(self):
        """Forget the nodes of the open case; its state stays."""
        self._case = None
        self.update()

    def open(self):
        """Open the worklist of the folder, or begin one there."""
        folder, images = self.ui.folderEdit.currentPath, self.ui.imagesEdit.currentPath
        if not folder:
            self._show(_("Choose a folder to keep the worklist in."))
            return
        if self.worklist:
            self._loop.leave()
            self.worklist.close()
            self.worklist = self._loop = self._case = None
        try:
            self.worklist = Worklist(folder, images or None)
        except UserError as error:
            self._show(str(fromUserError(error)))
            self.update()
            return
        self._loop = Loop(
            self._logic, self.worklist, self._options, self._freeName, self.update, self._onLoopError, self._later
        )
        if not self.worklist.competing():
            self._takeModel()
        if (index := self.ui.modelComboBox.findData(self.worklist.model)) >= 0:
            self.ui.modelComboBox.setCurrentIndex(index)
        self.ui.imagesEdit.currentPath = str(self.worklist.images)
        qt.QSettings().setValue(SETTING, str(self.worklist.folder))
        self._shown = {}
        self.ui.caseTree.clear()
        self._timer.start()
        self._show(_("Click “Next case”."))
        self.update()

    def next(self):
        """Open the case that is due."""
        entry = self.worklist.next()
        if entry is None:
            self._show(_("All cases are done."))
        else:
            self._open(entry)

    def segment(self):
        """Segment the open case with the better model, then open the Segment Editor; or stop that."""
        if self._control.isRunning():
            self._control.cancel()
            self.update()
            return
        model = Catalog.findModel(Catalog.modelList(), self.worklist.inUse())
        if model is None:
            self._show(_("The model “{name}” is not on this computer.").format(name=self.worklist.inUse()))
            return
        self._segment(model)

    def _segment(self, model, anyModality=False):
        case = self._case

        def start(**callbacks):
            target = case.segmentationNode()
            engine = self._logic.modelEngine
            options = {"anyModality": anyModality, **callbacks}
            return SegmentJob.start(engine, case.volumeNode(), str(model.path), target, **options)

        def finished(job):
            self._show(job.message)
            self.update()
            if self._case is case and job.segmentationNode:
                case.take(job.segmentationNode)
                case.entry.startedBy = model.id
                Editor.show(case.volumeNode(), job.segmentationNode)

        self._control.start(start, finished, anyway=lambda: self._segment(model, anyModality=True))
        self.update()

    def fill(self):
        """Open the Segment Editor with the effect that fills the slices between drawn ones."""
        Editor.show(self._case.volumeNode(), self._case.segmentationNode(create=True), Effects.FILL)

    def done(self):
        """Keep the segmentation of the open case as its correction."""
        try:
            with asEngineErrors():
                isComplete = self._case.write(self.worklist.correction(self._case.entry))
                self.worklist.corrected(self._case.entry, isComplete)
        except EngineError as error:
            self._show(str(error))
            return
        left = len(self.worklist.inState(NEW, OPEN))
        texts = {0: _("All cases are done."), 1: _("Kept. One case is left.")}
        self._show(texts.get(left) or _("Kept. {count} cases are left.").format(count=left))
        self._work()
        self.update()

    def trainOrStop(self):
        """Learn from all corrections at once, or stop that."""
        if self._loop.isTraining():
            self._loop.cancel()
        else:
            self._loop.train()
        self.update()

    def update(self):
        """Show cases, models and what is possible now."""
        worklist, isOpen = self.worklist, self._case is not None and self._case.isThere()
        running = self._control.isRunning()
        isTraining = self._loop is not None and self._loop.isTraining()
        corrected = bool(worklist and worklist.inState(DONE, LEARNT))
        enabled = {
            "nextButton": worklist is not None and not running,
            "segmentButton": running or (isOpen and bool(worklist.inUse())),
            "fillButton": isOpen and not running,
            "doneButton": isOpen and not running,
            "trainButton": isTraining or (corrected and not self._isBusy()),
            "modelComboBox": worklist is None or not (corrected and worklist.competing()),
        }
        for name, value in enabled.items():
            getattr(self.ui, name).enabled = value
        self.ui.segmentButton.text = _("Cancel") if running else _("Auto-segment")
        self.ui.trainButton.text = _("Cancel") if isTraining else _("Train now")
        self.ui.progressBar.visible = running
        if worklist:
            self._showCases()
            self.ui.modelsLabel.text = "\n".join(filter(None, [*modelTexts(worklist), self._loop.text]))

    def _work(self):
        if self._loop is not None and not self._isBusy() and not self._control.isRunning():
            self._loop.trainAfter = self.ui.afterSpinBox.value
            self._loop.work()

    def _open(self, entry):
        if self._control.isRunning():
            return
        if self._case is not None:
            self._case.removeIfKept()
        try:
            with asEngineErrors(_("The image could not be loaded: {error}.")):  # of Slicer's loading
                self._case = OpenCase(entry, self.worklist.correction(entry))
                self.worklist.opened(entry)
        except EngineError as error:
            self._case = None
            self._show(str(error))
        else:
            self._show(_("{case} is open. Segment or draw it, correct it, then click “Done”.").format(case=entry.id))
        self.update()

    def _onModelChosen(self, index):
        """Begin the cases of the open worklist with the model that the user has just chosen."""
        if self.worklist is not None:
            self._takeModel()
            self.update()

    def _takeModel(self):
        self.worklist.model = self.ui.modelComboBox.currentData or ""
        self.worklist.save()

    def _onItem(self, item, column):
        identifier = item.data(CASE, qt.Qt.UserRole)
        self._open(next(entry for entry in self.worklist.entries if entry.id == identifier))

    def _onStopped(self, error):
        self._show(str(error))
        self.update()

    def _onLoopError(self, error):
        self._show(str(error))
        if error.kind != "CancelledError":
            Dialogs.showError(error)
        self.update()

    def _showProgress(self, fraction, text):
        self.ui.progressBar.value = round(1000 * fraction)
        self._show(text)

    def _show(self, text):
        self.ui.statusLabel.text = text

    def _showCases(self):
        """Write the rows that show something else than their cases."""
        tree = self.ui.caseTree
        for row, entry in enumerate(self.worklist.entries):
            texts = _texts(entry)
            if self._shown.get(entry.id) == texts:
                continue
            self._shown[entry.id] = texts
            item = tree.topLevelItem(row) or qt.QTreeWidgetItem(tree)
            item.setData(CASE, qt.Qt.UserRole, entry.id)
            for column, text in enumerate(texts[:-1]):
                item.setText(column, text)
            item.setToolTip(CASE, texts[-1])


def _texts(entry):
    """The texts of a row, the last of them its tool tip."""
    states = {NEW: _("new"), OPEN: _("open"), DONE: _("done"), LEARNT: _("learnt")}
    measured = {name: value for name, value in entry.accuracy.items() if value is not None}
    accuracy = [f"{name}: {value:.2f}" for name, value in measured.items()]
    tip = "\n".join([entry.image, *([_("Accuracy before learning it:"), *accuracy] if accuracy else [])])
    score = "\u2013" if entry.score is None else f"{entry.score:.2f}"
    return entry.id, states[entry.state], score, tip


def modelTexts(worklist):
    """Which model segments, which other one competes with it, and how the last comparison ended."""
    count, new = len(worklist.entries), len(worklist.inState(DONE))
    finished = len(worklist.inState(DONE, LEARNT))
    texts = [_("{done} of {count} cases done, {new} not learnt yet.").format(done=finished, count=count, new=new)]
    if (name := worklist.inUse()) and worklist.inState(NEW, OPEN):
        texts.append(_("{model} segments the next case.").format(model=name))
    if worklist.newer and worklist.model and worklist.inState(NEW, OPEN):
        text = _("{newer} and {former} take turns, and are compared on each correction before they learn it.")
        texts.append(text.format(newer=worklist.newer, former=worklist.model))
    if worklist.comparisons:
        last = worklist.comparisons[-1]
        text = _(
            "Last comparison, on {count} corrections that neither had learnt: {newer} {a}, {former} {b}. Kept: {kept}."
        )
        numbers = {"a": f"{last.newerAccuracy:.2f}", "b": f"{last.formerAccuracy:.2f}", "count": last.count}
        texts.append(text.format(newer=last.newer, former=last.former, kept=last.kept, **numbers))
    return texts
