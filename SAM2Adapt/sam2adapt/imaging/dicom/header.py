"""What the header of a DICOM file says about its image: identity, place, values and voxels, for every frame.

Only the elements that are needed are read, up to the voxels (PS3.3 C.7.6; functional groups: C.7.6.16).
"""

import os
import struct
from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from ...shared import paths
from ...shared.errors import InputFileError
from ..stored.declared_size import DEFLATE_RATIO
from . import sop_classes
from .elements import COPY_AGAIN, DAMAGE, text_of, whole_of
from .frame_groups import frame_groups, frames_with, of_frames, plane_spacing, rescale_type, thickness

_TAGS = (
    "SOPClassUID SOPInstanceUID PatientID StudyInstanceUID SeriesInstanceUID SeriesNumber SeriesDescription Modality "
    "FrameOfReferenceUID "
    "ImagePositionPatient ImageOrientationPatient PixelSpacing ImagerPixelSpacing NominalScannedPixelSpacing "
    "SpacingBetweenSlices SliceThickness Rows Columns NumberOfFrames SamplesPerPixel PhotometricInterpretation "
    "PlanarConfiguration BitsAllocated BitsStored HighBit PixelRepresentation PixelPaddingValue "
    "PixelPaddingRangeLimit RescaleIntercept RescaleSlope "
    "RescaleType ModalityLUTSequence SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence"
).split()
_PIXEL_TAGS = {0x7FE00008: "FloatPixelData", 0x7FE00009: "DoubleFloatPixelData", 0x7FE00010: "PixelData"}
_PIXEL_VRS = (b"OB", b"OW", b"OF", b"OD", b"UN")
_UNDEFINED = 0xFFFFFFFF
_FEW_FRAMES = 100_000  # which can be listed at once; that voxels of fewer are missing is said where they are read
_ITEM_BITS = 64  # of the head of an item that holds a packed frame


@dataclass(frozen=True)
class PixelLayout:
    """How the voxels are stored.

    :ivar syntax: transfer syntax UID.
    :ivar element: "PixelData", or the keyword of the element that stands in its place.
    :ivar start: byte of the file at which the value begins; 0 in a deflated file, whose bytes must be unpacked first.
    :ivar length: bytes of the value as the element declares them; None where they are undefined (compressed).
    :ivar padding: lowest and highest stored value that stands for no image (C.7.5.1.1.2); None where none does.
    """

    syntax: str
    element: str
    start: int
    length: int | None
    samples: int
    photometric: str
    planar: bool
    allocated: int
    stored: int
    high_bit: int
    signed: bool
    padding: tuple[int, int] | None = None


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """One file with an image.

    :ivar positions: (frames, 3) LPS mm of the centre of each frame's first pixel; None where one frame has none.
    :ivar orientations: (frames, 6) cosines of a row and of a column; None where one frame has none.
    :ivar spacings: (frames, 2) mm between rows and between columns; None where one frame has none.
    :ivar thickness: mm from slice to slice as the header declares it, 0 where it does not.
    :ivar rescales: slope and intercept of each frame; None where one frame has none.
    :ivar has_lut: a table stands in the place of slope and intercept.
    """

    path: str
    sop_class: str
    instance: str
    patient: str
    study_uid: str
    series_uid: str
    series_number: str
    description: str
    modality: str
    frame_of_reference: str
    rows: int
    columns: int
    frames: int
    positions: np.ndarray | None
    orientations: np.ndarray | None
    spacings: np.ndarray | None
    thickness: float
    rescales: tuple[tuple[float, float], ...] | None
    rescale_type: str
    has_lut: bool
    pixels: PixelLayout

    @property
    def has_place(self) -> bool:
        return self.positions is not None and self.orientations is not None


@dataclass(frozen=True)
class OtherObject:
    """A DICOM file without an image of anatomy: report, structure set, dose, segmentation …"""

    path: str
    sop_class: str
    instance: str
    series_uid: str
    description: str

    def __str__(self) -> str:
        return f"{self.path} ({sop_classes.class_name(self.sop_class)})"


@dataclass(frozen=True)
class UnreadableFile:
    """A DICOM file of a class that holds images, or of an unknown class, that cannot be read; ``error`` says why."""

    path: str
    series_uid: str
    error: InputFileError


