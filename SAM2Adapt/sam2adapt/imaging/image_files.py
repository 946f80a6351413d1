"""Single image files: reading with SimpleITK, refusing what it would read wrongly, and writing by atomic rename.

SimpleITK reads a truncated NIfTI file and a damaged compressed NIfTI, NRRD or MetaImage file without a word and leaves
noise in the voxels that did not arrive, so these are checked here; libjpeg fills a truncated JPEG with grey, so JPEG
is read with Pillow.
"""

import contextlib
import math
import os
import re
import secrets
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from PIL import Image

from ..shared import paths
from ..shared.errors import InputFileError, OutputError, UserError, VolumeError
from ..shared.labels.image_names import LABEL_SUFFIXES, PICTURES, READ_ONLY, stem_of, suffix_of
from ..shared.tolerance import ROUNDING, displacement
from .stored import tiff
from .stored.declared_size import Unpacked, enough_memory, readable
from .stored.freesurfer import is_freesurfer, read_freesurfer
from .stored.metaimage_header import check_metaimage, read_packed
from .stored.nifti import is_nifti, read_nifti, write_nifti
from .stored.nrrd_header import check_nrrd
from .stored.stored_image import StoredImage, affine_of, checked_place, several_images

__all__ = [
    "LABEL_SUFFIXES",
    "PICTURES",
    "READ_ONLY",
    "read_image",
    "read_picture",
    "replacing",
    "stem_of",
    "suffix_of",
    "write_image",
]

_PICTURE_RATIO = 5000  # to which the compressions of pictures shrink an empty one, and more
_AGAIN = "Copy or download the file again."
Image.MAX_IMAGE_PIXELS = None  # what a file declares is compared with its size here instead
_INDEXED = ("P", "1")  # Pillow's modes whose pixels are numbers of colours


def read_image(path: str | os.PathLike) -> StoredImage:
    """A 3-D image from NIfTI, Analyze, FreeSurfer, NRRD, MetaImage or another format of SimpleITK; 2-D: one slice.

    :raises InputFileError: unreadable, truncated or damaged, or a header that contradicts the file.
    :raises VolumeError: 4-D, or sheared axes. :raises DeviceError: memory ran out.
    """
    path = Path(path)
    if is_nifti(path):
        return read_nifti(path)
    if is_freesurfer(path):
        return read_freesurfer(path)
    suffix = path.suffix.lower()
    nrrd = check_nrrd(path) if suffix in (".nrrd", ".nhdr") else None
    meta = check_metaimage(path) if suffix in (".mha", ".mhd") else None
    header = nrrd or meta
    if header and header.affine is not None:  # refused here, with a better sentence than that of ITK
        checked_place(header.affine, header.size, path)
    text = header and header.text
    with enough_memory(path), text.as_binary(path) if text else contextlib.nullcontext(path) as binary:
        image = _read_with_itk(path, binary)
        array, keys = sitk.GetArrayFromImage(image), _texts(image)
        if meta and meta.packed is not None:
            array = read_packed(meta, path).reshape(array.shape).astype(array.dtype, copy=False)
    if nrrd and nrrd.packed_at is not None:
        _check_sum(path, nrrd.packed_at, array)
    affine, notes = affine_of(image.GetOrigin(), image.GetSpacing(), image.GetDirection()), []
    if nrrd and nrrd.affine is not None:
        affine = nrrd.affine
    elif nrrd and len(nrrd.scale) == 3:
        affine = np.diag([*nrrd.scale, 1.0]) @ affine
    elif meta and meta.affine is not None:
        affine = meta.affine
    place = checked_place(affine, image.GetSize(), path)
    if meta and meta.scale:
        array = (array * np.float64(meta.scale[0]) + meta.scale[1]).astype(np.float32)
    notes = tuple(note for note in (header.note if header else "", place.note) if note)
    return StoredImage(array, place.origin, place.spacing, place.direction, keys, notes)


