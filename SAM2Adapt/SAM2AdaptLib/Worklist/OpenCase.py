"""The case of a worklist that the user works on: volume and segmentation in the scene, and its correction on disk."""

import os
from pathlib import Path

import slicer
from sam2adapt.shared.errors import InputFileError, OutputError, TrainingDataError
from slicer.i18n import tr as _

from SAM2AdaptLib.Scene import LabelMaps, NewNodes, Results, SliceTags, SliceViews, Volumes

#: Writes large segmentations in a fraction of the time of the default.
_COMPRESSION = "gzip_fastest"


class OpenCase:
    """Loads a case, with its correction if there is one.

    :ivar entry: ``Worklist.Entry``.
    :param correction: path of the corrected segmentation (may not exist).
    :raises InputFileError: the image is gone, or neither file can be loaded.
    """

    def __init__(self, entry, correction):
        self.entry = entry
        if not Path(entry.image).is_file():
            raise InputFileError(
                _("The image '{path}' is not there.").format(path=entry.image),
                _("Bring it back, or go on with another case."),
            )
        volumeNode = slicer.util.loadVolume(entry.image)
        self._volumeId, self._segmentationId, self._kept = volumeNode.GetID(), "", None
        if correction.is_file():
            segmentationNode = slicer.util.loadSegmentation(str(correction))
            segmentationNode.SetName(NewNodes.segmentationName(volumeNode))
            segmentationNode.SetReferenceImageGeometryParameterFromVolumeNode(volumeNode)
            NewNodes.putBeside(volumeNode, segmentationNode)
            self.take(segmentationNode)
            self._kept = LabelMaps.stamps(segmentationNode.GetSegmentation())
            if entry.isComplete:
                Results.markComplete(segmentationNode)
        SliceViews.showVolume(volumeNode)

    def volumeNode(self):
        """The volume, None if it was removed from the scene."""
        return slicer.mrmlScene.GetNodeByID(self._volumeId)

    def segmentationNode(self, create=False):
        """The segmentation, None if there is none; ``create``: make an empty one then."""
        node = slicer.mrmlScene.GetNodeByID(self._segmentationId) if self._segmentationId else None
        node = node or Volumes.segmentationOf(self.volumeNode())
        if node is None and create:
            node = NewNodes.createSegmentationNode(self.volumeNode())
            node.SetReferenceImageGeometryParameterFromVolumeNode(self.volumeNode())
        if node is not None:
            self._segmentationId = node.GetID()
        return node

    def take(self, segmentationNode):
        """Take a segmentation of the volume as that of the case."""
        self._segmentationId = segmentationNode.GetID()

    def isThere(self):
        """Whether the volume is still in the scene."""
        return self.volumeNode() is not None

    def write(self, path):
        """Keep the segmentation as the correction.

        :return: whether it counts on all slices, because a model began it; a drawing counts where something is drawn.
        :raises TrainingDataError: nothing is drawn. :raises OutputError: the file cannot be written; the one before
          stays.
        """
        node = self.segmentationNode()
        if node is None or node.GetSegmentation().GetNumberOfSegments() == 0:
            raise TrainingDataError(
                _("There is no segmentation of '{name}' yet.").format(name=self.entry.id),
                _("Segment or draw it first."),
            )
        temporary = path.with_name(f".{path.name}.part.seg.nrrd")
        storage = slicer.vtkMRMLSegmentationStorageNode()
        storage.SetFileName(str(temporary))
        storage.SetCompressionParameter(_COMPRESSION)
        # Slicer's writer does not always say that the disk is full.
        if not storage.WriteData(node) or not temporary.is_file():
            temporary.unlink(missing_ok=True)
            raise OutputError(
                _("'{path}' could not be written.").format(path=path), _("Free space on the disk, then click again.")
            )
        os.replace(temporary, path)
        self._kept = LabelMaps.stamps(node.GetSegmentation())
        return Results.isComplete(node) and not SliceTags.isFilled(node)

    def removeIfKept(self):
        """Take volume and segmentation out of the scene if all of it is in the correction; else leave them there."""
        node = self.segmentationNode() if self.isThere() else None
        if self._kept is not None and node is not None and LabelMaps.stamps(node.GetSegmentation()) == self._kept:
            volumeNode = self.volumeNode()
            slicer.mrmlScene.RemoveNode(node)
            slicer.mrmlScene.RemoveNode(volumeNode)