def read_object(path: str) -> ImageHeader | OtherObject | UnreadableFile:
    """The header of a DICOM file. Damage is returned, not raised: it must not stop a folder's other series."""
    series = ""
    try:
        with paths.open_file(path) as file, pydicom.config.disable_value_validation():
            dataset = pydicom.dcmread(file, stop_before_pixels=True, specific_tags=_TAGS, force=True)
            end = file.tell(), file.read(12)
        with pydicom.config.disable_value_validation():
            series = text_of(dataset, "SeriesInstanceUID")
            return _described(path, dataset, *end)
    except InputFileError as error:
        return UnreadableFile(path, series, error)
    except OSError as error:
        return UnreadableFile(
            path,
            series,
            InputFileError(f"{path} cannot be opened: {error.strerror or error}.", "Check who may read it."),
        )
    except DAMAGE:
        return UnreadableFile(
            path, series, InputFileError(f"{path} is damaged: its DICOM header cannot be read.", COPY_AGAIN)
        )


def _described(path: str, dataset: Dataset, end: int, head: bytes) -> ImageHeader | OtherObject:
    declared = text_of(dataset, "SOPClassUID")
    stored = text_of(dataset.file_meta, "MediaStorageSOPClassUID")
    sop_class = declared or stored
    if declared and stored and declared != stored and sop_classes.is_image(stored) is not False:
        raise InputFileError(
            f"{path} contradicts itself: its file header says {sop_classes.class_name(stored)}, "
            f"its content {sop_classes.class_name(declared)}.",
            COPY_AGAIN,
        )
    is_image = sop_classes.is_image(sop_class)
    pixels = _pixel_element(dataset, end, head)
    if is_image is None:  # a private class, or files whose class was removed
        is_image = pixels is not None and "Rows" in dataset and "Columns" in dataset
    if not is_image:
        return OtherObject(
            path,
            sop_class,
            text_of(dataset, "SOPInstanceUID"),
            text_of(dataset, "SeriesInstanceUID"),
            text_of(dataset, "SeriesDescription"),
        )
    if pixels is None:
        raise InputFileError(f"{path} is damaged: it ends before its voxels.", COPY_AGAIN)
    return _image(path, sop_class, dataset, pixels)


def _pixel_element(dataset: Dataset, end: int, head: bytes) -> tuple[str, int, int | None] | None:
    """Keyword, start and length of the element with the voxels, whose first 12 bytes lie at ``end``."""
    syntax = text_of(dataset.file_meta, "TransferSyntaxUID")
    if syntax == sop_classes.DEFLATED:
        return "PixelData", 0, None
    order = "<" if dataset.original_encoding[1] else ">"
    if len(head) < 12:
        return None
    implicit = head[4:6] not in _PIXEL_VRS  # also where the transfer syntax says otherwise
    group, element = struct.unpack(f"{order}HH", head[:4])
    keyword = _PIXEL_TAGS.get(group << 16 | element)
    if keyword is None:
        return None
    (length,) = struct.unpack(f"{order}I", head[4:8] if implicit else head[8:12])
    return keyword, end + (8 if implicit else 12), None if length == _UNDEFINED else length


