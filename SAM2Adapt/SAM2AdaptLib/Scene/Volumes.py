"""The volumes of the scene, and which segmentations belong to them."""

import slicer
from sam2adapt.shared.errors import VolumeError
from slicer.i18n import tr as _

IMAGE_CLASSES = ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode")


def images():
    """The image volumes in the lists of nodes; label maps are volumes, too, but nothing to segment."""
    volumes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [node for node in volumes if node.GetClassName() in IMAGE_CLASSES and not node.GetHideFromEditors()]


def hasVoxels(volumeNode):
    """Whether there is a volume and something in it; a node is in the scene before its voxels are."""
    image = volumeNode.GetImageData() if volumeNode else None
    return image is not None and image.GetPointData().GetScalars() is not None


def volumeOf(segmentationNode):
    """The volume on which a segmentation was made, None if it does not say, or if that volume is gone."""
    return segmentationNode.GetNodeReference(segmentationNode.GetReferenceImageGeometryReferenceRole())


def segmentationOf(volumeNode):
    """The first segmentation that was made on a volume; None if there is none."""
    segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    return next((node for node in segmentations if volumeOf(node) is volumeNode), None)


def unlabelled():
    """Volume nodes with voxels on which no segmentation was made that has segments, without label maps."""
    segmentations = slicer.util.getNodesByClass("vtkMRMLSegmentationNode")
    labelled = {volumeOf(node) for node in segmentations if node.GetSegmentation().GetNumberOfSegments()}
    return [node for node in images() if node not in labelled and node.GetImageData()]


def requireVoxels(volumeNode):
    """Refuse a volume node that is None or holds no voxels.

    :raises VolumeError: in these cases.
    """
    if not volumeNode:
        raise VolumeError(_("No volume was chosen."), _("Choose a volume."))
    if not volumeNode.GetImageData() or 0 in volumeNode.GetImageData().GetDimensions():
        raise VolumeError(
            _("Volume '{name}' holds no voxels.").format(name=volumeNode.GetName()),
            _("Choose a volume that has been loaded."),
        )
