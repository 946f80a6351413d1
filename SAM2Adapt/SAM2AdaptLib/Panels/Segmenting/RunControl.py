"""The run of the Auto-segment button: the question before it, its progress and its end."""

from SAM2AdaptLib.Models import ExpectedTime
from SAM2AdaptLib.Panels.JobControl import JobControl
from SAM2AdaptLib.Panels.Segmenting.ModelList import mismatch
from SAM2AdaptLib.Panels.WeightsOffer import confirmOtherModality


class RunControl:
    """One run at a time, of a model or of the download of the weights that it needs."""

    def __init__(self, logic, onProgress, onFinished, onStopped):
        """
        :param logic: ``SAM2AdaptLogic``.
        :param onProgress: called with the fraction done (0..1) and a sentence.
        :param onFinished: called with the finished ``SegmentJob`` and its volume.
        :param onStopped: called with the ``EngineError`` of a run that failed or was cancelled.
        """
        self._logic, self._onFinished = logic, onFinished
        self._control = JobControl(logic.downloadBase, onProgress, onStopped)
        self.isRunning, self.cancel = self._control.isRunning, self._control.cancel

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
        options = runOptions(node, model) | sceneOptions(node) | {"anyModality": anyModality}

        def start(**callbacks):
            segmentation = node.outputSegmentation
            return self._logic.startSegment(volumeNode, str(model.path), segmentation, **options, **callbacks)

        def onFinished(job):
            ExpectedTime.remember(job.result, *speedSettings)
            self._onFinished(job, volumeNode)

        self._control.start(start, onFinished, anyway=lambda: self._segment(node, model, anyModality=True))


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
