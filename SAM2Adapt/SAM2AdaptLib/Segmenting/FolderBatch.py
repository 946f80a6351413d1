"""A batch over a folder: the engine segments all that it finds there into another folder; the scene stays as it is.

The engine keeps a record of each study in the folder of results, so a batch that was stopped, or killed with Slicer,
goes on where it was when it is started again.
"""

import os

from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Engine.ProgressTexts import timeLeft

RUNNING, STOPPING, DONE, CANCELLED, FAILED = "running", "stopping", "done", "cancelled", "failed"


def start(
    engine, inputs, outputFolder, model, device="auto", structures=None, tta=False, postProcess=True,
    anyModality=False, onProgress=None, onFinished=None, onError=None,
):  # fmt: skip
    """Start a batch; returns at once.

    :param engine: as for ``SegmentJob.start``, and with ``stop()``: it works on this batch only, and is stopped at the
      end, because nothing else would use its memory.
    :param inputs: a folder with all below it, or a list of image files, folders and .csv files (column "input").
    :param outputFolder: where the segmentations go, in folders as the inputs lie, with ``manifest.csv``.
    :param model, device, structures, tta, postProcess, anyModality: as for ``SegmentJob.start``.
    :param onProgress: called with dicts: "fraction", "number" and "count" of studies, "name", "text", and "rows", the
      studies that were finished since the call before.
    :param onFinished: called with the job, also if some of the studies failed.
    :param onError: called with the job and an EngineError, also of kind "CancelledError"; what is done stays.
    :return: the BatchJob.
    :raises EngineError: a folder is missing.
    """
    inputs = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    if not inputs or not all(map(str, inputs)) or not str(outputFolder):
        raise EngineError("SettingsError", _("A folder is missing."), _("Choose one to segment and one for results."))
    request = {
        "inputs": [os.path.abspath(path) for path in inputs],
        "output": os.path.abspath(outputFolder),
        "model": str(model),
        "device": device,
        "structures": structures,
        "tta": tta,
        "postProcess": postProcess,
        "anyModality": anyModality,
    }
    return BatchJob(engine, request, (onProgress, onFinished, onError))


class BatchJob:
    """A batch on its way; made by ``start``.

    :ivar state: "running", "stopping", "done", "cancelled" or "failed".
    :ivar outputFolder: where the segmentations are.
    :ivar rows: dicts of the studies finished in this run; at the end of all: "input" (file or folder), "series" (of
      DICOM), "output" (below ``outputFolder``, or None), "status" ("done", "failed", "open"), "message", "seconds"
      (dict), "slices", "structures" (dicts with "name", "voxels", "ml"), "model", "digest".
    :ivar error: EngineError of a batch that failed or was cancelled.
    """

    def __init__(self, engine, request, callbacks):
        self.state, self.rows, self.error = RUNNING, [], None
        self.outputFolder = request["output"]
        self._engine = engine
        self._onProgress, self._onFinished, self._onError = callbacks
        self._request = engine.request(
            "segmentBatch", request, self._onResult, self._onEngineError, self._onEngineProgress
        )

    @property
    def isOver(self):
        """Whether nothing more will happen."""
        return self.state not in (RUNNING, STOPPING)

    def stop(self):
        """End after the slices in work; ``onError`` is called with kind "CancelledError" once the engine has ended."""
        if self.state != RUNNING:
            return
        if self._request.control("stop"):
            self.state = STOPPING
        else:
            self.cancel()

    def cancel(self):
        """End at once; ``onError`` is called before this returns. The study in work is lost."""
        if not self.isOver:
            request, self._request = self._request, None
            self.state = CANCELLED  # first, so that what the engine says about it is ignored
            request.cancel()
            self._end(CANCELLED, _stoppedError())

    def _onResult(self, result):
        if self.isOver:
            return
        self.rows = result["studies"]
        self._end(*((CANCELLED, _stoppedError()) if result["stopped"] else (DONE,)))

    def _onEngineError(self, error):
        if not self.isOver:
            self._end(CANCELLED if error.kind == "CancelledError" else FAILED, error)

    def _onEngineProgress(self, progress):
        if self.isOver:
            return
        rows = progress.get("studies") or []
        self.rows += rows
        if self._onProgress:
            number, count = min(progress["done"] + 1, progress["total"]), progress["total"]
            self._onProgress(
                {
                    "fraction": progress["fraction"], "number": number, "count": count, "rows": rows,
                    "name": progress.get("name", ""), "text": self._text(progress, number, count),
                }
            )  # fmt: skip

    def _text(self, progress, number, count):
        if self.state == STOPPING:
            return _("Stopping…")
        if progress["stage"] != "batch":
            return _("Looking for studies…")
        if not progress["name"]:
            return _("Finishing…")
        return progressText(number, count, progress["name"], progress.get("secondsLeft"))

    def _end(self, state, error=None):
        self.state, self.error, self._request = state, error, None
        self._engine.stop()
        if error is None and self._onFinished:
            self._onFinished(self)
        elif error is not None and self._onError:
            self._onError(self, error)


def progressText(number, count, name, secondsLeft):
    """Where a batch is, in words."""
    text = _("Study {number} of {count}: {name}").format(number=number, count=count, name=name)
    return text if secondsLeft is None else f"{text}, {timeLeft(secondsLeft)}"


def _stoppedError():
    return EngineError(
        "CancelledError",
        _("The batch was stopped; what is done stays."),
        _("Start it again with the same folders to go on."),
    )
