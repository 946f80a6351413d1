"""Volumes on their way to the engine and back: arrays in a private folder, with the geometry that goes with them."""

import os

import numpy as np
import slicer
import vtk
from sam2adapt.shared.errors import GeometryError, OutputError, SettingsError, VolumeError
from sam2adapt.shared.tolerance import VOXEL_SHARE, shear
from slicer.i18n import tr as _

from SAM2AdaptLib.Scene import Geometry, Volumes

_COLOUR_TYPES = ("uint8", "uint16")
_LATTICE = 9  # points along each edge of a region, because a curved transform may put its extremes between the corners
_VOXEL_EDGE_TOLERANCE = 1e-3  # of a voxel


def writeVolume(volumeNode, path, dicomModality="", slices=None):
    """Write the voxels of a volume node for the engine.

    :param volumeNode: vtkMRMLScalarVolumeNode, or vtkMRMLVectorVolumeNode for a colour image.
    :param path: ``.npy`` file to write: (K, J, I), or (K, J, I, 3) for colour.
    :param dicomModality: "CT" or "MR" from the DICOM tag, "" if there is none.
    :param slices: write only these: (voxel axis, 0 = I, 1 = J, 2 = K, across them; their indices). The geometry is then
      right for the size of the voxels only.
    :return: the ``input`` of the engine's request ``segment``: path, name, and geometry in LPS, without the
      parent transform.
    :raises VolumeError, GeometryError: as ``requireSegmentable``.
    :raises OutputError: the file cannot be written.
    """
    requireSegmentable(volumeNode)
    channels, origin, spacing, direction = volumeToArrays(volumeNode)
    if slices:
        axis, indices = slices
        channels = np.take(channels, indices, axis=3 - axis)
    voxels = _greyOrColour(channels)
    try:
        with open(path, "wb") as file:
            # Not np.save, which does not say that the disk is full.
            np.lib.format.write_array_header_2_0(file, np.lib.format.header_data_from_array_1_0(voxels))
            file.write(voxels.data)
    except OSError as error:
        raise OutputError(
            _("Volume '{name}' could not be handed to the engine: {error}.").format(
                name=volumeNode.GetName(), error=error.strerror or error
            ),
            _("Free space on the disk of '{folder}'.").format(folder=os.path.dirname(path)),
        ) from error
    return {
        "array": str(path),
        "name": volumeNode.GetName() or "",
        "origin": origin.tolist(),
        "spacing": spacing.tolist(),
        "direction": direction.ravel().tolist(),
        "modality": dicomModality,
    }


def requireSegmentable(volumeNode):
    """Refuse what is no grey or colour image on a right-angled grid.

    :raises VolumeError: no voxels, a label map, or more values a voxel than an image has.
    :raises GeometryError: the voxel axes are not perpendicular.
    """
    Volumes.requireVoxels(volumeNode)
    name = volumeNode.GetName()
    channels, _origin, spacing, direction = volumeToArrays(volumeNode)
    count, remedy = len(channels), _("Choose a CT, MR or colour volume.")
    if volumeNode.IsA("vtkMRMLLabelMapVolumeNode"):
        raise VolumeError(_("'{name}' is a label map, not an image.").format(name=name), remedy)
    if count > 4 or (count > 1 and channels.dtype.name not in _COLOUR_TYPES):
        raise VolumeError(
            _("Volume '{name}' has {count} values of type {type} a voxel: it is no grey or colour image.").format(
                name=name, count=count, type=channels.dtype
            ),
            remedy,
        )
    if shear(direction * spacing, channels.shape[:0:-1]) >= VOXEL_SHARE:  # as the engine asks of files
        raise GeometryError(
            _("The voxel axes of volume '{name}' are not perpendicular.").format(name=name),
            _("Resample it onto a right-angled grid first, with the module Resample Scalar Volume for instance."),
        )


def _greyOrColour(channels):
    """(C, K, J, I) to a contiguous (K, J, I) or (K, J, I, 3); a last channel of an even number is transparency."""
    voxels = channels[0] if len(channels) <= 2 else np.moveaxis(channels[:3], 0, -1)
    with np.errstate(over="ignore"):  # what becomes infinite is refused by the engine
        return np.ascontiguousarray(voxels, np.float32 if voxels.dtype == np.float64 else None)


