"""The part of the module's logic that segments: a volume, many volumes, or a folder of studies."""

from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Client import EngineClient
from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Scene import SegmentationHistory, Statistics, VolumeModality, Volumes
from SAM2AdaptLib.Segmenting import FolderBatch, ProposalJob, SceneBatch, SegmentJob


class SegmentingLogic:
    """Comes before ``ScriptedLoadableModuleLogic`` in the bases of a module's logic, which has ``engine``.

    Volumes of the scene are segmented by that engine, each folder by another one. For the options see
    ``Options.Options``, for the callbacks ``Job``.
    """

    _folderJob = None

    def firstVolume(self):
        """The first image volume of the scene, None without one."""
        return next(iter(self.volumes()), None)

    def volumes(self):
        """The image volumes of the scene; label maps are volumes too, but nothing to segment."""
        return Volumes.images()

    def volumeModality(self, volumeNode):
        """What a volume looks like: CT, MR, RGB, or "" when that is not clear."""
        return VolumeModality.volumeModality(volumeNode)

    def segment(self, volumeNode, model, segmentationNode=None, **options):
        """Segment a volume and wait for it; Slicer stays alive.

        :param model: name, NAME@VERSION or path.
        :param segmentationNode: where the structures go; without it a new node, named after the volume.
        :return: the segmentation; None if the model found no structure and no segmentation was given.
        """
        return self.startSegment(volumeNode, model, segmentationNode, **options).wait().segmentationNode

    def startSegment(self, volumeNode, model, segmentationNode=None, **options):
        """Begin to segment a volume; returns a ``SegmentJob`` at once.

        :param options: also ``onFinished`` (called with the job) and ``onError`` (with the job and the error).
        """
        return SegmentJob.start(self.engine, volumeNode, str(model), segmentationNode, **options)

    def segmentVolumes(self, volumeNodes, model, **options) -> list:
        """Segment one volume after the other with a warm engine; a failure does not stop the rest.

        :return: for each volume its segmentation, or the ``EngineError``.
        """
        results = []
        for volumeNode in volumeNodes:
            try:
                results.append(self.segment(volumeNode, model, **options))
            except EngineError as error:
                results.append(error)
        return results

    def undo(self, segmentationNode):
        """Bring back a segmentation as it was before the last run, except segments that were edited since.

        :return: False if there is nothing to undo.
        """
        return SegmentationHistory.undo(segmentationNode) is not None

    def statistics(self, volumeNode, segmentationNode):
        """Volume and intensity of each segment: a list of dicts, see ``Statistics.measure``."""
        return Statistics.measure(volumeNode, segmentationNode)

    def startProposal(self, volumeNode, models, **options):
        """Begin to try models on three slices of a volume; returns a ``ProposalJob`` at once, see its ``start``."""
        return ProposalJob.start(self.engine, volumeNode, models, **options)

    def startSegmentVolumes(self, volumeNodes, model, **options):
        """Begin to segment volumes one after the other; returns a ``SceneBatch`` at once, see its ``start``."""
        return SceneBatch.start(self.startSegment, volumeNodes, model, **options)

    def segmentFolder(self, folder, outputFolder, model, **options) -> list[dict]:
        """Segment all volumes of a folder into another and wait for it; Slicer stays alive, the scene as it is.

        :param options: see ``FolderBatch.start``.
        :return: a row for each study, see ``FolderBatch.FolderBatch``.
        :raises EngineError: nothing could be done at all, or the batch was stopped; what is done stays.
        """
        return self.startSegmentFolder(folder, outputFolder, model, **options).wait().rows

    def startSegmentFolder(self, folder, outputFolder, model, **options):
        """Begin to segment all volumes of a folder; returns a ``FolderBatch`` at once, see its ``start``."""
        if self._folderJob and not self._folderJob.isOver:
            raise EngineError("BatchError", _("A batch is running already."), _("Wait for its end, or cancel it."))
        # A night of work must not keep runs of the panel waiting.
        self._folderJob = FolderBatch.start(EngineClient(), folder, outputFolder, model, **options)
        return self._folderJob

    def stopBatch(self) -> None:
        """Kill the engine of a folder's batch; what is done stays."""
        if self._folderJob:
            self._folderJob.cancel()

    def seriesFiles(self, folder, series) -> list[str]:
        """The files of a DICOM series in a folder, in the order of their positions."""
        return self.engine.request("seriesFiles", {"input": folder, "series": series}).wait().result
