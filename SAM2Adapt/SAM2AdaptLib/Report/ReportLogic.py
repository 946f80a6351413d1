"""The part of the module's logic that exports segmentations and makes pages of results."""

from SAM2AdaptLib.Report import BatchPageJob, Export, PageJob, Surfaces


class ReportLogic:
    """Comes before ``ScriptedLoadableModuleLogic`` in the bases of a module's logic, which has ``engine``."""

    def exportLabelmap(self, volumeNode, segmentationNode, path):
        """Write a segmentation as NIfTI, with a table of names beside it; see ``Export.labelmap``."""
        return Export.labelmap(volumeNode, segmentationNode, path)

    def exportSurfaces(self, segmentationNode, folder, fileFormat=Surfaces.STL):
        """Write the surfaces of a segmentation as STL or OBJ; see ``Surfaces.surfaces``."""
        return Surfaces.surfaces(segmentationNode, folder, fileFormat)

    def exportDicomSeg(self, volumeNode, segmentationNode, path):
        """Write a segmentation as DICOM SEG and wait for it; the volume must have been loaded from DICOM."""
        return self.startExportDicomSeg(volumeNode, segmentationNode, path).wait().path

    def startExportDicomSeg(self, volumeNode, segmentationNode, path, **callbacks):
        """Begin to write a segmentation as DICOM SEG; returns a job at once, see ``PageJob.startDicomSeg``."""
        return PageJob.startDicomSeg(self.engine, volumeNode, segmentationNode, path, **callbacks)

    def makePage(self, volumeNode, segmentationNode, path, showNames=False):
        """Make a page (HTML) with pictures and volumes of a segmentation and wait for it."""
        return self.startPage(volumeNode, segmentationNode, path, showNames).wait().path

    def startPage(self, volumeNode, segmentationNode, path, showNames=False, **callbacks):
        """Begin to make a page of a segmentation; returns a job at once, see ``PageJob.startPage``."""
        return PageJob.startPage(self.engine, volumeNode, segmentationNode, path, showNames, **callbacks)

    def makeBatchPage(self, folder, path, showNames=False):
        """Make a page (HTML) of a batch from its folder of results and wait for it."""
        return self.startBatchPage(folder, path, showNames).wait().path

    def startBatchPage(self, folder, path, showNames=False, **callbacks):
        """Begin to make a page of a batch; returns a job at once, see ``BatchPageJob.start``."""
        return BatchPageJob.start(self.engine, folder, path, showNames, **callbacks)