def voxelBox(volumeNode, roiNode, parentTransformNode):
    """The smallest box of voxels that holds a region of interest.

    Region and volume may be rotated and transformed; of a rotated region the box holds the corners as well.

    :param volumeNode: volume that gives the grid.
    :param roiNode: vtkMRMLMarkupsROINode.
    :param parentTransformNode: transform of the volume, or None (a time point of a sequence does not know its own).
    :return: [i0, i1, j0, j1, k0, k1], ends excluded.
    :raises SettingsError: the region has no size, or none of it lies in the volume.
    """
    size = np.array(roiNode.GetSize())
    if not (size > 0).all():
        raise SettingsError(
            _("Region '{name}' has not been placed.").format(name=roiNode.GetName()),
            _("Place it in a slice view, or choose no region."),
        )
    indices = _regionInVoxels(volumeNode, roiNode, size, parentTransformNode)
    dimensions = np.array(volumeNode.GetImageData().GetDimensions())
    # The voxel i reaches from i - 1/2 to i + 1/2; one that is only touched is left out.
    start = np.floor(indices.min(axis=0) + 0.5 + _VOXEL_EDGE_TOLERANCE).astype(int).clip(0, dimensions)
    stop = np.ceil(indices.max(axis=0) + 0.5 - _VOXEL_EDGE_TOLERANCE).astype(int).clip(0, dimensions)
    if (start >= stop).any():
        raise SettingsError(
            _("Region '{region}' lies outside volume '{volume}'.").format(
                region=roiNode.GetName(), volume=volumeNode.GetName()
            ),
            _("Move it over the volume, or choose no region."),
        )
    return [int(end) for pair in zip(start, stop, strict=True) for end in pair]


def _regionInVoxels(volumeNode, roiNode, size, parentTransformNode):
    """(N, 3) points of the region, its corners among them, in voxel indices I, J, K of the volume."""
    edge = np.linspace(-0.5, 0.5, _LATTICE)
    lattice = np.stack(np.meshgrid(edge, edge, edge), axis=-1).reshape(-1, 3) * size
    toWorld = slicer.util.arrayFromVTKMatrix(roiNode.GetObjectToWorldMatrix())
    worldToVolume = vtk.vtkGeneralTransform()
    slicer.vtkMRMLTransformNode.GetTransformBetweenNodes(None, parentTransformNode, worldToVolume)
    world = lattice @ toWorld[:3, :3].T + toWorld[:3, 3]
    ras = np.array([worldToVolume.TransformPoint(point) for point in world])
    rasToIJK = np.linalg.inv(Geometry.ijkToRAS(volumeNode))
    return ras @ rasToIJK[:3, :3].T + rasToIJK[:3, 3]


def volumeToArrays(volumeNode):
    """Voxels and geometry of a volume node, in the engine's conventions.

    The geometry is that of the node; a parent transform is not applied, because results go under the same transform.

    :param volumeNode: vtkMRMLScalarVolumeNode, or vtkMRMLVectorVolumeNode for colour images.
    :return: (array, origin, spacing, direction). array (C, K, J, I) is a view of the node's voxels, not to be written
      to; origin (3,) in mm and direction (3, 3), whose columns are the directions of I, J and K, are LPS;
      spacing (3,) in mm is in the order I, J, K.
    :raises VolumeError: the node holds no voxels.
    """
    Volumes.requireVoxels(volumeNode)
    voxels = slicer.util.arrayFromVolume(volumeNode)
    channels = voxels[np.newaxis] if voxels.ndim == 3 else np.moveaxis(voxels, -1, 0)
    ijkToLPS = np.diag([-1.0, -1.0, 1.0, 1.0]) @ Geometry.ijkToRAS(volumeNode)
    spacing = np.array(volumeNode.GetSpacing())
    return channels, ijkToLPS[:3, 3].copy(), spacing, ijkToLPS[:3, :3] / spacing