def read_picture(path: str | os.PathLike, indices: bool = False) -> StoredImage:
    """A PNG, TIFF, JPEG or BMP picture (or TIFF stack) as a 3-D image with unit spacing.

    :param indices: give the colour numbers of an indexed or bilevel picture (label pictures), not its colours.
    :raises InputFileError: unreadable, truncated or damaged; or a JPEG in the place of a label picture.
    """
    path = Path(path)
    array = None
    try:
        # From an open file: of one that it opens itself, Pillow maps the pixels into memory.
        with paths.open_file(path) as file, Image.open(file) as picture:
            _check_picture(path, picture)
            if indices and picture.format == "JPEG":
                raise InputFileError(
                    f"{path} is a JPEG, a format that cannot keep labels: it changes the values of pixels.",
                    "Save the masks as PNG, from where they were drawn.",
                )
            is_indexed = indices and picture.mode in _INDEXED
            form = None if is_indexed else "L" if picture.mode in ("L", "LA") else "RGB"
            by_pillow = is_indexed or picture.format == "JPEG" or picture.mode == "LA"
        if by_pillow:
            with enough_memory(path), tiff.unmapped(path) as whole, paths.open_file(whole) as file:
                with Image.open(file) as picture:
                    array = np.asarray(picture.convert(form) if form else picture)
    except UserError:
        raise
    except Exception as error:  # Pillow raises half a dozen kinds for damaged files
        # One that Pillow does not know may be one that ITK knows.
        if suffix_of(path) in (".jpg", ".jpeg") or not isinstance(error, OSError | SyntaxError):
            raise InputFileError(f"{path} cannot be read: it is damaged or no picture.", _AGAIN) from error
    if array is None:
        return read_image(path)
    array = array.astype(np.uint8, copy=False)[np.newaxis]
    return StoredImage(array, np.zeros(3), np.ones(3), np.eye(3))


