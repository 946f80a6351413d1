"""One filling of the slices between drawn ones, from the segments to masks, and from these into the segments.

Nothing here waits, and nothing changes before ``apply``: until then the masks are a proposal.
"""

import time

import numpy as np
import slicer
from sam2adapt.shared import protocol
from sam2adapt.shared.errors import DrawingError, SettingsError
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine import ProgressTexts
from SAM2AdaptLib.Engine.Error import EngineError, asEngineErrors, fromException
from SAM2AdaptLib.Engine.Job import DONE, FAILED, RUNNING, stopped
from SAM2AdaptLib.Engine.SceneJob import SceneJob, requireInScene
from SAM2AdaptLib.Filling import Drawings
from SAM2AdaptLib.Scene import (
    LabelMaps,
    SegmentationHistory,
    SegmentMasks,
    SliceTags,
    VolumeGrid,
    VolumeModality,
    VolumeTransfer,
)


def start(
    engine, volumeNode, segmentationNode, direction=None, segmentIds=None, roiNode=None, onPreview=None, **callbacks
):
    """Start filling the slices between drawn ones; returns at once.

    :param engine: as of ``SegmentJob.start``; its requests have ``release()``, too, which keeps the engine warm.
    :param volumeNode: vtkMRMLScalarVolumeNode that was drawn on; it may have another grid than the segmentation.
    :param segmentationNode: whose segments are drawn in some slices.
    :param direction: "axial", "coronal" or "sagittal", the slices that are drawn; None: as they were drawn.
    :param segmentIds: which segments to fill; None: all that are visible and not marked as completed.
    :param roiNode: vtkMRMLMarkupsROINode; only what lies in it is filled.
    :param onPreview: called with the job when ``masks`` are a first answer.
    :param callbacks: those of ``Job``.
    :return: the FillJob.
    :raises EngineError: what is known before anything runs.
    """
    with asEngineErrors():
        requireInScene(volumeNode, segmentationNode, roiNode)
        VolumeTransfer.requireSegmentable(volumeNode)
        if not segmentationNode:
            raise SettingsError(_("No segmentation was chosen."), _("Choose the one that was drawn."))
        drawings = Drawings.collect(volumeNode, segmentationNode, direction, segmentIds)
        job = FillJob(engine, volumeNode, segmentationNode, drawings, roiNode, onPreview, **callbacks)
        job.begin([volumeNode, segmentationNode])
    return job


