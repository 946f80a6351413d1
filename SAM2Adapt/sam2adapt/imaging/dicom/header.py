"""What the header of a DICOM file says about its image: identity, place, values and voxels, for every frame.

Only the elements that are needed are read, up to the voxels (PS3.3 C.7.6; functional groups: C.7.6.16).
"""

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue

from ...shared import paths
from ...shared.errors import InputFileError
from ..stored.declared_size import DEFLATE_RATIO
from . import sop_classes

COPY_AGAIN = "Copy the file again from where it came."
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
# What pydicom raises on files that are cut, overwritten or made to do harm
DAMAGE = (InvalidDicomError, BytesLengthException, EOFError, ValueError, TypeError, KeyError, AttributeError,
          NotImplementedError, IndexError, OverflowError, MemoryError, RecursionError,
          struct.error, zlib.error)  # fmt: skip


@contextlib.contextmanager
def damage_reported(path: str, what: str) -> Iterator[None]:
    """Turn what pydicom raises about a damaged file into one sentence.

    :raises InputFileError: ``what`` cannot be read.
    """
    try:
        yield
    except DAMAGE as error:
        raise InputFileError(f"{path} is damaged: {what} cannot be read.", COPY_AGAIN) from error


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
            series = _text(dataset, "SeriesInstanceUID")
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
    declared = _text(dataset, "SOPClassUID")
    stored = _text(dataset.file_meta, "MediaStorageSOPClassUID")
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
            _text(dataset, "SOPInstanceUID"),
            _text(dataset, "SeriesInstanceUID"),
            _text(dataset, "SeriesDescription"),
        )
    if pixels is None:
        raise InputFileError(f"{path} is damaged: it ends before its voxels.", COPY_AGAIN)
    return _image(path, sop_class, dataset, pixels)


def _pixel_element(dataset: Dataset, end: int, head: bytes) -> tuple[str, int, int | None] | None:
    """Keyword, start and length of the element with the voxels, whose first 12 bytes lie at ``end``."""
    syntax = _text(dataset.file_meta, "TransferSyntaxUID")
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
    rows, columns = _whole(path, dataset, "Rows"), _whole(path, dataset, "Columns")
    frames = _whole(path, dataset, "NumberOfFrames", 1)
    if min(rows, columns, frames) < 1:
        raise InputFileError(f"{path} has no voxels: {columns} columns, {rows} rows, {frames} frames.", COPY_AGAIN)
    layout = _layout(path, dataset, pixels)
    _check_frames(path, layout, frames, rows * columns)
    groups = list(_frame_groups(path, dataset, frames))
    spacing = ("PixelMeasuresSequence", "PixelSpacing")
    transformation = "PixelValueTransformationSequence"
    slopes = _of_frames(path, groups, (transformation, "RescaleSlope"), 1)
    intercepts = _of_frames(path, groups, (transformation, "RescaleIntercept"), 1)
    if slopes is None and frames > 1 and (some := _frames_with(path, groups, (transformation, "RescaleSlope"))):
        raise InputFileError(
            f"{path} gives RescaleSlope and RescaleIntercept for {some} of its {frames} frames only.", COPY_AGAIN
        )
    if (slopes is None) != (intercepts is None):
        raise InputFileError(f"{path} has one of RescaleSlope and RescaleIntercept and not the other.", COPY_AGAIN)
    return ImageHeader(
        path=path, sop_class=sop_class, instance=_text(dataset, "SOPInstanceUID"),
        patient=_text(dataset, "PatientID"), study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"), series_number=_text(dataset, "SeriesNumber"),
        description=_text(dataset, "SeriesDescription"), modality=_text(dataset, "Modality"),
        frame_of_reference=_text(dataset, "FrameOfReferenceUID"), rows=rows, columns=columns, frames=frames,
        positions=_of_frames(path, groups, ("PlanePositionSequence", "ImagePositionPatient"), 3),
        orientations=_of_frames(path, groups, ("PlaneOrientationSequence", "ImageOrientationPatient"), 6),
        spacings=_of_frames(path, groups, spacing, 2) if frames > 1 else _plane_spacing(path, groups, dataset),
        thickness=_thickness(path, groups), rescale_type=_rescale_type(groups, transformation),
        rescales=None if slopes is None else tuple(zip(slopes[:, 0].tolist(), intercepts[:, 0].tolist(), strict=True)),
        has_lut=bool(dataset.get("ModalityLUTSequence")), pixels=layout,
    )  # fmt: skip


