"""Compressed frames of a DICOM file: proved complete before they are decoded, then decoded by GDCM.

GDCM gets a file that says nothing but how to decode, so that what it would make of the header (a mirrored MONOCHROME1,
one rescale for all frames, a slice distance of 1 mm) cannot reach the voxels.
"""

import struct
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    MultiFrameGrayscaleWordSecondaryCaptureImageStorage,
    MultiFrameTrueColorSecondaryCaptureImageStorage,
    generate_uid,
)

from ...shared import paths
from ...shared.errors import InputFileError
from . import sop_classes
from .elements import COPY_AGAIN
from .header import ImageHeader

_ITEM, _DELIMITER = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_SOF = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}  # markers that begin a JPEG or JPEG-LS frame
_ALONE = {0x01, *range(0xD0, 0xD9)}  # markers without a length
_RLE_HEADER = 64
_MAX_RATIO = 10_000  # a larger ratio is believed for frames of less than
_SMALL_FRAME = 1 << 26  # bytes: black slices of usual size are compressed by more


def split_frames(header: ImageHeader) -> list[bytes]:
    """The compressed frames of a file, each proved to be whole and of the size that the header declares.

    :raises InputFileError: cut, or fewer or other frames than declared.
    """
    with paths.open_file(header.path) as file:
        file.seek(header.pixels.start)
        value = file.read()
    value = value[: _encapsulated_length(header, value)]
    try:
        frames = list(generate_frames(value, number_of_frames=header.frames))
    except ValueError as error:
        raise _damaged(header, "its compressed frames cannot be told apart") from error
    if len(frames) != header.frames:
        raise _damaged(header, f"it declares {header.frames} frames and holds {len(frames)}")
    for number, frame in enumerate(frames):
        _check_frame(header, frame, number)
    return frames


def decoding(header: ImageHeader, frames: list[bytes]) -> tuple:
    """Equal for files whose frames can be decoded together."""
    pixels = header.pixels
    codestream = _jpeg_2000_size(frames[0]) if pixels.syntax in sop_classes.JPEG_2000 else None
    return (pixels.syntax, header.rows, header.columns, pixels.samples, pixels.photometric, pixels.planar,
            pixels.allocated, pixels.stored, pixels.signed, codestream)  # fmt: skip


def decode(header: ImageHeader, frames: list[bytes], path: Path) -> np.ndarray:
    """(frames, rows, columns) or (frames, rows, columns, samples): voxels as they were stored before compression.

    :param header: of the file that the frames come from, or of one of several that :func:`decoding` says are alike.
    :param path: for a temporary file, which is removed.
    :raises InputFileError: GDCM cannot decode them.
    """
    _write_plain(path, header, frames)
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(str(path))
    try:
        array = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as error:
        raise _damaged(header, "its voxels cannot be decoded") from error
    finally:
        path.unlink()
    shape = (len(frames), header.rows, header.columns)
    shape += (header.pixels.samples,) if header.pixels.samples > 1 else ()
    if array.size != np.prod(shape) or array.itemsize * 8 != header.pixels.allocated:
        raise _damaged(
            header,
            f"decoded it has {array.shape} voxels of {8 * array.itemsize} bits, not {shape} of "
            f"{header.pixels.allocated}",
        )
    return array.reshape(shape)


def _encapsulated_length(header: ImageHeader, value: bytes) -> int:
    """Bytes of the items, after walking along all of them to the delimiter: a file that was cut has none."""
    place = 0
    while value[place : place + 4] == _ITEM and place + 8 <= len(value):
        place += 8 + struct.unpack("<I", value[place + 4 : place + 8])[0]
    if value[place : place + 4] != _DELIMITER:
        raise _damaged(header, f"its compressed voxels break off after {len(value)} bytes")
    return place + 8


def _check_frame(header: ImageHeader, frame: bytes, number: int) -> None:
    pixels, which = header.pixels, f"frame {number + 1}" if header.frames > 1 else "its image"
    size = header.rows * header.columns * pixels.samples * pixels.allocated // 8
    if size > _SMALL_FRAME and size > _MAX_RATIO * len(frame):
        raise _damaged(
            header,
            f"{which} declares {header.columns} x {header.rows} pixels, {size} bytes, and has "
            f"{len(frame)} compressed bytes",
        )
    if pixels.syntax == sop_classes.RLE:
        _check_rle(header, frame, which, size)
        return
    declared = header.columns, header.rows, pixels.samples
    is_jpeg_2000 = pixels.syntax in sop_classes.JPEG_2000
    coded = _jpeg_2000_size(frame) if is_jpeg_2000 else _jpeg_size(frame)
    if coded is None:
        raise _damaged(header, f"{which} is no {sop_classes.syntax_name(pixels.syntax)} image")
    if coded[:3] != declared:
        raise _damaged(
            header,
            f"{which} is compressed as {coded[0]} x {coded[1]} x {coded[2]} values and declared as "
            f"{declared[0]} x {declared[1]} x {declared[2]}",
        )
    if coded[3] > pixels.allocated:
        raise _damaged(header, f"{which} has {coded[3]} bits a value, BitsAllocated is {pixels.allocated}")
    if not frame.rstrip(b"\0\xff").endswith(b"\xff\xd9"):
        raise _damaged(header, f"{which} breaks off after {len(frame)} compressed bytes")


