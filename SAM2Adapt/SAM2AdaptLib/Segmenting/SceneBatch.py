"""A batch over volumes of the scene: one run of Auto-segment after the other, each into its own segmentation."""

import time

import slicer
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine import ProgressTexts
from SAM2AdaptLib.Engine.Error import HOPELESS, EngineError
from SAM2AdaptLib.Engine.Job import DONE, FAILED, Job, stopped
from SAM2AdaptLib.Scene import Results


def start(
    startSegment, volumeNodes, model, chooseSegmentation=None, onProgress=None, onFinished=None, onError=None, **options
):
    """Start a batch; returns at once.

    :param startSegment: ``SAM2AdaptLogic.startSegment``.
    :param volumeNodes: those to segment, in this order.
    :param chooseSegmentation: function that gives the segmentation into which the result of a volume goes, None for a
      new one; without it ``Results.replaceable``, so that nothing that the user drew or corrected is replaced.
    :param onProgress, onFinished, onError: as for ``FolderBatch.start``.
    :param options: those of ``SegmentJob.start``.
    :return: the SceneBatch.
    :raises EngineError: there is no volume.
    """
    if not volumeNodes:
        raise EngineError("VolumeError", _("There is no volume to segment."), _("Check at least one in the list."))
    callbacks = {"onProgress": onProgress, "onFinished": onFinished, "onError": onError}
    chooseSegmentation = chooseSegmentation or Results.replaceable
    job = SceneBatch(startSegment, volumeNodes, str(model), chooseSegmentation, options, **callbacks)
    job.begin()
    return job


class SceneBatch(Job):
    """A batch on its way; made by ``start``.

    :ivar outputFolder: "", because the results are in the scene.
    :ivar rows: of the volumes so far, as ``FolderBatch.rows``, and "volumeId" and "segmentationId" of the nodes.
    """

    def __init__(self, startSegment, volumeNodes, model, chooseSegmentation, options, **callbacks):
        super().__init__(**callbacks)
        self.outputFolder, self.rows = "", []
        self._startSegment, self._model, self._chooseSegmentation = startSegment, model, chooseSegmentation
        self._volumes = [(node.GetID(), node.GetName()) for node in volumeNodes]
        self._options = options

    def begin(self):
        """Send the first volume; called by ``start``."""
        self._began = time.monotonic()
        self._next()

    def stop(self):
        """As ``cancel``: what is done is in the scene already."""
        self.cancel()

    def _cancelledError(self):
        return stopped(_("The batch was stopped; what is done stays."))

    def _next(self):
        """Send the next volume that can be segmented at all."""
        while not self.isOver:
            self._pending = None
            number = len(self.rows)
            if number == len(self._volumes):
                self._end(DONE)
                return
            volumeNode = slicer.mrmlScene.GetNodeByID(self._volumes[number][0])
            try:
                if volumeNode is None:
                    raise EngineError("VolumeError", _("The volume was removed."))
                self._pending = self._startSegment(
                    volumeNode,
                    self._model,
                    self._chooseSegmentation(volumeNode),
                    onProgress=lambda progress, number=number: self._tell(number, progress["fraction"]),
                    onFinished=self._unlessOver(self._onSegmented),
                    onError=self._unlessOver(self._onFailed),
                    **self._options,
                )
                return
            except EngineError as error:
                self._addRow(error)

    def _onSegmented(self, run):
        self._addRow(None, run)
        self._next()

    def _onFailed(self, run, error):
        if slicer.mrmlScene.IsClosing():
            self._stop(error)
        elif error.kind in HOPELESS:
            self._end(FAILED, error)
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
        self._tell(len(self.rows), 0.0, self.rows[-1:])

    def _tell(self, done, fraction, rows=()):
        """Report how far the batch is: so many volumes, and a fraction of the one in work."""
        count = len(self._volumes)
        number = min(done + 1, count)
        name, fraction = self._volumes[number - 1][1], (done + fraction) / count
        left = (time.monotonic() - self._began) * (1 - fraction) / fraction if fraction else None
        self._report(
            {
                "fraction": fraction, "number": number, "count": count, "name": name, "rows": list(rows),
                "text": ProgressTexts.batch(number, count, name, left),
            }
        )  # fmt: skip
