"""Segment Editor effect: draw a few slices, get the rest.

The base class of Slicer's *Fill between slices* has the buttons, the preview node and their life cycle. ``FillJob``
does the work: the engine runs in another process, so Slicer stays usable, and an edit during a run starts it again.
"""

import slicer
from sam2adapt.shared.errors import DrawingError, UserError
from SegmentEditorEffects import AbstractScriptedSegmentEditorAutoCompleteEffect
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine import Client
from SAM2AdaptLib.Engine.Error import EngineError, fromUserError
from SAM2AdaptLib.Filling import Drawings, FillJob
from SAM2AdaptLib.Install import Check
from SAM2AdaptLib.Panels import Effects, TrainingModule
from SAM2AdaptLib.Panels.Filling import PreviewSegments
from SAM2AdaptLib.Panels.Filling.Options import Options
from SAM2AdaptLib.Scene import SegmentMasks, SliceTags, SliceViews, Volumes

# Of this effect alone: what is in the base's common role, Slicer's own effects take for theirs.
_PREVIEW_ROLE = "FillPreview"
_REGION_ROLE = "FillRegion"
_AS_DRAWN = "drawn"
_PREVIEW_OPACITY = 0.6


class FillEffect(Effects.Effect, AbstractScriptedSegmentEditorAutoCompleteEffect):
    """The effect of one segment editor; at most one run at a time."""

    NAME = Effects.FILL

    def __init__(self, scriptedEffect):
        super().__init__(scriptedEffect)
        scriptedEffect.title = _("Fill from drawn slices")
        self._job = None
        self._options = None

    def helpText(self):
        """What the editor shows above the options."""
        steps = [
            _("Draw each structure in some slices, for instance in every fifth; leave the slices between alone."),
            _("Click “Fill”. The preview shows a first guess at once and the result after some seconds."),
            _("Correct or draw further slices: the preview follows. “Go to slice” shows where it helps most."),
            _("Click “Apply”. What you drew never changes; overlapping segments stay overlapping."),
        ]
        remarks = _(
            "Where a structure is not, choose it and click “Nothing here”. Hidden segments and those marked as"
            " completed are left as they are, and so are the settings under Masking."
        )
        return Effects.helpText(steps, remarks)

    def setMRMLDefaults(self):
        """Called by the editor for each new set of parameters."""
        super().setMRMLDefaults()
        self.scriptedEffect.setParameterDefault("Direction", _AS_DRAWN)

    def setupOptionsFrame(self):
        """Called once by the editor: our controls, and below them those of the base."""
        self._options = Options(
            self.scriptedEffect,
            self._onDirection,
            self._onRegion,
            self.goToNextSlice,
            self.declareEmpty,
            self.useForTraining,
        )
        super().setupOptionsFrame()
        self.scriptedEffect.addOptionsWidget(self._options.trainButton)
        self.previewButton.setToolTip(_("Fill the slices between the drawn ones, as a preview."))
        self.applyButton.setToolTip(_("Add the filled slices to the segments."))
        self.cancelButton.setToolTip(_("Stop, and remove the preview; the segments stay as they are."))

    def cleanup(self):
        """Called before the effect is deleted."""
        self._cancelJob()
        super().cleanup()

    def activate(self):
        """Called when the user opens the effect; the engine gets ready, so that the first click need not wait."""
        super().activate()
        if not Check.findProblem():
            Client.sharedEngine().request("warmUp", {})
        self.updateGUIFromMRML()

    def sourceVolumeNodeChanged(self):
        """Called by the editor when another volume was chosen."""
        if self._job and self._job.volumeNode is not self._volumeNode():
            self.reset()
            self._say(_("Another volume was chosen: fill again."))

    # Running

    def onPreview(self):
        """Start to fill, or start again; called by the button, and by the base's timer after an edit."""
        self.delayedAutoUpdateTimer.stop()
        self._cancelJob()
        try:
            if problem := Check.findProblem():
                raise problem
            self._job = FillJob.start(
                Client.sharedEngine(), self._volumeNode(), self._segmentationNode(), self._options.direction,
                roiNode=self.scriptedEffect.nodeReference(_REGION_ROLE),
                onPreview=self._onFirstAnswer, onProgress=self._onProgress, onFinished=self._onFinished,
                onError=self._onError,
            )  # fmt: skip
        except EngineError as error:
            self._onError(None, error)
            return
        self._say(_("Filling…"))
        self.updateGUIFromMRML()

    def isRunning(self):
        """Whether the engine is at work for this effect."""
        return self._job is not None and not self._job.isOver

    def _onProgress(self, progress):
        self._say(f"{progress['text']}{'. ' + _firstGuess() if self._job.masks is not None else '…'}")

    def _onFirstAnswer(self, job):
        self._showMasks(job)
        self._say(_firstGuess())

    def _onFinished(self, job):
        self._showMasks(job)
        if job.nextSlice:
            self._options.showNextSlice(job.nextSlice[1] + 1)
        self._say("\n".join([job.message, *job.drawings.notes, *job.log]))

    def _onError(self, job, error):
        if job is self._job:
            self._job = None
            self._removePreview()
            self._say(str(error))

    def _cancelJob(self):
        job, self._job = self._job, None
        if job:
            job.cancel()

    def onSegmentationModified(self, caller, event):
        """Called by the base's observer: what runs on other drawings than these is of no use."""
        if self._job and self.autoUpdateCheckBox.isChecked() and self._job.isOutdated():
            if self.isRunning():
                self._cancelJob()
            self.delayedAutoUpdateTimer.start()

    # Preview and end

    def _showMasks(self, job):
        previewNode = self.getPreviewNode()
        if not previewNode:
            previewNode = PreviewSegments.create(job.segmentationNode)
            self.scriptedEffect.setNodeReference(_PREVIEW_ROLE, previewNode)
            self.setPreviewOpacity(_PREVIEW_OPACITY)
        isIn3D = self.getPreviewShow3D()
        PreviewSegments.show(previewNode, job.segmentationNode, job.drawings, job.masks)
        if isIn3D:
            self.setPreviewShow3D(True)
        self.updateGUIFromMRML()

    def onApply(self):
        """Add the filled slices to the segments, as one step of the editor's undo."""
        job = self._job
        self.delayedAutoUpdateTimer.stop()
        self.observeSegmentation(False)
        isIn3D = self.getPreviewShow3D()
        try:
            job.apply(self.scriptedEffect.saveStateForUndo)
        except EngineError as error:
            self._say(str(error))
            self.updateGUIFromMRML()
            return
        self.reset()
        if isIn3D:
            job.segmentationNode.CreateClosedSurfaceRepresentation()
        self._say(_("The filled slices were added. {message}").format(message=job.message))

    def useForTraining(self):
        """Open the training module with the filled segmentation among its cases."""
        node, volumeNode = self._segmentationNode(), self._volumeNode()
        if Volumes.volumeOf(node) is None:
            node.SetNodeReferenceID(node.GetReferenceImageGeometryReferenceRole(), volumeNode.GetID())
        TrainingModule.useForTraining(node)

    def reset(self):
        """Stop, and remove the preview; the segments stay as they are."""
        self._cancelJob()
        self._options.showNextSlice(None)
        self._say("")
        self._removePreview()

    def getPreviewNode(self):
        """The node of the preview, None without one."""
        return self.scriptedEffect.nodeReference(_PREVIEW_ROLE)

    def _removePreview(self):
        self.delayedAutoUpdateTimer.stop()
        self.observeSegmentation(False)
        if previewNode := self.getPreviewNode():
            self.scriptedEffect.setNodeReference(_PREVIEW_ROLE, None)
            slicer.mrmlScene.RemoveNode(previewNode)
            if self._segmentationNode() and self._segmentationNode().GetDisplayNode():
                self._segmentationNode().GetDisplayNode().SetOpacity(1.0)
        self.updateGUIFromMRML()

    # Widgets

    def updateGUIFromMRML(self):
        """Show what the parameters and the run allow now."""
        if not self._options or not self._segmentationNode():
            return
        if self._job and self._job.segmentationNode is not self._segmentationNode():
            self._cancelJob()
        super().updateGUIFromMRML()
        isDone = self._job is not None and self._job.state == FillJob.DONE
        hasPreview = self.getPreviewNode() is not None
        self.previewButton.text = _("Fill again") if hasPreview or self.isRunning() else _("Fill")
        self.cancelButton.setEnabled(hasPreview or self.isRunning())
        self.applyButton.setEnabled(hasPreview and isDone)
        self.autoUpdateCheckBox.setEnabled(True)
        if self._job:
            self.observeSegmentation(self.autoUpdateCheckBox.isChecked())
        direction = self.scriptedEffect.parameter("Direction")
        self._options.direction = None if direction == _AS_DRAWN else direction
        self._options.region = self.scriptedEffect.nodeReference(_REGION_ROLE)
        self._showSegments()

    def _showSegments(self):
        node = self._segmentationNode()
        segmentation = node.GetSegmentation()
        self._options.showStructures(
            [(segmentId, segmentation.GetSegment(segmentId).GetName()) for segmentId in segmentation.GetSegmentIDs()]
        )
        isBusy = self.getPreviewNode() is not None or self.isRunning()
        self._options.allowTraining(not isBusy and SliceTags.isFilled(node))

    def _onDirection(self):
        self.scriptedEffect.setParameter("Direction", self._options.direction or _AS_DRAWN)
        if self._job and self.autoUpdateCheckBox.isChecked():
            self.onPreview()

    def _onRegion(self, roiNode):
        self.scriptedEffect.setNodeReference(_REGION_ROLE, roiNode)
        if self._job and self.autoUpdateCheckBox.isChecked():
            self.onPreview()

    # Slices

    def goToNextSlice(self):
        """Show the slice to draw next in the slice views that lie in its direction."""
        axis, place = self._job.nextSlice
        grid, node = self._job.drawings.grid, self._segmentationNode()
        slices = Drawings.slicesAcross(axis, grid, node)
        SliceViews.showSlice(slices.position(place), slices.normal)

    def declareEmpty(self):
        """Say that the chosen structure is not in the slice that is shown, or take that back."""
        try:
            self._say(self._toggleEmpty(self._volumeNode(), self._segmentationNode(), self._options.segmentId))
        except UserError as error:
            self._say(str(fromUserError(error)))

    def _toggleEmpty(self, volumeNode, node, segmentId):
        grid = SegmentMasks.drawingGrid(volumeNode, node)
        masks = SegmentMasks.read(node, list(node.GetSegmentation().GetSegmentIDs()), grid)
        direction = self._options.direction
        axis = Drawings.axisOf(direction, grid, node) if direction else Drawings.drawnAxis(masks, grid)
        place = SliceViews.shownSlice(Drawings.slicesAcross(axis, grid, node))
        names = {"name": node.GetSegmentation().GetSegment(segmentId).GetName(), "slice": (place or 0) + 1}
        if place is None:
            raise DrawingError(
                _("No slice view shows the volume across the drawn slices."), _("Show one, “Axial” for instance.")
            )
        if SegmentMasks.read(node, [segmentId], grid)[0].take(place, Drawings.AXES.index(axis)).any():
            raise DrawingError(
                _("'{name}' is drawn in slice {slice}.").format(**names), _("Erase it there, or choose another slice.")
            )
        empty = SliceTags.empty(node, segmentId, axis)
        isEmpty = place in empty
        SliceTags.setEmpty(node, segmentId, axis, {*empty} - {place} if isEmpty else {*empty, place})
        if isEmpty:
            return _("Slice {slice} of '{name}' is to be filled again.").format(**names)
        return _("Slice {slice} holds nothing of '{name}'.").format(**names)


def _firstGuess():
    return _("The preview shows a first guess from the outlines alone.")