def _check_picture(path: Path, picture: Image.Image) -> None:
    """Compare the size that a picture declares with that of its file."""
    pixels = picture.width * picture.height
    _check_pixels(path, (picture.width, picture.height), pixels if picture.mode != "1" else pixels // 8)


def _check_pixels(path: Path, size: Sequence[int], declared: int) -> None:
    """Compare the pixels that a picture declares, in bytes at least, with its file."""
    most = os.path.getsize(path) * (_PICTURE_RATIO if suffix_of(path) != ".bmp" else 8)
    if declared > most + (1 << 16):
        raise InputFileError(
            f"{path} is truncated or damaged: its header declares {' x '.join(map(str, size))} pixels, and the"
            f" {readable(os.path.getsize(path))} of the file cannot hold them.",
            _AGAIN,
        )


def _read_with_itk(path: Path, binary: Path) -> sitk.Image:
    """A 3-D image; see ``read_image``.

    :param path: for messages. :param binary: the file to read, a copy perhaps.
    """
    reader = sitk.ImageFileReader()
    try:
        with tiff.unmapped(binary) as whole:
            reader.SetFileName(paths.utf8_name(whole))
            reader.ReadImageInformation()
            _check_dimensions(reader, path)
            image = reader.Execute()
    except RuntimeError as error:
        if "allocate memory" in str(error):
            raise
        if "orthonormal" in str(error):
            raise VolumeError(
                f"{path} has axes that are not at right angles.",
                "Resample it to a regular grid, with Slicer's module Resample Scalar/Vector/DWI Volume for instance.",
            ) from error
        if field := re.search(r"trouble parsing (.+) info \|(.*)\|", str(error)):  # NRRD's
            raise InputFileError(f"{path} is damaged: its header gives '{field[2]}' as {field[1]}.",
                                 "Correct it in the header, or save it again from the program that wrote it."
                                 ) from error  # fmt: skip
        raise InputFileError(
            f"{path} cannot be read: it is damaged or no image that SimpleITK knows.",
            "Check that it opens in Slicer, or save it from there as .nrrd.",
        ) from error
    while image.GetDimension() > 3:
        image = image[..., 0]
    return sitk.JoinSeries(image) if image.GetDimension() == 2 else image


def _check_dimensions(reader: sitk.ImageFileReader, path: Path) -> None:
    size = reader.GetSize()
    if suffix_of(path) in PICTURES:  # also those that Pillow does not know
        _check_pixels(path, size, math.prod(size) // 8)
    if 0 in size:
        raise VolumeError(
            f"{path} has an axis of size zero: {' x '.join(map(str, size))} voxels.",
            "Choose a file that holds an image.",
        )
    if any(length > 1 for length in size[3:]):
        raise several_images(path, int(np.prod(size[3:])))


def _check_sum(path: Path, offset: int, array: np.ndarray) -> None:
    """Compare the CRC-32 of a gzip stream with the voxels that ITK read, which does not; unpack only if they differ.

    :param offset: where the stream begins in the file.
    :raises InputFileError: the stream is damaged.
    """
    with paths.open_file(path) as file:
        file.seek(-8, os.SEEK_END)
        crc, length = struct.unpack("<II", file.read(8))
        if length == array.nbytes % 2**32 and zlib.crc32(array.data.cast("B")) == crc:
            return
        file.seek(offset)
        Unpacked(file, path).skip()


def _texts(image: sitk.Image) -> dict[str, str]:
    """The texts in an image's header by their keys; SimpleITK cannot look up a key that is not valid UTF-8."""
    keys = (key for key in image.GetMetaDataKeys() if not any("\ud800" <= letter <= "\udfff" for letter in key))
    return {key: image.GetMetaData(key) for key in keys}


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
        raise OutputError(
            f"{path} cannot be written: {reason}.",
            "Choose a folder that exists, that you may write to, and that has space left.",
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_image(path: str | os.PathLike, image: sitk.Image, forms: dict | None = None) -> None:
    """Write compressed, read back, compare voxels and place, and only then let the file appear.

    :param forms: what the header of the NIfTI file says from which the image came, see ``StoredImage``.
    :raises OutputError: see :func:`replacing`; or the suffix or the voxels do not fit the format.
    """
    suffix = suffix_of(path)
    if suffix not in LABEL_SUFFIXES:
        raise OutputError(f"{path} has an unknown format '{suffix}'.", f"Use one of {', '.join(LABEL_SUFFIXES)}.")
    stored = image
    if suffix == ".png":
        if image.GetDepth() != 1 or image.GetPixelIDTypeAsString().rpartition(" of ")[2] not in (
            "8-bit unsigned integer",
            "16-bit unsigned integer",
        ):
            raise OutputError(
                f"{path} cannot hold this volume: a PNG is one slice of whole numbers.",
                "Use .seg.nrrd, .nrrd or .nii.gz.",
            )
        stored = image[:, :, 0]
    with replacing(path) as temporary:
        affine = affine_of(image.GetOrigin(), image.GetSpacing(), image.GetDirection())
        if is_nifti(temporary):
            view = sitk.GetArrayViewFromImage(image)
            direction = np.reshape(image.GetDirection(), (3, 3))
            nifti = StoredImage(view, np.array(image.GetOrigin()), np.array(image.GetSpacing()), direction, forms=forms)
            write_nifti(temporary, nifti, packed=suffix != ".nii")
        else:
            sitk.WriteImage(stored, paths.utf8_name(temporary, OutputError), True)
        try:
            written = read_image(temporary)
        except InputFileError as error:
            raise OSError(28, "not all of it could be stored, the disk may be full") from error
        expected = sitk.GetArrayViewFromImage(image)
        if not np.array_equal(written.array, expected, equal_nan=expected.dtype.kind == "f"):
            raise OSError(28, "what was stored differs from the result, the disk may be full")
        place = affine_of(written.origin, written.spacing, written.direction)
        if suffix != ".png" and displacement(affine, place, image.GetSize()) > ROUNDING:
            raise OSError(5, "what was stored lies at another place than the result")