def _layout(path: str, dataset: Dataset, pixels: tuple[str, int, int | None]) -> PixelLayout:
    allocated = _whole(path, dataset, "BitsAllocated")
    stored = _whole(path, dataset, "BitsStored", allocated)
    high_bit = _whole(path, dataset, "HighBit", stored - 1)
    if not (0 < stored <= allocated and stored - 1 <= high_bit < allocated):
        raise InputFileError(f"{path} is damaged: BitsAllocated {allocated}, BitsStored {stored} and HighBit {high_bit}"
                             " contradict each other.", COPY_AGAIN)  # fmt: skip
    signed = _whole(path, dataset, "PixelRepresentation", 0) == 1
    return PixelLayout(
        _text(dataset.file_meta, "TransferSyntaxUID") or _guessed_syntax(dataset), *pixels,
        samples=_whole(path, dataset, "SamplesPerPixel", 1),
        photometric=_text(dataset, "PhotometricInterpretation").upper() or "MONOCHROME2",
        planar=_whole(path, dataset, "PlanarConfiguration", 0) == 1, allocated=allocated, stored=stored,
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
    value = _whole(path, dataset, "PixelPaddingValue")
    limit = _whole(path, dataset, "PixelPaddingRangeLimit", value)
    half = 1 << (allocated - 1) if signed else 0
    first, last = ((end + half) % (1 << allocated) - half for end in (value, limit))
    return min(first, last), max(first, last)


def _guessed_syntax(dataset: Dataset) -> str:
    """Transfer syntax of a file without a file header (from before part 10), as pydicom detects it."""
    implicit, little = dataset.original_encoding
    return "1.2.840.10008.1.2" if implicit else f"1.2.840.10008.1.2.{1 if little else 2}"


def _frame_groups(path: str, dataset: Dataset, frames: int) -> Iterator[tuple[Dataset, ...]]:
    """For each frame where its values may stand: in its own group, in the shared one, or in the file itself."""
    per_frame, shared = dataset.get("PerFrameFunctionalGroupsSequence"), dataset.get("SharedFunctionalGroupsSequence")
    if per_frame and len(per_frame) != frames:
        raise InputFileError(
            f"{path} is damaged: it declares {frames} frames and describes {len(per_frame)}.", COPY_AGAIN
        )
    common = tuple(shared or ())[:1]
    for number in range(frames):
        yield (*((per_frame[number],) if per_frame else ()), *common, dataset)


def _of_frames(path: str, groups: Sequence[tuple[Dataset, ...]], keys: tuple[str, str], count: int
               ) -> np.ndarray | None:  # fmt: skip
    """(frames, count) values of all frames; None where one frame lacks them.

    :param keys: the sequence of the functional group, and the element in it.
    """
    known: dict[int, tuple[float, ...]] = {}  # a shared group is looked at once, not for every frame
    values = []
    for places in groups:
        numbers: tuple[float, ...] = ()
        for place in places:
            if id(place) not in known:
                # the position of a file with many frames is that of none of them
                skipped = len(groups) > 1 and "Rows" in place and keys[1] == "ImagePositionPatient"
                known[id(place)] = () if skipped else _numbers(path, _macro(place, keys[0]), keys[1], count)
            if numbers := known[id(place)]:
                break
        if not numbers:
            return None
        values.append(numbers)
    return np.array(values, dtype=np.float64)


def _frames_with(path: str, groups: Sequence[tuple[Dataset, ...]], keys: tuple[str, str]) -> int:
    """How many frames have an element."""
    return sum(any(_numbers(path, _macro(place, keys[0]), keys[1], 1) for place in places) for places in groups)


def _macro(group: Dataset, sequence: str) -> Dataset:
    """The item of a functional group, or the file itself where it has none."""
    if "Rows" in group:
        return group
    items = group.get(sequence)
    return items[0] if items else Dataset()


def _plane_spacing(path: str, groups: Sequence[tuple[Dataset, ...]], dataset: Dataset) -> np.ndarray | None:
    """(1, 2) of an image by itself: in the patient, or at the detector or scanner of a projection or picture."""
    spacing = _of_frames(path, groups, ("PixelMeasuresSequence", "PixelSpacing"), 2)
    for keyword in ("ImagerPixelSpacing", "NominalScannedPixelSpacing"):
        if spacing is None and (numbers := _numbers(path, dataset, keyword, 2)):
            spacing = np.array([numbers])
    return spacing


def _thickness(path: str, groups: Sequence[tuple[Dataset, ...]]) -> float:
    for keyword in ("SpacingBetweenSlices", "SliceThickness"):
        value = _of_frames(path, groups[:1], ("PixelMeasuresSequence", keyword), 1)
        if value is not None and value[0, 0] > 0:
            return float(value[0, 0])
    return 0.0


def _rescale_type(groups: Sequence[tuple[Dataset, ...]], sequence: str) -> str:
    """Of all frames; where they differ, one that is not HU."""
    types = {}
    for places in groups:
        for place in places:
            if id(place) not in types:
                types[id(place)] = _text(_macro(place, sequence), "RescaleType")
            if types[id(place)]:
                break
    units = set(types.values()) - {""}
    return min(units - {"HU"}, default="HU" if units else "")


def _numbers(path: str, dataset: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    """The values of an element, () where it is missing or empty.

    :raises InputFileError: other than ``count`` values, or some that are no numbers.
    """
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return ()
        numbers = tuple(float(part) for part in (value if isinstance(value, MultiValue | list) else (value,)))
    except (ValueError, TypeError, OverflowError):
        numbers = ()
    else:
        if not numbers:
            return ()
    if len(numbers) != count or not np.isfinite(numbers).all():
        raw = dataset.get_item(keyword).value
        shown = raw.decode("ascii", "replace") if isinstance(raw, bytes) else raw
        raise InputFileError(f"{path} is damaged: its {keyword} is '{shown}', not {count} numbers.", COPY_AGAIN)
    return numbers


def _whole(path: str, dataset: Dataset, keyword: str, missing: int | None = None) -> int:
    numbers = _numbers(path, dataset, keyword, 1)
    if not numbers and missing is not None:
        return missing
    if not numbers or numbers[0] != int(numbers[0]):
        raise InputFileError(f"{path} is damaged: it does not say its {keyword}.", COPY_AGAIN)
    return int(numbers[0])


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip(" \0")


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
