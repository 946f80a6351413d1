"""A batch over volumes of the scene: one run of Auto-segment after the other, each into a segmentation of its own."""

import time

import slicer
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Segmenting.FolderBatch import CANCELLED, DONE, FAILED, RUNNING, progressText

# What no other volume would get on better with.
_HOPELESS = {
    "ClassesError", "DeviceError", "EngineMissing", "ModelFileError", "ModelNotFoundError", "WeightsMissingError",
}  # fmt: skip


def start(
    startSegment, volumeNodes, model, chooseSegmentation=None, onProgress=None, onFinished=None, onError=None, **options
):
    """Start a batch; returns at once.

    :param startSegment: ``SAM2AdaptLogic.startSegment``.
    :param volumeNodes: those to segment, in this order.
    :param chooseSegmentation: function that gives the segmentation into which the result of a volume goes, None for a
      new one; without it ``segmentationOf``.
    :param onProgress, onFinished, onError: as for ``BatchJob.start``.
    :param options: those of ``SegmentJob.start``.
    :return: the BatchOfVolumes.
    :raises EngineError: there is no volume.
    """
    if not volumeNodes:
        raise EngineError("VolumeError", _("There is no volume to segment."), _("Check at least one in the list."))
    job = BatchOfVolumes(
        startSegment, volumeNodes, str(model), chooseSegmentation or segmentationOf, options,
        (onProgress, onFinished, onError),
    )  # fmt: skip
    job.begin()
    return job


def segmentationOf(volumeNode):
    """The first segmentation that was made on a volume; None if there is none."""
    for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode"):
        if node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is volumeNode:
            return node
    return None


class BatchOfVolumes:
    """A batch on its way; made by ``start``.

    :ivar state: "running", "done", "cancelled" or "failed".
    :ivar outputFolder: "", because the results are in the scene.
    :ivar rows: of the volumes so far, as ``BatchJob.rows``, and "volumeId" and "segmentationId" of the nodes.
    :ivar error: EngineError of a batch that failed or was cancelled.
    """

    def __init__(self, startSegment, volumeNodes, model, chooseSegmentation, options, callbacks):
        self.state, self.outputFolder, self.rows, self.error = RUNNING, "", [], None
        self._startSegment, self._model, self._chooseSegmentation = startSegment, model, chooseSegmentation
        self._volumes = [(node.GetID(), node.GetName()) for node in volumeNodes]
        self._options = options
        self._onProgress, self._onFinished, self._onError = callbacks
        self._run = None

    @property
    def isOver(self):
        """Whether nothing more will happen."""
        return self.state != RUNNING

    def begin(self):
        """Send the first volume; called by ``start``."""
        self._began = time.monotonic()
        self._next()

    def stop(self):
        """As ``cancel``: what is done is in the scene already."""
        self.cancel()

    def cancel(self):
        """End at once; ``onError`` is called with kind "CancelledError" before this returns. What is done stays."""
        if self.isOver:
            return
        self.state = CANCELLED  # first, so that what the run says about it is ignored
        if self._run:
            self._run.cancel()
        self._end(CANCELLED, _stoppedError())

    def _next(self):
        """Send the next volume that can be segmented at all."""
        while not self.isOver:
            self._run = None
            number = len(self.rows)
            if number == len(self._volumes):
                self._end(DONE)
                return
            volumeNode = slicer.mrmlScene.GetNodeByID(self._volumes[number][0])
            try:
                if volumeNode is None:
                    raise EngineError("VolumeError", _("The volume was removed."))
                self._run = self._startSegment(
                    volumeNode,
                    self._model,
                    self._chooseSegmentation(volumeNode),
                    onProgress=lambda progress, number=number: self._report(number, progress["fraction"]),
                    onFinished=self._onSegmented,
                    onError=lambda run, error: self._onFailed(error),
                    **self._options,
                )
                return
            except EngineError as error:
                self._addRow(error)

    def _onSegmented(self, run):
        if not self.isOver:
            self._addRow(None, run)
            self._next()

    def _onFailed(self, error):
        if self.isOver:
            return
        if error.kind in _HOPELESS or slicer.mrmlScene.IsClosing():
            self._end(CANCELLED if slicer.mrmlScene.IsClosing() else FAILED, error)
        else:
            self._addRow(error)
            self._next()

    def _addRow(self, error, run=None):
        """Note how the volume in work ended."""
        volumeId, name = self._volumes[len(self.rows)]
        result = run.result if run else {}
        node = run.segmentationNode if run else None
        model = result.get("model", {})
        seconds = {key: value for key, value in run.seconds.items() if key != "total"} if run else {}
        self.rows.append(
            {
                "input": name, "series": "", "output": node.GetName() if node else None,
                "status": "failed" if error else "done",
                "message": str(error) if error else ("" if node else run.message),
                "seconds": seconds, "slices": result.get("slices"), "structures": result.get("structures", []),
                "model": model.get("name", self._model), "digest": model.get("digest"),
                "volumeId": volumeId, "segmentationId": node.GetID() if node else None,
            }
        )  # fmt: skip
        self._report(len(self.rows), 0.0, self.rows[-1:])

    def _report(self, done, fraction, rows=()):
        """Tell how far it is: so many volumes, and a fraction of the one in work."""
        if not self._onProgress:
            return
        count = len(self._volumes)
        number = min(done + 1, count)
        name, fraction = self._volumes[number - 1][1], (done + fraction) / count
        left = (time.monotonic() - self._began) * (1 - fraction) / fraction if fraction else None
        self._onProgress(
            {
                "fraction": fraction, "number": number, "count": count, "name": name, "rows": list(rows),
                "text": progressText(number, count, name, left),
            }
        )  # fmt: skip

    def _end(self, state, error=None):
        self.state, self.error, self._run = state, error, None
        if error is None and self._onFinished:
            self._onFinished(self)
        elif error is not None and self._onError:
            self._onError(self, error)


def _stoppedError():
    return EngineError("CancelledError", _("The batch was stopped; what is done stays."))
