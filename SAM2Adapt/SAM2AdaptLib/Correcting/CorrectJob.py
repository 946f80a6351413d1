"""Gestures on their way: from the click to the voxels that they change. Nothing changes before ``apply``."""

import contextlib

import numpy as np
import slicer
from sam2adapt.shared.errors import DrawingError
from sam2adapt.shared.protocol import BOX
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError, asEngineErrors, fromException
from SAM2AdaptLib.Engine.Job import DONE, FAILED, RUNNING, stopped
from SAM2AdaptLib.Engine.SceneJob import SceneJob
from SAM2AdaptLib.Scene import SegmentationHistory, SegmentMasks

_AXES = ("K", "J", "I")


class CorrectJob(SceneJob):
    """A correction of one segment; made by ``Session.correct``, and by ``Session.prepare`` without gestures.

    :ivar segmentId: the segment; ``isPositive``: whether voxels are added, else removed.
    :ivar changed: (K, J, I) bool, voxels to add or remove; None before there is an answer.
    :ivar result: the engine's report (see ``sam2adapt.requests.correct``), once it is done.
    :ivar message: one sentence on the result.
    """

    def __init__(self, session, segmentId, gestures, carry=0, **callbacks):
        """
        :param gestures: ``SceneGestures.Gestures``, all positive or none; None: only prepare.
        """
        super().__init__(**callbacks)
        self.segmentId, self.changed, self.result, self.message = segmentId, None, None, ""
        self.isPositive = bool(gestures and gestures.entries[0]["positive"])
        self.segmentationNode = session.segmentationNode
        self._session, self._gestures, self._carry = session, gestures, carry
        self._before = self._region = None

    def _send(self):
        session = self._session
        parameters = {"input": session.input(), "model": session.model, "structure": self._name(), "carry": self._carry}
        if self._gestures is None:
            size = session.grid.GetDimensions()
            parameters["roi"] = [end for count in size for end in (count // 2, count // 2 + 1)]
        else:
            mask = self._mask()
            self._requireUnprotected(mask)
            self._region = self._partToSend(mask.shape)
            self._before = mask[self._region]
            earlier = [*filter(None, map(self._inRegion, session.earlier(self.segmentId, mask)))]
            new = self._gestures.entries
            files = {name: str(self._folder.path / f"{name}.npy") for name in ("labels", "masks")}
            np.save(files["labels"], self._before)
            roi = [end for part in self._region[::-1] for end in (part.start, part.stop)]
            parameters |= {"gestures": [*earlier, *new], "new": len(new), "roi": roi, **files}
        self._ask(session.engine, "correct", parameters)

    def apply(self, modify=None):
        """Change the segment, as one step that can be undone.

        :param modify: called with a label map of the changed voxels and whether to add them; without it, the voxels of
          this segment alone change, and ``SegmentationHistory`` keeps it for undo.
        :return: the number of voxels that changed.
        :raises EngineError: the segment changed since the click; nothing was changed then.
        """
        with asEngineErrors(_("The correction could not be applied: {error}.")):
            if self._segment() is None or not np.array_equal(self._mask()[self._region], self._before):
                raise DrawingError(
                    _("'{name}' changed while the click was answered.").format(name=self._name()), _("Click again.")
                )
            if self.changed.any():
                if modify:
                    modify(SegmentMasks.maskImage(self.changed, self._session.grid), self.isPositive)
                else:
                    self._change()
            self._session.remember(self.segmentId, self._gestures.entries)
        return int(np.count_nonzero(self.changed))

    def takeBack(self, modify):
        """Undo what ``apply`` changed in the segment.

        :param modify: as of ``apply``.
        :raises EngineError: the segment was changed there since; nothing was changed then.
        """
        with asEngineErrors():
            if self._segment() is None or (self._mask()[self.changed] != self.isPositive).any():
                raise DrawingError(
                    _("'{name}' was changed there since.").format(name=self._name()), _("Use the editor's undo.")
                )
            if self.changed.any():
                modify(SegmentMasks.maskImage(self.changed, self._session.grid), not self.isPositive)

    @contextlib.contextmanager
    def keepingShown(self):
        """Keep the segment that shows it as it was drawn, even if the editor lets the corrected one overwrite it."""
        node, shown = self.segmentationNode, self._gestures.shown
        if shown is None or not shown.isSegmentOf(node) or not node.GetSegmentation().GetSegment(shown.segmentId):
            yield
            return
        mask = SegmentMasks.read(node, [shown.segmentId], self._session.grid)[0]
        yield
        SegmentMasks.add(node, shown.segmentId, mask, self._session.grid)

    def _change(self):
        node = self.segmentationNode
        with slicer.util.NodeModify(node), SegmentationHistory.recorded(node, {self._name()}):
            change = SegmentMasks.add if self.isPositive else SegmentMasks.remove
            change(node, self.segmentId, self.changed.view(np.uint8), self._session.grid)

    def _mask(self):
        return SegmentMasks.read(self.segmentationNode, [self.segmentId], self._session.grid)[0]

    def _segment(self):
        return self.segmentationNode.GetSegmentation().GetSegment(self.segmentId) if self.segmentId else None

    def _name(self):
        segment = self._segment()
        return segment.GetName() if segment else ""

    def _partToSend(self, shape):
        """The slices that can change; all of them as long as it is not known across which axis the model slices."""
        part = [slice(0, count) for count in shape]
        if self._session.axis:
            axis = _AXES.index(self._session.axis)
            places = self._voxels()[:, 2 - axis]
            low, high = int(places.min()) - self._carry, int(places.max()) + self._carry + 1
            part[axis] = slice(max(0, low), min(shape[axis], high))
        return tuple(part)

    def _voxels(self):
        """(N, 3) I, J, K of the new gestures."""
        return np.concatenate([entry["voxels"] for entry in self._gestures.entries])

    def _inRegion(self, gesture):
        """An earlier gesture without the voxels of slices that cannot change; None if nothing is left of it."""
        if gesture["kind"] == BOX:
            return gesture  # its two corners say where it is, wherever they lie
        voxels = np.array(gesture["voxels"])
        isIn = [(ijk >= part.start) & (ijk < part.stop) for ijk, part in zip(voxels.T, self._region[::-1], strict=True)]
        kept = voxels[np.all(isIn, axis=0)]
        return gesture | {"voxels": kept.tolist()} if len(kept) else None

    def _protected(self):
        """(K, J, I) voxels of other segments that are marked as completed."""
        logic, segmentation = slicer.vtkSlicerSegmentationsModuleLogic, self.segmentationNode.GetSegmentation()
        others = [i for i in segmentation.GetSegmentIDs() if i != self.segmentId]
        ids = [i for i in others if logic.GetSegmentStatus(segmentation.GetSegment(i)) == logic.Completed]
        return ids, SegmentMasks.read(self.segmentationNode, ids, self._session.grid).astype(bool)

    def _requireUnprotected(self, mask):
        logic, name = slicer.vtkSlicerSegmentationsModuleLogic, self._name()
        if logic.GetSegmentStatus(self._segment()) == logic.Completed:
            raise DrawingError(_("'{name}' is marked as completed.").format(name=name), _("Change its state first."))
        if self.isPositive:
            i, j, k = self._voxels().T
            for segmentId, other in zip(*self._protected(), strict=True):
                if other[k, j, i].any():
                    raise DrawingError(
                        _("The click lies in '{name}', which is marked as completed.").format(
                            name=self.segmentationNode.GetSegmentation().GetSegment(segmentId).GetName()
                        ),
                        _("Change its state first, or click elsewhere."),
                    )

    def _onResult(self, result):
        try:
            self.result, self._session.axis = result, result["axis"]
            if self._gestures is not None:
                self.changed = self._checkedChange(result["output"])
            self.message = self._describe(result)
        except Exception as exception:
            self._end(FAILED, fromException(exception, _("The answer could not be read: {error}.")))
            return
        self._end(DONE)

    def _checkedChange(self, path):
        """(K, J, I) voxels that differ from the segment, without those of completed segments.

        :raises EngineError: a defect of the engine.
        """
        masks, before = np.load(path) > 0, self._before > 0
        different = masks != before if masks.shape == before.shape else None
        if different is None or (masks[different] != self.isPositive).any():
            raise EngineError(
                "Defect", _("The engine changed what the click does not ask for."), _("Please report this.")
            )
        changed = np.zeros(self._session.grid.GetDimensions()[::-1], bool)
        changed[self._region] = different
        if self.isPositive:
            changed &= ~self._protected()[1].any(0)
        if (within := self._gestures.within) is not None:
            axis = _AXES.index(self._session.axis)
            inPlane = tuple(other for other in range(3) if other != axis)
            changed &= within | ~within.any(inPlane, keepdims=True)  # beyond its slices it may be carried
        return changed

    def _describe(self, result):
        """What was done and what helped, in sentences."""
        helper = _helper(result, self._session.model, self._name())
        if self._gestures is None:
            text = _("Ready.")
        elif not self.changed.any():
            text = _("It was so already: nothing changed.")
        elif (slices := self._changedSlices()) > 1:
            text = _("{count} voxels changed, in {slices} slices.").format(
                count=np.count_nonzero(self.changed), slices=slices
            )
        else:
            text = _("{count} voxels changed.").format(count=np.count_nonzero(self.changed))
        return f"{text} {helper}"

    def _changedSlices(self):
        axis = _AXES.index(self._session.axis)
        return np.count_nonzero(self.changed.any(tuple(other for other in range(3) if other != axis)))

    def _onEngineProgress(self, progress):
        self.state = RUNNING
        self._report(progress | {"text": _("Loading the volume and the model")})

    def _cancelledError(self):
        return stopped(_("The click was cancelled."), _("Nothing was changed."))


def _helper(result, model, name):
    """What decides besides the click itself, in one sentence."""
    if model is None:
        return _("No model made this segmentation: clicks follow the grey levels.")
    if not name:
        return ""
    if not result["knowsStructure"]:
        return _("Model '{model}' does not know '{name}': clicks follow the grey levels.").format(
            model=model, name=name
        )
    if result["takesPrompts"]:
        return _("Model '{model}' was trained with clicks and follows them, too.").format(model=model)
    return _("Model '{model}' was not trained with clicks: its first answer and the grey levels are used.").format(
        model=model
    )
