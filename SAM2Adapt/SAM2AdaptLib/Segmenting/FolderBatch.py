"""A batch over a folder: the engine segments all studies in it into another folder; the scene stays as it is.

The engine keeps a record of each study in the folder of results, so a batch that was stopped, or killed with Slicer,
goes on where it was when it is started again.
"""

import os

from sam2adapt.shared import protocol
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine import ProgressTexts
from SAM2AdaptLib.Engine.Error import EngineError, asEngineErrors
from SAM2AdaptLib.Engine.Job import CANCELLED, DONE, RUNNING, Job, stopped, takeCallbacks
from SAM2AdaptLib.Segmenting.Options import FolderOptions

STOPPING = "stopping"


def start(engine, inputs, outputFolder, model, **options):
    """Start a batch; returns at once.

    :param engine: as for ``SegmentJob.start``, and with ``stop()``: it works on this batch only, and is stopped at the
      end, because nothing else would use its memory.
    :param inputs: a folder with all below it, or a list of image files, folders and .csv files (column "input").
    :param outputFolder: where the segmentations go, in folders as the inputs lie, with ``manifest.csv``.
    :param model: as for ``SegmentJob.start``.
    :param options: those of ``Options.FolderOptions`` and the callbacks of ``Job``. onProgress gets "number" and
      "count" of studies, "name", and "rows", the studies that were finished since the call before. onFinished is
      called even when some studies failed; after an error, what is done stays.
    :return: the FolderBatch.
    :raises EngineError: a folder is missing, or no structure was chosen.
    """
    callbacks = takeCallbacks(options)
    inputs = [inputs] if isinstance(inputs, str | os.PathLike) else list(inputs)
    if not inputs or not all(map(str, inputs)) or not str(outputFolder):
        raise EngineError("SettingsError", _("A folder is missing."), _("Choose one to segment and one for results."))
    with asEngineErrors():
        request = FolderOptions(**options).request(model)
    folders = {"inputs": [os.path.abspath(path) for path in inputs], "output": os.path.abspath(outputFolder)}
    return FolderBatch(engine, request | folders, **callbacks)


class FolderBatch(Job):
    """A batch on its way; made by ``start``.

    :ivar state: as of ``Job``, and "stopping" after ``stop``.
    :ivar outputFolder: where the segmentations are.
    :ivar rows: dicts of the studies finished in this run; at the end of all: "input" (file or folder), "series" (of
      DICOM), "output" (below ``outputFolder``, or None), "status" ("done", "failed", "open"), "message", "seconds"
      (dict), "slices", "structures" (dicts with "name", "voxels", "ml"), "model", "digest".
    """

    def __init__(self, engine, request, **callbacks):
        super().__init__(**callbacks)
        self.outputFolder, self.rows = request["output"], []
        self._engine = engine
        self._ask(engine, "segmentBatch", request)

    def stop(self):
        """End after the slices in work; ``onError`` is called with kind "CancelledError" once the engine has ended."""
        if self.state != RUNNING:
            return
        if self._pending.control(protocol.STOP):
            self.state = STOPPING
        else:
            self.cancel()

    def _cancelledError(self):
        return stopped(
            _("The batch was stopped; what is done stays."), _("Start it again with the same folders to go on.")
        )

    def _onResult(self, result):
        self.rows = result["studies"]
        if result["stopped"]:
            self._end(CANCELLED, self._cancelledError())
        else:
            self._end(DONE)

    def _onEngineProgress(self, progress):
        rows = progress.get("studies") or []
        self.rows += rows
        number, count = min(progress["done"] + 1, progress["total"]), progress["total"]
        self._report(
            {
                "fraction": progress["fraction"], "number": number, "count": count, "rows": rows,
                "name": progress.get("name", ""), "text": self._text(progress, number, count),
            }
        )  # fmt: skip

    def _text(self, progress, number, count):
        if self.state == STOPPING:
            return _("Stopping…")
        if progress["stage"] == protocol.SENDING:
            return ProgressTexts.sending(progress)
        if progress["stage"] != protocol.BATCH:
            return _("Looking for studies…")
        if not progress["name"]:
            return _("Finishing…")
        return ProgressTexts.batch(number, count, progress["name"], progress.get("secondsLeft"))

    def _release(self):
        self._engine.stop()
