"""Which kind of image a volume node holds, from its DICOM tag or else from its grey levels."""

import slicer
from sam2adapt.shared.modality import modality_of

_KNOWN = ("CT", "MR")
_COLOUR_CHANNELS = (3, 4)
_SAMPLES_PER_AXIS = 64  # enough to meet air and fat, and read in a millisecond


def volumeModality(volumeNode):
    """Kind of a volume, at once even for a large one.

    :return: "CT", "MR", "RGB", or "" where neither tag nor grey levels say.
    """
    image = volumeNode.GetImageData()
    if image is None:
        return ""
    tag, colour = _dicomTag(volumeNode), image.GetNumberOfScalarComponents() in _COLOUR_CHANNELS
    if tag not in ("", *_KNOWN) and not colour:
        return ""
    voxels = slicer.util.arrayFromVolume(volumeNode)
    sample = voxels[tuple(slice(None, None, 1 + size // _SAMPLES_PER_AXIS) for size in voxels.shape[:3])]
    return modality_of(sample, tag, colour)


def dicomModality(volumeNode):
    """The modality that the DICOM tag of a volume says, "CT" or "MR"; else ""."""
    tag = _dicomTag(volumeNode)
    return tag if tag in _KNOWN else ""


def _dicomTag(volumeNode):
    """Value of the tag Modality, from the subject hierarchy or Slicer's DICOM database; "" if it is in neither."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    item = hierarchy.GetItemByDataNode(volumeNode) if hierarchy else 0
    if item:
        name = slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
        if tag := hierarchy.GetItemAttribute(item, name):
            return tag
    instances = (volumeNode.GetAttribute("DICOM.instanceUIDs") or "").split()
    if not instances or getattr(slicer, "dicomDatabase", None) is None:
        return ""
    return slicer.dicomDatabase.instanceValue(instances[0], "0008,0060")