class FillJob(SceneJob):
    """A filling on its way; made by ``start``.

    :ivar drawings: ``Drawings.Drawings``, what was sent.
    :ivar masks: (S, K, J, I) uint8, the answer so far, drawn voxels among them; None before there is one.
    :ivar result: the engine's report (see ``sam2adapt.requests.fill``), once it is done.
    :ivar expectedDice: mean over the structures that were filled, None if that is not known.
    :ivar nextSlice: (axis, slice) to draw next, None if nothing is left to draw.
    :ivar message: one sentence on the result.
    :ivar seconds: from the start to the first answer ("preview") and to the last ("total").
    """

    def __init__(self, engine, volumeNode, segmentationNode, drawings, roiNode, onPreview, **callbacks):
        super().__init__(**callbacks)
        self.volumeNode, self.segmentationNode, self.drawings = volumeNode, segmentationNode, drawings
        self.masks = self.result = self.expectedDice = self.nextSlice = None
        self.message = ""
        self._engine, self._roiNode, self._onPreview = engine, roiNode, onPreview
        self._volume = VolumeGrid.Snapshot(volumeNode, withVoxels=True)
        self._drawingStamp = _drawingStamp(segmentationNode)

    def _send(self):
        drawings, files = self.drawings, {}
        for name in ("volume", "drawings", "masks", "preview"):
            files[name] = str(self._folder.path / f"{name}.npy")
        volume = SegmentMasks.volumeOnGrid(self.volumeNode, self.segmentationNode, drawings.grid)
        modality = VolumeModality.dicomModality(self.volumeNode)
        parameters = {
            "input": VolumeTransfer.writeVolume(volume, files["volume"], modality),
            "drawings": files["drawings"],
            "structures": drawings.names,
            "empty": drawings.empty,
            "axis": drawings.axis,
            "roi": self._roiNode and VolumeTransfer.voxelBox(volume, self._roiNode, self._transformOf(volume)),
            "masks": files["masks"],
            "preview": files["preview"],
        }
        np.save(files["drawings"], drawings.masks)
        self._ask(self._engine, "fill", parameters, onPreview=self._unlessOver(self._onFirstAnswer))

    def _transformOf(self, volume):
        """Transform of the volume that is sent: the user's, or a copy on the voxels of the segmentation."""
        node = self.volumeNode if volume is self.volumeNode else self.segmentationNode
        return node.GetParentTransformNode()

    def apply(self, saveState=None):
        """Put the filled slices into the segmentation, as one step that can be undone.

        What was drawn stays, and so do all other segments, where they overlap as well. Slices that were filled earlier
        get the new answer in place of the former one.

        :param saveState: called before anything changes, to keep the segmentation for undo; without it
          ``SegmentationHistory`` keeps it.
        :return: the segmentation node.
        :raises EngineError: drawings or volume changed since they were sent; nothing was changed then.
        """
        with asEngineErrors(_("The filled slices could not be added: {error}.")):
            self._requireUnchanged()
            names = {self._segmentation().GetSegment(segmentId).GetName() for segmentId in self.drawings.segmentIds}
            if saveState:
                saveState()
            with slicer.util.NodeModify(self.segmentationNode):
                with SegmentationHistory.recorded(self.segmentationNode, names, keep=not saveState):
                    self._addMasks()
        return self.segmentationNode

    def isOutdated(self):
        """Whether something was drawn, declared empty, added or removed since the job started; takes no time."""
        return self._drawingStamp != _drawingStamp(self.segmentationNode)

    def _addMasks(self):
        node, drawings = self.segmentationNode, self.drawings
        others = [i for i in self._segmentation().GetSegmentIDs() if i not in drawings.segmentIds]
        before = SegmentMasks.read(node, others, drawings.grid)
        former, wanted = drawings.current(), self._wanted()
        for segmentId, new, old in zip(drawings.segmentIds, wanted, former, strict=True):
            SegmentMasks.add(node, segmentId, new & (1 - old), drawings.grid)
            SegmentMasks.remove(node, segmentId, old & (1 - new), drawings.grid)
        if not np.array_equal(SegmentMasks.read(node, drawings.segmentIds, drawings.grid), wanted):
            raise RuntimeError("segments did not receive what was filled")
        if not np.array_equal(SegmentMasks.read(node, others, drawings.grid), before):
            raise RuntimeError("other segments changed")
        axis = self.result["axis"]
        for segmentId, new, old, row in zip(
            drawings.segmentIds, wanted, former, self.result["structures"], strict=True
        ):
            formerAxis, places = SliceTags.filled(node, segmentId, old)
            places = {*row["filled"], *(places if formerAxis == axis else [])}
            SliceTags.setFilled(node, segmentId, axis, places, new)

    def _wanted(self):
        """(S, K, J, I), what the segments are to hold: the answer, and what was filled earlier in other slices."""
        wanted, axis = self.masks.copy(), Drawings.AXES.index(self.result["axis"])
        for index, segmentId in enumerate(self.drawings.segmentIds):
            if segmentId in self.drawings.filled:
                kept = self.drawings.filled[segmentId].copy()
                np.moveaxis(kept, axis, 0)[self.result["structures"][index]["filled"]] = 0
                wanted[index] |= kept
        return wanted

    def _requireUnchanged(self):
        node, drawings = self.segmentationNode, self.drawings
        requireInScene(self.volumeNode, node)
        self._volume.requireUnchanged()
        there = all(self._segmentation().GetSegment(segmentId) for segmentId in drawings.segmentIds)
        if not there or not np.array_equal(
            SegmentMasks.read(node, drawings.segmentIds, drawings.grid), drawings.current()
        ):
            raise DrawingError(
                _("The drawings in '{name}' changed since they were filled.").format(name=node.GetName()),
                _("Fill again."),
            )

    def _segmentation(self):
        return self.segmentationNode.GetSegmentation()

    def _onFirstAnswer(self, params):
        try:
            self.masks = self._checkedMasks(params["masks"])
        except Exception as exception:
            self._fail(exception)
            return
        self.seconds["preview"] = time.perf_counter() - self._began
        if self._onPreview:
            self._onPreview(self)

    def _onResult(self, result):
        try:
            self._volume.requireUnchanged()
            self.masks = self._checkedMasks(result["output"])
            self._take(result)
        except Exception as exception:
            self._fail(exception)
            return
        self._end(DONE)

    def _fail(self, exception):
        if self._pending:
            self._cancelPending()
        self._end(FAILED, fromException(exception, _("The answer could not be read: {error}.")))

    def _take(self, result):
        self.result = result
        self.expectedDice = result["expectedDice"]
        if result["nextSlice"] is not None:
            self.nextSlice = result["axis"], result["nextSlice"]
        self.message = expectation(self.expectedDice, self.nextSlice)

    def _checkedMasks(self, path):
        """The masks that the engine wrote, refused if they are not the drawings with filled slices between.

        :raises EngineError: a defect of the engine.
        """
        masks, drawn = np.load(path), self.drawings.masks
        if masks.shape != drawn.shape or not (masks >= drawn).all() or not self._areDrawnSlicesKept(masks):
            raise EngineError(
                "Defect", _("The engine changed slices that were drawn."), _("Please report this; nothing was changed.")
            )
        return masks

    def _areDrawnSlicesKept(self, masks):
        """Whether whole drawn slices are as they were, and those that are declared empty are empty."""
        return all(
            np.array_equal(np.moveaxis(mask, axis, 0)[places], np.moveaxis(drawn, axis, 0)[places])
            for mask, drawn, slices in zip(masks, self.drawings.masks, self.drawings.slices, strict=True)
            for axis, places in slices.items()
        )

    def _onEngineProgress(self, progress):
        self.state = RUNNING
        text = _("Loading the volume")
        if progress["stage"] == protocol.SENDING:
            text = ProgressTexts.sending(progress)
        elif progress["stage"] == protocol.FILLING:
            text = _("Filling: {done} %").format(done=progress["done"])
        self._report(progress | {"text": text})

    def _cancelPending(self):
        self._pending.release()

    def _cancelledError(self):
        return stopped(_("Filling was cancelled."), _("Nothing was changed."))


def expectation(expectedDice, nextSlice):
    """What the user can expect, in one sentence; slices are counted from 1 as in Slicer's slice views.

    :param nextSlice: (axis, slice), or None.
    """
    if expectedDice is None:
        return _("The slices between the drawn ones are filled.")
    text = _("Expected accuracy {dice}").format(dice=f"{expectedDice:.2f}")
    if nextSlice is None:
        return f"{text}."
    return _("{text}; drawing slice {slice} would help most.").format(text=text, slice=nextSlice[1] + 1)


def _drawingStamp(segmentationNode):
    """What tells whether the user touched a segmentation: when the label maps last changed, and what is empty."""
    segmentation, stamp = segmentationNode.GetSegmentation(), []
    for segmentId in segmentation.GetSegmentIDs():
        image = segmentation.GetSegment(segmentId).GetRepresentation(LabelMaps.labelmapName())
        stamp += [segmentId, image.GetMTime() if image else 0, SliceTags.declared(segmentationNode, segmentId)]
    return stamp
