"""Results into files: label maps, segmentations of Slicer and DICOM, and volumes."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ...shared.errors import OutputError
from ...shared.labels.label_runs import count_labels
from ..image_files import suffix_of, write_image
from ..segmentation_file import add_segment_fields, layers_of
from ..terminology import Structure
from .geometry import check_on_grid
from .volume import Volume


@dataclass(frozen=True)
class DicomOutput:
    """What a DICOM segmentation says beside its voxels.

    :ivar reference: folder of the series that it refers to; None for the series that the image was read from.
    :ivar kind: "BINARY", which every viewer reads, or "LABELMAP", smaller and of the standard of 2024.
    :ivar algorithm: name and version of the model.
    """

    reference: Path | None = None
    kind: str = "BINARY"
    algorithm: tuple[str, str] = ("SAM2Adapt", "1")


def write_labels(path: str | os.PathLike, labels: Volume, structures: Sequence[Structure],
                 reference: Volume | None = None, dicom: DicomOutput | None = None) -> None:  # fmt: skip
    """Write a label image, as a Slicer segmentation if the name ends in .seg.nrrd, as a DICOM SEG if in .dcm.

    :param path: .seg.nrrd, .nii.gz, .nii, .nrrd, .mha, .png (one slice) or .dcm; appears by atomic rename.
    :param labels: array (1, K, J, I) uint8.
    :param structures: what the label values mean; a structure without voxels becomes an empty segment.
    :param reference: the image that was segmented; its geometry is written.
    :param dicom: for .dcm only, and needed only where the image was not read from a DICOM series.
    :raises OutputError: unknown suffix, folder missing or not writable, disk full, several slices into a PNG, a .dcm
        without a DICOM series.
    :raises GeometryError: the labels are not on the reference's grid.
    """
    if labels.channels != 1 or labels.array.dtype != np.uint8:
        raise ValueError(f"Labels are one channel of uint8, not {labels.channels} of {labels.array.dtype}.")
    present = set(np.flatnonzero(count_labels(labels.array[0])).tolist())
    unknown = present - {0} - {structure.id for structure in structures}
    if unknown:
        raise ValueError(f"The label values {sorted(unknown)} have no structure.")
    if reference is not None:
        check_on_grid(reference.grid, labels.grid)
        labels = reference.with_array(labels.array)
    if suffix_of(path) == ".dcm":
        _write_dicom(path, labels, structures, dicom or DicomOutput())
        return
    image = _to_image(labels)
    if suffix_of(path) == ".seg.nrrd":
        add_segment_fields(image, structures)
    write_image(path, image, labels.forms)


def write_segments(
    path: str | os.PathLike, masks: np.ndarray, structures: Sequence[Structure], reference: Volume,
    tags: Sequence[Mapping[str, str]] = (),
) -> None:  # fmt: skip
    """Write masks that may overlap as a .seg.nrrd with as many layers as it takes.

    :param masks: (S, K, J, I) bool, of the structures.
    :param reference: the image that was segmented; its geometry is written.
    :param tags: what Slicer shall keep with each segment.
    :raises OutputError: as :func:`write_labels`.
    """
    layers, places = layers_of(masks, structures)
    image = _to_image(reference.with_array(layers))
    add_segment_fields(image, structures, places, tags)
    write_image(path, image)


def check_fits(
    path: str | os.PathLike, volume: Volume, dicom: DicomOutput | None = None, kind: type = np.uint8, many: bool = False
) -> None:
    """Refuse, before the work, what the format of an output cannot hold or refer to.

    :param volume: what will be segmented; the result lies on its grid.
    :param kind: of the result's values: ``np.uint8`` for labels. :param many: whether it is one of many volumes.
    :raises OutputError: a .png of several slices or of fractions, a .dcm without a DICOM series or with several.
    :raises GeometryError: the volume does not lie on the voxels of the series to which a .dcm refers.
    """
    suffix = suffix_of(path)
    if suffix == ".png" and (volume.size[2] > 1 or kind not in (np.uint8, np.uint16)):
        what = f"{volume.size[2]} slices" if volume.size[2] > 1 else f"values of {np.dtype(kind).name}"
        raise OutputError(
            f"{path} cannot hold {what}, as of {volume.title}: a PNG is one slice of whole numbers.",
            "Choose .seg.nrrd, .nrrd or .nii.gz.",
            setting="format" if many else (),
        )
    if suffix == ".dcm":
        from ..dicom.seg_writer import check_reference

        check_reference(path, volume.grid, _reference(path, volume, dicom or DicomOutput(), many))


def _reference(
    path: str | os.PathLike, volume: Volume, dicom: DicomOutput, many: bool = False
) -> Path | tuple[str, ...]:
    """The series to which a DICOM segmentation of a volume refers."""
    series = dicom.reference or (volume.series.files if volume.series else ())
    if not series:
        raise OutputError(
            f"{path} must refer to the DICOM series of the image, and {volume.title} is no DICOM.",
            "Choose another format, or segment this volume alone with the folder of its DICOM series as the reference."
            if many
            else "Give the folder of its DICOM series as the reference, or choose .seg.nrrd.",
            setting=("format", "reference") if many else "reference",
        )
    return series


def _write_dicom(path: str | os.PathLike, labels: Volume, structures: Sequence[Structure], dicom: DicomOutput) -> None:
    from ..dicom.seg_writer import write_dicom_seg

    series = _reference(path, labels, dicom)
    write_dicom_seg(path, labels.array[0], labels.grid, structures, series, dicom.kind, dicom.algorithm)


def write_volume(path: str | os.PathLike, volume: Volume) -> None:
    """Write a volume (an uncertainty map, a preprocessed image) by atomic rename.

    :param path: .nii.gz, .nii, .nrrd, .mha, or .png for one slice of uint8 or uint16.
    :raises OutputError: see :func:`write_labels`.
    """
    write_image(path, _to_image(volume), volume.forms)


def _to_image(volume: Volume) -> sitk.Image:
    if volume.channels == 1:
        image = sitk.GetImageFromArray(volume.array[0])
    else:
        image = sitk.GetImageFromArray(np.moveaxis(volume.array, 0, -1), isVector=True)
    image.SetOrigin(volume.origin.tolist())
    image.SetSpacing(volume.spacing.tolist())
    image.SetDirection(volume.direction.ravel().tolist())
    return image
