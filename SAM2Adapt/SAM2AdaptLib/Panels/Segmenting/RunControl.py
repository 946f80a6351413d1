"""The run behind the Auto-segment button: what is asked before it, and what is said while and after it."""

from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Models import ExpectedTime
from SAM2AdaptLib.Panels.Segmenting.ModelList import mismatch
from SAM2AdaptLib.Panels.WeightsOffer import WeightsOffer, confirmOtherModality


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
        self._offer = WeightsOffer(logic.downloadBase, onProgress, onStopped)
        self._job = None

    def isRunning(self):
        """Whether there is something to cancel."""
        return self._offer.isRunning() or (self._job is not None and not self._job.isOver)

    def cancel(self):
        """Stop at once; the scene stays as it was."""
        self._offer.cancel()
        if self._job is not None:
            self._job.cancel()

    def start(self, parameterNode, model, modality):
        """Segment as the parameters say; asks first when the model is for another modality.

        :param model: ``Catalog.Model``.
        :param modality: that of the volume; "" when it is not known.
        """
        warning = mismatch(model, modality)
        if not warning or confirmOtherModality(warning):
            self._segment(parameterNode, model, anyModality=bool(warning))

    def _segment(self, node, model, anyModality):
        volumeNode = node.inputVolume
        speedSettings = (node.device, node.testTimeAugmentation)

        def onFinished(job):
            ExpectedTime.remember(job.result, *speedSettings)
            self._onFinished(job, volumeNode)

        def onError(job, error):
            self._onStopped(error)
            self._offer.showError(
                error,
                again=lambda: self._segment(node, model, anyModality),
                anyway=lambda: self._segment(node, model, anyModality=True),
            )

        try:
            self._job = self._logic.startSegment(
                volumeNode,
                str(model.path),
                node.outputSegmentation,
                **runOptions(node, model),
                **sceneOptions(node),
                anyModality=anyModality,
                onProgress=lambda progress: self._onProgress(progress["fraction"], progress["text"]),
                onFinished=onFinished,
                onError=onError,
            )
        except EngineError as error:
            onError(None, error)
        else:
            self._onProgress(0, _("Starting…"))


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
