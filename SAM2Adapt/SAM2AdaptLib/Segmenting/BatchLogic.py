"""The part of the module's logic that segments many studies."""

import qt
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Client import EngineClient
from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Segmenting import FolderBatch, SceneBatch


class BatchLogic:
    """Batches of ``SAM2AdaptLogic``: volumes of the scene with its engine, folders with an engine of their own."""

    _folderJob = None

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

    def startSegmentVolumes(self, volumeNodes, model, **options):
        """Begin to segment volumes one after the other; returns a ``BatchOfVolumes`` at once, see its ``start``."""
        return SceneBatch.start(self.startSegment, volumeNodes, model, **options)

    def segmentFolder(self, folder, outputFolder, model, **options) -> list[dict]:
        """Segment all volumes of a folder into another and wait for it; Slicer stays alive, the scene as it is.

        :param options: see ``BatchJob.start``.
        :return: a row for each study, see ``BatchJob.BatchJob``.
        :raises EngineError: nothing could be done at all, or the batch was stopped; what is done stays.
        """
        return waitFor(self.startSegmentFolder, folder, outputFolder, model, **options).rows

    def startSegmentFolder(self, folder, outputFolder, model, **options):
        """Begin to segment all volumes of a folder; returns a ``BatchJob`` at once, see its ``start``."""
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
        """The files of a DICOM series that a batch found in a folder, in the order of their positions."""
        return self.engine.wait(self.engine.request("seriesFiles", {"input": folder, "series": series}))


def waitFor(start, *arguments, **options):
    """Start a job and wait for it in a nested event loop.

    :param start: function that starts it, with the options ``onFinished`` and ``onError``.
    :return: the job.
    :raises EngineError: it failed or was cancelled.
    """
    loop = qt.QEventLoop()
    job = start(*arguments, onFinished=lambda job: loop.quit(), onError=lambda job, error: loop.quit(), **options)
    loop.exec_()
    job.cancel()  # the loop also ends when the application quits
    if job.error:
        raise job.error
    return job
