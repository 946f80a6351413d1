"""Segment Editor effect: show where a segment is wrong, and the engine corrects what belongs together there.

It is shown by clicks, or by markups and segments of the scene. The engine answers from another process, so Slicer stays
usable; what is shown meanwhile is answered in its order. Each click, node or segment is one step of the editor's undo.
"""

import collections

import numpy as np
import qt
import slicer
import vtk
from sam2adapt.shared.protocol import BOX, POINT, SCRIBBLE
from SegmentEditorEffects import AbstractScriptedSegmentEditorEffect
from slicer.i18n import tr as _

from SAM2AdaptLib.Correcting.Session import Session
from SAM2AdaptLib.Engine import Client
from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Install import Check
from SAM2AdaptLib.Panels import Effects
from SAM2AdaptLib.Panels.Correcting.Options import Options

_PRESS, _MOVE, _RELEASE = (
    vtk.vtkCommand.LeftButtonPressEvent, vtk.vtkCommand.MouseMoveEvent, vtk.vtkCommand.LeftButtonReleaseEvent
)  # fmt: skip
_SAME_DIRECTION = 0.7  # cosine; below it, the view is nearer to another orientation


class CorrectEffect(Effects.Effect, AbstractScriptedSegmentEditorEffect):
    """The effect of one segment editor."""

    NAME = Effects.CORRECT

    def __init__(self, scriptedEffect):
        super().__init__(scriptedEffect)
        scriptedEffect.title = _("Correct with the model")
        scriptedEffect.perSegment = True
        self._options = self._session = self._job = self._last = None
        self._waiting = collections.deque()  # clicks that are not sent yet
        self._positions, self._isPositive = [], True  # of the gesture that is being drawn
        self._normal = None  # of the view that is being clicked in
        self._shortcuts = []

    def helpText(self):
        """What the editor shows above the options."""
        steps = [
            _("Choose the segment that is wrong."),
            _("Click into what is missing with “Belongs to it”, or into what is too much with “Does not”."),
            _("The place that you click obeys always; the model and the grey levels decide how far it goes around it."),
            _("Go on with the largest error that is left. Ctrl+Z takes a click back."),
            _("Or choose markups or a segment that you drew for it under “From the scene”, and click “Apply”."),
        ]
        keys = _("Keys: P point, S scribble, B box, T changes the meaning, Del takes the last click back.")
        return Effects.helpText(steps, keys)

    def setMRMLDefaults(self):
        """Called by the editor for each new set of parameters; there are none."""

    def setupOptionsFrame(self):
        """Called once by the editor."""
        self._options = Options(self.scriptedEffect, self.correctByNode, self.takeBack)

    def activate(self):
        """Called when the user opens the effect: keys work, and the engine gets ready."""
        super().activate()
        self._makeShortcuts()
        self._say("")
        if Check.findProblem():
            return
        try:
            self._currentSession().prepare(onError=self._onPrepareError)
        except EngineError as error:
            self._say(str(error))

    def deactivate(self):
        """Called when the user leaves the effect."""
        super().deactivate()
        for shortcut in self._shortcuts:
            shortcut.setParent(None)
            shortcut.deleteLater()
        self._shortcuts = []
        self._reset()

    def sourceVolumeNodeChanged(self):
        """Called by the editor when another volume was chosen."""
        self._reset()

    def updateGUIFromMRML(self):
        """Called by the editor when its parameters changed."""
        if self._session and not self._session.fits(self._volumeNode(), self._segmentationNode()):
            self._reset()
        if self._options:
            self._showSegments()

    def _showSegments(self):
        self._options.showSegments()

    # Gestures

    def processInteractionEvents(self, callerInteractor, eventId, viewWidget):
        """Called by the editor for what the mouse does in a view.

        :return: whether nothing else is to be done about it.
        """
        if eventId not in (_PRESS, _MOVE, _RELEASE) or (eventId != _PRESS and not self._positions):
            return False
        if callerInteractor.GetShiftKey() or callerInteractor.GetAltKey():
            return False
        if viewWidget.className() != "qMRMLSliceWidget":
            if eventId == _PRESS:
                self._say(_("Click into a slice view: a 3-D view shows surfaces, not voxels."))
            return False
        position = _toWorld(viewWidget, callerInteractor.GetEventPosition())
        if eventId == _PRESS:
            self._positions, self._normal = [position], _normalOf(viewWidget)
            self._isPositive = self._options.isPositive != bool(callerInteractor.GetControlKey())
        elif self._options.kind == SCRIBBLE and position != self._positions[-1]:
            self._positions += _between(self._positions[-1], position)
        if eventId == _RELEASE or (eventId == _PRESS and self._options.kind == POINT):
            positions, self._positions = self._positions, []
            if self._options.kind == BOX:
                positions = [positions[0], position]
            self.correct(positions, self._isPositive, self._normal)
        return True

    def correct(self, positions, isPositive, normal=None):
        """Correct the chosen segment by the chosen kind of gesture; what waits is answered first.

        :param positions: (N, 3) R, A, S in the world, mm; or a ``SceneGestures.Shown``, which has a kind of its own.
        :param normal: R, A, S across the view that was clicked in; None: nothing is said of the view.
        """
        segmentId = self.scriptedEffect.parameterSetNode().GetSelectedSegmentID()
        self._waiting.append((segmentId, positions, isPositive, self._options.kind, self._options.carry, normal))
        self._advance()

    def correctByNode(self):
        """Correct the chosen segment by the markups or the segment that are chosen in the scene."""
        self._options.showSegments()  # they may have changed since
        if (shown := self._options.shown) is None:
            self._say(_("Choose markups, or a segment other than the one to correct, under “From the scene”."))
            return
        self.correct(shown, self._options.isPositive)

    def isRunning(self):
        """Whether a click waits for its answer."""
        return self._job is not None and not self._job.isOver

    def _advance(self):
        while self._waiting and not self.isRunning():
            segmentId, positions, isPositive, kind, carry, normal = self._waiting.popleft()
            try:
                if problem := Check.findProblem() or self._hidden(segmentId):
                    raise problem
                self._job = self._currentSession().correct(
                    segmentId, positions, isPositive, kind, carry, onError=self._onError,
                    onFinished=lambda job, normal=normal: self._onFinished(job, normal),
                )  # fmt: skip
            except EngineError as error:
                self._say(str(error))
                continue
            self._say(_("Correcting…"))

    def _hidden(self, segmentId):
        """The error of a segment that nobody can see; None if it is shown."""
        node = self._segmentationNode()
        display = node.GetDisplayNode()
        if not segmentId or not display or display.GetSegmentVisibility(segmentId):
            return None
        name = node.GetSegmentation().GetSegment(segmentId).GetName()
        return EngineError("DrawingError", _("'{name}' is hidden.").format(name=name), _("Show it, then click."))

    def _onFinished(self, job, normal):
        if job is not self._job:
            return
        self._job = None
        try:
            job.apply(lambda image, isAdded: self._modify(job, image, isAdded))
            self._last = job
            self._options.allowForget(True)
            self._say("\n".join([job.message, *self._where(normal), *job.log]))
        except EngineError as error:
            self._say(str(error))
        self._advance()

    def _where(self, normal):
        """What to say if the view that was clicked in does not show the slices that are corrected."""
        across = self._session.acrossSlices()
        if normal is None or abs(np.dot(across, normal)) > _SAME_DIRECTION:
            return []
        return [_("Corrections act in the slices of the model, not in this view: look there to see all of it.")]

    def _onError(self, job, error):
        if job is self._job:
            self._job = None
            self._say(str(error))
            self._advance()

    def takeBack(self):
        """Remove what the last click changed, as one more step of undo; only if nothing was drawn there since."""
        job, self._last = self._last, None
        self._options.allowForget(False)
        if job is None:
            return
        try:
            job.takeBack(lambda image, isAdded: self._modify(job, image, isAdded))
            self._say(_("The last click was taken back."))
        except EngineError as error:
            self._say(str(error))

    def _modify(self, job, image, isAdded):
        """Change a segment as the editor's settings of masking and overwriting want it."""
        modes = slicer.qSlicerSegmentEditorAbstractEffect
        mode = modes.ModificationModeAdd if isAdded else modes.ModificationModeRemove
        self.scriptedEffect.saveStateForUndo()
        with job.keepingShown():
            self.scriptedEffect.modifySegmentByLabelmap(self._segmentationNode(), job.segmentId, image, mode)

    # Session

    def _currentSession(self):
        volumeNode, segmentationNode = self._volumeNode(), self._segmentationNode()
        if self._session is None or not self._session.fits(volumeNode, segmentationNode):
            self._reset()
            self._session = Session(Client.sharedEngine(), volumeNode, segmentationNode)
        return self._session

    def _onPrepareError(self, job, error):
        if error.kind != "CancelledError":
            self._say(str(error))

    def _reset(self):
        self._waiting.clear()
        self._positions = []
        job, self._job, self._last = self._job, None, None
        if job and not job.isOver:
            job.cancel()
        if self._session:
            self._session.close()
        self._session = None
        if self._options:
            self._options.allowForget(False)

    # Widgets

    def _makeShortcuts(self):
        parent = slicer.util.mainWindow() or self.scriptedEffect.optionsFrame()
        options = self._options
        for key, function in (
            ("P", lambda: setattr(options, "kind", POINT)), ("S", lambda: setattr(options, "kind", SCRIBBLE)),
            ("B", lambda: setattr(options, "kind", BOX)), ("Del", self.takeBack),
            ("T", lambda: setattr(options, "isPositive", not options.isPositive)),
        ):  # fmt: skip
            shortcut = qt.QShortcut(parent)
            shortcut.setKey(qt.QKeySequence(key))
            shortcut.connect("activated()", function)
            self._shortcuts.append(shortcut)


def _toWorld(sliceWidget, xy):
    """R, A, S in the world, mm, of a place in a slice view."""
    matrix = sliceWidget.mrmlSliceNode().GetXYToRAS()
    return tuple(matrix.MultiplyPoint((*xy, 0, 1))[:3])


def _normalOf(sliceWidget):
    """R, A, S across a slice view, of length 1."""
    matrix = sliceWidget.mrmlSliceNode().GetSliceToRAS()
    return np.array([matrix.GetElement(row, 2) for row in range(3)])


def _between(start, end, steps=16):
    """Places on the way from one to another, the last one among them, so that a quick line has no gaps."""
    return [tuple(a + (b - a) * n / steps for a, b in zip(start, end, strict=True)) for n in range(1, steps + 1)]
