"""The part of the module's logic that fills the slices between drawn ones."""

from SAM2AdaptLib.Filling import FillJob


class FillLogic:
    """Comes before ``ScriptedLoadableModuleLogic`` in the bases of a module's logic, which has ``engine``."""

    def fill(self, volumeNode, segmentationNode, **options):
        """Fill the slices between drawn ones and wait for it; Slicer stays alive, and ``undo`` takes them out again.

        :param segmentationNode: its visible segments are filled, each between its own drawings.
        :param options: direction, segmentIds, roiNode, onProgress (see ``FillJob.start``).
        :return: the ``FillJob``, whose result is in the segmentation: ``expectedDice``, ``nextSlice``, ``log``.
        """
        job = self.startFill(volumeNode, segmentationNode, **options).wait()
        job.apply()
        return job

    def startFill(self, volumeNode, segmentationNode, **options):
        """Begin to fill the slices between drawn ones; returns a ``FillJob`` at once, whose ``apply`` puts them in.

        :param options: also ``onPreview``, ``onFinished`` (called with the job), ``onError`` (with job and error).
        """
        return FillJob.start(self.engine, volumeNode, segmentationNode, **options)