def _check_rle(header: ImageHeader, frame: bytes, which: str, size: int) -> None:
    """The segments of PS3.5 annex G: one for each byte of a value, the first after the header, in rising order."""
    expected = header.pixels.samples * header.pixels.allocated // 8
    if len(frame) < _RLE_HEADER:
        raise _damaged(header, f"{which} breaks off after {len(frame)} compressed bytes")
    count, *offsets = struct.unpack("<16I", frame[:_RLE_HEADER])
    if count != expected:
        raise _damaged(header, f"{which} has {count} RLE segments, not {expected}")
    ends = [*offsets[1:count], len(frame)]
    for start, end in zip(offsets[:count], ends, strict=True):
        if not _RLE_HEADER <= start < end <= len(frame) or _rle_length(frame[start:end]) * count < size:
            raise _damaged(header, f"{which} breaks off: an RLE segment is shorter than {size // count} bytes")


def _rle_length(segment: bytes) -> int:
    """Bytes that a segment unpacks to."""
    place, total, end = 0, 0, len(segment)
    while place < end:
        head = segment[place]
        if head < 128:
            total += min(head + 1, end - place - 1)
            place += head + 2
        else:
            total += 257 - head if head > 128 and place + 1 < end else 0
            place += 2 if head > 128 else 1
    return total


def _jpeg_size(frame: bytes) -> tuple[int, int, int, int] | None:
    """Columns, rows, components and bits of a JPEG or JPEG-LS codestream."""
    if frame[:2] != b"\xff\xd8":
        return None
    place = 2
    while place + 4 <= len(frame):
        if frame[place] != 0xFF:
            return None
        marker = frame[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
        elif marker in _SOF:
            bits, rows, columns, components = struct.unpack(">BHHB", frame[place + 4 : place + 10])
            return columns, rows, components, bits
        else:
            place += 2 if marker in _ALONE else 2 + struct.unpack(">H", frame[place + 2 : place + 4])[0]
    return None


def _jpeg_2000_size(frame: bytes) -> tuple[int, int, int, int, bool] | None:
    """Columns, rows, components, bits and sign of a JPEG 2000 codestream; also of one that is wrapped as JP2."""
    start = frame.find(b"\xff\x4f\xff\x51") if frame[4:8] == b"jP  " else 0
    head = frame[start : start + 45]
    if head[:4] != b"\xff\x4f\xff\x51" or len(head) < 45:
        return None
    right, bottom, left, top = struct.unpack(">4I", head[8:24])
    (components,) = struct.unpack(">H", head[40:42])
    return right - left, bottom - top, components, (head[42] & 0x7F) + 1, head[42] > 0x7F


def _write_plain(path: Path, header: ImageHeader, frames: list[bytes]) -> None:
    pixels = header.pixels
    dataset, dataset.file_meta = Dataset(), FileMetaDataset()
    dataset.SOPClassUID = (
        MultiFrameTrueColorSecondaryCaptureImageStorage
        if pixels.samples > 1
        else MultiFrameGrayscaleByteSecondaryCaptureImageStorage
        if pixels.allocated == 8
        else MultiFrameGrayscaleWordSecondaryCaptureImageStorage
    )
    dataset.SOPInstanceUID = generate_uid()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = pixels.syntax
    dataset.Modality, dataset.NumberOfFrames = "OT", len(frames)
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = header.rows, header.columns, pixels.samples
    dataset.PhotometricInterpretation = pixels.photometric if pixels.samples > 1 else "MONOCHROME2"
    if pixels.samples > 1:
        dataset.PlanarConfiguration = int(pixels.planar)
    stored, signed = pixels.stored, pixels.signed
    if pixels.syntax in sop_classes.JPEG_2000:  # some writers declare another sign than that of the codestream
        _, _, _, stored, signed = _jpeg_2000_size(frames[0])
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = pixels.allocated, stored, stored - 1
    dataset.PixelRepresentation = int(signed)
    dataset.PixelData = encapsulate(frames, has_bot=len(frames) > 1)
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path, enforce_file_format=True)


def _damaged(header: ImageHeader, why: str) -> InputFileError:
    return InputFileError(f"{header.path} is damaged: {why}.", COPY_AGAIN)