def _image(path: str, sop_class: str, dataset: Dataset, pixels: tuple[str, int, int | None]) -> ImageHeader:
    rows, columns = whole_of(path, dataset, "Rows"), whole_of(path, dataset, "Columns")
    frames = whole_of(path, dataset, "NumberOfFrames", 1)
    if min(rows, columns, frames) < 1:
        raise InputFileError(f"{path} has no voxels: {columns} columns, {rows} rows, {frames} frames.", COPY_AGAIN)
    layout = _layout(path, dataset, pixels)
    _check_frames(path, layout, frames, rows * columns)
    groups = list(frame_groups(path, dataset, frames))
    spacing = ("PixelMeasuresSequence", "PixelSpacing")
    transformation = "PixelValueTransformationSequence"
    slopes = of_frames(path, groups, (transformation, "RescaleSlope"), 1)
    intercepts = of_frames(path, groups, (transformation, "RescaleIntercept"), 1)
    if slopes is None and frames > 1 and (some := frames_with(path, groups, (transformation, "RescaleSlope"))):
        raise InputFileError(
            f"{path} gives RescaleSlope and RescaleIntercept for {some} of its {frames} frames only.", COPY_AGAIN
        )
    if (slopes is None) != (intercepts is None):
        raise InputFileError(f"{path} has one of RescaleSlope and RescaleIntercept and not the other.", COPY_AGAIN)
    return ImageHeader(
        path=path, sop_class=sop_class, instance=text_of(dataset, "SOPInstanceUID"),
        patient=text_of(dataset, "PatientID"), study_uid=text_of(dataset, "StudyInstanceUID"),
        series_uid=text_of(dataset, "SeriesInstanceUID"), series_number=text_of(dataset, "SeriesNumber"),
        description=text_of(dataset, "SeriesDescription"), modality=text_of(dataset, "Modality"),
        frame_of_reference=text_of(dataset, "FrameOfReferenceUID"), rows=rows, columns=columns, frames=frames,
        positions=of_frames(path, groups, ("PlanePositionSequence", "ImagePositionPatient"), 3),
        orientations=of_frames(path, groups, ("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        spacings=of_frames(path, groups, spacing, 2) if frames > 1 else plane_spacing(path, groups, dataset),
        thickness=thickness(path, groups), rescale_type=rescale_type(groups, transformation),
        rescales=None if slopes is None else tuple(zip(slopes[:, 0].tolist(), intercepts[:, 0].tolist(), strict=True)),
        has_lut=bool(dataset.get("ModalityLUTSequence")), pixels=layout,
    )  # fmt: skip


def _layout(path: str, dataset: Dataset, pixels: tuple[str, int, int | None]) -> PixelLayout:
    allocated = whole_of(path, dataset, "BitsAllocated")
    stored = whole_of(path, dataset, "BitsStored", allocated)
    high_bit = whole_of(path, dataset, "HighBit", stored - 1)
    if not (0 < stored <= allocated and stored - 1 <= high_bit < allocated):
        raise InputFileError(f"{path} is damaged: BitsAllocated {allocated}, BitsStored {stored} and HighBit {high_bit}"
                             " contradict each other.", COPY_AGAIN)  # fmt: skip
    signed = whole_of(path, dataset, "PixelRepresentation", 0) == 1
    return PixelLayout(
        text_of(dataset.file_meta, "TransferSyntaxUID") or _guessed_syntax(dataset), *pixels,
        samples=whole_of(path, dataset, "SamplesPerPixel", 1),
        photometric=text_of(dataset, "PhotometricInterpretation").upper() or "MONOCHROME2",
        planar=whole_of(path, dataset, "PlanarConfiguration", 0) == 1, allocated=allocated, stored=stored,
        high_bit=high_bit, signed=signed, padding=_padding(path, dataset, allocated, signed))  # fmt: skip


def _check_frames(path: str, layout: PixelLayout, frames: int, pixels: int) -> None:
    """Refuse more frames than the file can hold, before anything is done for each of them.

    :param pixels: of a frame.
    """
    size = os.path.getsize(path)
    bits = pixels * layout.samples * layout.allocated
    if layout.syntax == sop_classes.DEFLATED:
        bits = -(-bits // DEFLATE_RATIO)
    elif layout.length is None:
        bits = _ITEM_BITS  # packed, each in an item of its own
    if frames > _FEW_FRAMES and frames * bits > 8 * size:
        raise InputFileError(
            f"{path} is damaged: it declares {frames} frames of {pixels} pixels, which its {size} bytes cannot hold.",
            COPY_AGAIN,
        )


def _padding(path: str, dataset: Dataset, allocated: int, signed: bool) -> tuple[int, int] | None:
    """Both ends of the padding as the voxels store it: some files give 63536 where the voxels hold -2000."""
    if dataset.get("PixelPaddingValue") in (None, ""):
        return None
    value = whole_of(path, dataset, "PixelPaddingValue")
    limit = whole_of(path, dataset, "PixelPaddingRangeLimit", value)
    half = 1 << (allocated - 1) if signed else 0
    first, last = ((end + half) % (1 << allocated) - half for end in (value, limit))
    return min(first, last), max(first, last)


def _guessed_syntax(dataset: Dataset) -> str:
    """Transfer syntax of a file without a file header (from before part 10), as pydicom detects it."""
    implicit, little = dataset.original_encoding
    return "1.2.840.10008.1.2" if implicit else f"1.2.840.10008.1.2.{1 if little else 2}"


def is_dicom_start(start: bytes) -> bool:
    """True if the first 132 bytes of a file are those of a DICOM file; files from before part 10 have no preamble."""
    if start[128:132] == b"DICM":
        return True
    if start[:2] == b"\x08\0" and start[3:4] == b"\0" and start[6:8] == b"\0\0":  # implicit VR: tag, length, value
        following = start[8 + start[4] :][:4]
        if start[5] == 0 and following[:2] == b"\x08\0" and following[2:] > start[2:4]:
            return True
    # tag of group 2 or 8 and a value representation
    return (
        len(start) > 6
        and start[0] in (2, 8)
        and start[1] == 0
        and start[3] == 0
        and start[4:6].isalpha()
        and (start[4:6].isupper())
    )
