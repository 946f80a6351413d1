"""The run behind the Auto-segment button: what is asked before it, and what is said while and after it."""

from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Models import ExpectedTime
from SAM2AdaptLib.Panels import Dialogs
from SAM2AdaptLib.Panels.Segmenting.ModelList import mismatch

RUNNING = ("waiting", "running")


class RunControl:
    """One run at a time, of a model or of the download of the weights that it needs."""

    def __init__(self, logic, onProgress, onFinished, onStopped):
        """
        :param logic: ``SAM2AdaptLogic``.
        :param onProgress: called with the fraction done (0..1) and a sentence.
        :param onFinished: called with the finished ``SegmentJob`` and its volume.
        :param onStopped: called with the ``EngineError`` of a run that failed or was cancelled.
        """
        self._logic = logic
        self._onProgress = onProgress
        self._onFinished = onFinished
        self._onStopped = onStopped
        self._task = None  # SegmentJob, or the EngineRequest of a download
        self._parameterNode = None
        self._model = None
        self._anyModality = False

    def isRunning(self):
        """Whether there is something to cancel."""
        return self._task is not None and self._task.state in RUNNING

    def cancel(self):
        """Stop at once; the scene stays as it was."""
        if self.isRunning():
            self._task.cancel()

    def start(self, parameterNode, model, modality):
        """Segment as the parameters say; asks first when the model is for another modality.

        :param model: ``ModelCatalog.Model``.
        :param modality: that of the volume; "" when it is not known.
        """
        self._parameterNode = parameterNode
        self._model = model
        warning = mismatch(model, modality)
        self._anyModality = bool(warning) and _confirmOtherModality(warning)
        if self._anyModality or not warning:
            self._segment()

    def _segment(self):
        node = self._parameterNode
        volumeNode = node.inputVolume
        speedSettings = (node.device, node.testTimeAugmentation)

        def onFinished(job):
            ExpectedTime.remember(job.result, *speedSettings)
            self._onFinished(job, volumeNode)

        try:
            self._task = self._logic.startSegment(
                volumeNode,
                str(self._model.path),
                node.outputSegmentation,
                **runOptions(node, self._model),
                **sceneOptions(node),
                anyModality=self._anyModality,
                onProgress=lambda progress: self._onProgress(progress["fraction"], progress["text"]),
                onFinished=onFinished,
                onError=lambda job, error: self._onError(error),
            )
        except EngineError as error:
            self._onError(error)
        else:
            self._onProgress(0, _("Starting…"))

    def _onError(self, error):
        self._onStopped(error)
        if error.kind == "ModalityError":
            self._anyModality = _confirmOtherModality(error.message)
            if self._anyModality:
                self._segment()
        elif error.kind == "WeightsMissingError":
            self._offerDownload(error)
        else:
            _show(error)

    def _offerDownload(self, error):
        explanation = _("They come from Meta, the makers of SAM 2, under the Apache 2.0 licence.")
        if not Dialogs.confirm(error.message, explanation, _("Download")):
            return
        self._task = self._logic.engine.request(
            "downloadBase",
            {"base": self._model.base},
            onResult=lambda result: self._segment(),
            onError=self._onDownloadError,
            onProgress=self._onDownloadProgress,
        )
        self._onProgress(0, _("Starting…"))

    def _onDownloadProgress(self, progress):
        text = _("Downloading the weights: {done} of {total} MB")
        done, total = (round(progress[key] / 1e6) for key in ("done", "total"))
        self._onProgress(progress["fraction"], text.format(done=done, total=total))

    def _onDownloadError(self, error):
        self._onStopped(error)
        _show(error)


def runOptions(parameterNode, model):
    """Options of ``SegmentJob.start`` as the panel's parameters say, those that any volume can be segmented with."""
    skipped = set(parameterNode.skippedStructures)
    structures = [name for name in model.structures if name not in skipped]
    return {
        "device": parameterNode.device,
        "structures": structures if len(structures) < len(model.structures) else None,
        "tta": parameterNode.testTimeAugmentation,
        "postProcess": parameterNode.postProcessing,
    }


def sceneOptions(parameterNode):
    """Options of ``SegmentJob.start`` that are about what is in the scene."""
    return {
        "roiNode": parameterNode.roi,
        "uncertainty": parameterNode.uncertainty,
        "existingSegments": parameterNode.existingSegments.value,
        "timePoints": parameterNode.timePoints.value,
    }


def _confirmOtherModality(warning):
    return Dialogs.confirm(warning, _("The result is likely to be wrong."), _("Run anyway"))


def _show(error):
    """Show what the panel's own status line and install section do not say well enough."""
    if error.kind not in ("CancelledError", "EngineMissing"):
        Dialogs.showError(error)
