"""Single image files: reading with SimpleITK, refusing what it would read wrongly, and writing by atomic rename.

SimpleITK reads a truncated NIfTI file and a damaged compressed NIfTI, NRRD or MetaImage file without a word and leaves
noise in the voxels that did not arrive, so these are checked here; libjpeg fills a truncated JPEG with grey, so JPEG
is read with Pillow.
"""

import contextlib
import gzip
import os
import re
import secrets
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

from ..shared import paths
from ..shared.errors import InputFileError, OutputError, VolumeError

PICTURES = (".png", ".tif", ".tiff", ".jpg", ".jpeg", ".bmp")
LABEL_SUFFIXES = (".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".png")
_SUFFIXES = (*LABEL_SUFFIXES, *PICTURES)
_NIFTI_HEADERS = (348, 540)  # bytes, versions 1 and 2
_NIFTI_FLOATS = ("16", "64")  # datatype codes of float32 and float64
_GZIP = b"\x1f\x8b"
_AGAIN = "Copy or download the file again."
_INDEXED = ("P", "1")  # Pillow's modes whose pixels are numbers of colours


def suffix_of(path: str | os.PathLike) -> str:
    """The format's suffix in lower case, ".seg.nrrd" and ".nii.gz" in one piece; the last suffix if unknown."""
    name = Path(path).name.lower()
    return next((suffix for suffix in _SUFFIXES if name.endswith(suffix)), Path(name).suffix)


def stem_of(path: str | os.PathLike) -> str:
    """The file's name without the format's suffix."""
    name = Path(path).name
    return name[: len(name) - len(suffix_of(path))]


def read_image(path: str | os.PathLike) -> sitk.Image:
    """A 3-D image from NIfTI, NRRD, MetaImage or another format of SimpleITK; a 2-D one gets one slice.

    :raises InputFileError: unreadable, truncated or damaged.
    :raises VolumeError: 4-D, or sheared axes.
    """
    path = Path(path)
    reader = sitk.ImageFileReader()
    reader.SetFileName(paths.utf8_name(path))
    try:
        reader.ReadImageInformation()
        _check_dimensions(reader, path)
        image = reader.Execute()
    except RuntimeError as error:
        if "orthonormal" in str(error):
            raise VolumeError(f"{path} has axes that are not at right angles.",
                              "Resample it to a regular grid, with Slicer's module Resample Scalar/Vector/DWI Volume "
                              "for instance.") from error
        raise InputFileError(f"{path} cannot be read: it is damaged or no image that SimpleITK knows.",
                             "Check that it opens in Slicer, or save it from there as .nrrd.") from error
    _check_complete(path, reader, image)
    while image.GetDimension() > 3:
        image = image[..., 0]
    return sitk.JoinSeries(image) if image.GetDimension() == 2 else image


def read_picture(path: str | os.PathLike, indices: bool = False) -> sitk.Image:
    """A PNG, TIFF, JPEG or BMP picture (or TIFF stack) as a 3-D image with unit spacing.

    :param indices: give the colour numbers of an indexed or bilevel picture (label pictures), not its colours.
    """
    path = Path(path)
    array = None
    try:
        with Image.open(path) as picture:
            mode = picture.mode
            if picture.format == "JPEG" or mode == "LA" or (indices and mode in _INDEXED):
                grey = mode in ("L", "LA")
                array = np.asarray(picture if indices and mode in _INDEXED else picture.convert("L" if grey else "RGB"))
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        if suffix_of(path) in (".jpg", ".jpeg"):
            raise InputFileError(f"{path} cannot be read: it is damaged or no picture.", _AGAIN) from error
    if array is None:
        return read_image(path)
    return sitk.JoinSeries(sitk.GetImageFromArray(array.astype(np.uint8, copy=False), isVector=array.ndim == 3))


def _check_dimensions(reader: sitk.ImageFileReader, path: Path) -> None:
    size = reader.GetSize()
    if 0 in size:
        raise VolumeError(f"{path} has an axis of size zero: {' x '.join(map(str, size))} voxels.",
                          "Choose a file that holds an image.")
    if any(length > 1 for length in size[3:]):
        raise VolumeError(f"{path} is a 4-D volume of {int(np.prod(size[3:]))} time points.",
                          "Save one time point as a file of its own (in Slicer: load as a sequence, choose the item, "
                          "save the proxy volume).")


def _check_complete(path: Path, reader: sitk.ImageFileReader, image: sitk.Image) -> None:
    keys = set(reader.GetMetaDataKeys())
    if {"vox_offset", "bitpix", "dim[0]"} <= keys:
        axes = int(reader.GetMetaData("dim[0]"))
        count = int(np.prod([int(reader.GetMetaData(f"dim[{axis + 1}]")) for axis in range(axes)], dtype=np.int64))
        start = int(float(reader.GetMetaData("vox_offset")))
        complete = _nifti_complete(path, start, count * int(reader.GetMetaData("bitpix")) // 8, image)
        if complete and reader.GetMetaData("datatype") in _NIFTI_FLOATS:
            _check_finite(path, start, count, int(reader.GetMetaData("bitpix")) // 8)
    elif path.name.lower().endswith(".nrrd"):
        complete = _nrrd_complete(path, image)
    elif suffix_of(path) == ".mha":
        complete = _metaimage_complete(path)
    else:
        complete = True  # the other readers say so themselves
    if not complete:
        raise InputFileError(f"{path} is truncated or damaged.", _AGAIN)


def _nifti_complete(path: Path, start: int, data_bytes: int, image: sitk.Image) -> bool:
    with open(path, "rb") as file:
        packed = file.read(2) == _GZIP
    if packed:
        return _gzip_complete(path, 0, start, data_bytes, image)
    return paths.check_file(path).st_size >= start + data_bytes


def _check_finite(path: Path, start: int, count: int, width: int) -> None:
    """Refuse NaN and infinite voxels of a NIfTI file in which ITK's reader puts zeros without a word.

    :param start: byte at which the voxels begin, unpacked.
    :param count: number of voxels, each of ``width`` bytes.
    """
    with open(path, "rb") as file:
        packed = file.read(2) == _GZIP
        file.seek(0)
        stream = gzip.GzipFile(fileobj=file) if packed else file
        (header_size,) = struct.unpack("<i", stream.read(4))
        kind = np.dtype(f"{'<' if header_size in _NIFTI_HEADERS else '>'}f{width}")
        stream.seek(start)
        not_a_number = infinite = 0
        while count and (block := stream.read(min(count, 1 << 20) * width)):
            voxels = np.frombuffer(block, kind)
            not_a_number += int(np.isnan(voxels).sum())
            infinite += int(np.isinf(voxels).sum())
            count -= len(voxels)
    if not_a_number or infinite:
        raise VolumeError(f"{path.name} has {not_a_number} NaN and {infinite} infinite voxels.",
                          "Replace them first, by the value of the background for instance.")


def _nrrd_complete(path: Path, image: sitk.Image) -> bool:
    with open(path, "rb") as file:
        head = file.read(1 << 20)
    end = re.search(rb"\r?\n\r?\n", head)
    if end is None or not re.search(rb"^encoding: *gz", head[: end.start()], re.MULTILINE | re.IGNORECASE):
        return True
    if head[end.end() : end.end() + 2] != _GZIP:
        return True  # the voxels are in a file of their own
    return _gzip_complete(path, end.end(), 0, 0, image)


def _gzip_complete(path: Path, offset: int, start: int, data_bytes: int, image: sitk.Image) -> bool:
    """Compare length and CRC-32 of a gzip stream with the voxels read; unpack it a second time only if they differ.

    :param offset: where the stream begins in the file.
    :param start: bytes before the voxels, unpacked.
    :param data_bytes: the least length of the voxels, unpacked.
    """
    voxels = sitk.GetArrayViewFromImage(image)
    try:
        with open(path, "rb") as file:
            file.seek(-8, os.SEEK_END)
            crc, length = struct.unpack("<II", file.read(8))
            file.seek(offset)
            with gzip.GzipFile(fileobj=file) as stream:
                header = stream.read(start)
                if length == (start + voxels.nbytes) % 2**32 and voxels.nbytes >= data_bytes and (
                        zlib.crc32(voxels.data.cast("B"), zlib.crc32(header)) == crc):
                    return True
                total = len(header)
                while block := stream.read(1 << 22):
                    total += len(block)
    except (OSError, EOFError, zlib.error):
        return False
    return total >= start + data_bytes


def _metaimage_complete(path: Path) -> bool:
    with open(path, "rb") as file:
        header = file.read(1 << 16)
        start = header.find(b"ElementDataFile")
        start = header.find(b"\n", start) + 1
        if start <= 0 or b"CompressedData = True" not in header[:start]:
            return True
        file.seek(start)
        unpacker = zlib.decompressobj(wbits=47)  # zlib or gzip wrapping
        try:
            while block := file.read(1 << 22):
                unpacker.decompress(block)
        except zlib.error:
            return False
    return unpacker.eof


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """A temporary path beside the output that becomes the output when the block ends well, and vanishes otherwise.

    :raises OutputError: the folder is missing or not writable, the disk is full, or the block's writing failed.
    """
    path = Path(path)
    temporary = path.with_name(f".{secrets.token_hex(4)}{path.name}")
    try:
        if paths.is_dir(path, OutputError):
            raise IsADirectoryError(21, "is a folder")
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else "the writing failed"
        raise OutputError(f"{path} cannot be written: {reason}.",
                          "Choose a folder that exists, that you may write to, and that has space left.") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_image(path: str | os.PathLike, image: sitk.Image) -> None:
    """Write compressed, read back, compare, and only then let the file appear.

    :raises OutputError: see :func:`replacing`; or the suffix or the voxels do not fit the format.
    """
    suffix = suffix_of(path)
    if suffix not in LABEL_SUFFIXES:
        raise OutputError(f"{path} has an unknown format '{suffix}'.", f"Use one of {', '.join(LABEL_SUFFIXES)}.")
    stored = image
    if suffix == ".png":
        if image.GetDepth() != 1 or image.GetPixelIDTypeAsString().rpartition(" of ")[2] not in (
                "8-bit unsigned integer", "16-bit unsigned integer"):
            raise OutputError(f"{path} cannot hold this volume: a PNG is one slice of whole numbers.",
                              "Use .seg.nrrd, .nrrd or .nii.gz.")
        stored = image[:, :, 0]
    with replacing(path) as temporary:
        sitk.WriteImage(stored, paths.utf8_name(temporary, OutputError), suffix != ".nii")
        try:
            written = read_image(temporary)
        except InputFileError as error:
            raise OSError(28, "not all of it could be stored, the disk may be full") from error
        wanted = sitk.GetArrayViewFromImage(image)
        if not np.array_equal(sitk.GetArrayViewFromImage(written), wanted, equal_nan=wanted.dtype.kind == "f"):
            raise OSError(28, "what was stored differs from the result, the disk may be full")
