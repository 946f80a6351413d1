"""NIfTI and Analyze files, single or in pairs, packed or not: exactly the file that was named, as its header says.

Not with ITK, whose reader takes the voxels of ``a.nii`` for those of ``a.nii.gz`` where both lie in one folder, scales
by a slope of 0, puts zeros in the place of NaN, and takes another place where the sform is sheared.
"""

import os
import zlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from ...shared import paths
from ...shared.errors import InputFileError
from ...shared.tolerance import displacement
from .declared_size import GZIP, Unpacked, check_gzip, check_plain, check_surplus, enough_memory, too_short
from .nifti_header import KINDS, LENGTHS, NiftiHeader, parse_header
from .stored_image import StoredImage, affine_of

SUFFIXES = (".nii", ".nii.gz", ".hdr", ".img", ".hdr.gz", ".img.gz")
_LONGEST_HEADER = LENGTHS[2]
_CODES = {"u1": 2, "i2": 4, "i4": 8, "f4": 16, "f8": 64, "i1": 256, "u2": 512, "u4": 768, "i8": 1024, "u8": 1280}
_COLOUR = {3: 128, 4: 2304}
_SCANNER, _MILLIMETRES, _VECTOR = 1, 2, 1007
_LONGEST_AXIS = np.iinfo(np.int16).max
_LEVEL = 4


def is_nifti(path: Path) -> bool:
    """True if the name is that of a NIfTI or Analyze file."""
    return path.name.lower().endswith(SUFFIXES)


def read_nifti(path: Path) -> StoredImage:
    """Read a file, or the pair to which it belongs.

    :raises InputFileError: damaged, truncated, half of a pair, or a header that contradicts itself or the file.
    :raises VolumeError: several time points, sheared axes, an unsupported type. :raises DeviceError: memory ran out.
    """
    header, voxels = _open(path)
    place = header.place()
    scale = header.scale
    with enough_memory(voxels):
        array = _scaled(_read_voxels(voxels, header), scale)
    notes = (place.note,) if place.note else ()
    return StoredImage(array, place.origin, place.spacing, place.direction, notes=notes, forms=header.forms)


def _open(path: Path) -> tuple[NiftiHeader, Path]:
    """The header, and the file with the voxels, which is long enough."""
    header_file, voxels = _pair(path)
    with paths.open_file(header_file) as file:
        header = parse_header(_stream(file, header_file).read(_LONGEST_HEADER), header_file)
    if header.paired and voxels is None:
        voxels = _partner(path, ".img")
    voxels = voxels if header.paired else header_file
    declared = header.start + header.data_bytes
    with paths.open_file(voxels) as file:
        packed = file.read(2) == GZIP
    if packed:
        check_gzip(voxels, 0, declared, header.described, header.start)
    else:
        check_plain(voxels, header.start, header.data_bytes, header.described)
        check_surplus(voxels, header.data_bytes, os.path.getsize(voxels) - header.start, header.described)
    return header, voxels


def _pair(path: Path) -> tuple[Path, Path | None]:
    """The files with the header and, for a pair, with the voxels."""
    name = path.name.lower()
    if name.endswith((".img", ".img.gz")):
        return _partner(path, ".hdr"), path
    if name.endswith((".hdr", ".hdr.gz")):
        return path, _partner(path, ".img")
    return path, None


def _partner(path: Path, suffix: str) -> Path:
    stem = path.name[: -len(".gz")] if path.name.lower().endswith(".gz") else path.name
    stem = stem[: stem.rindex(".")] if "." in stem else stem
    names = [stem + form + packed for form in (suffix, suffix.upper()) for packed in ("", ".gz", ".GZ")]
    partners = [name for name in names if paths.is_file(path.parent / name)]
    if len({name.lower() for name in partners}) > 1:
        raise InputFileError(
            f"{path} is one of a pair, and there are two files for the other half: {' and '.join(partners)}.",
            "Keep one of them in the folder.",
        )
    if not partners:
        raise InputFileError(
            f"{path} is one of a pair of files, and {stem}{suffix} is not beside it.",
            "Copy both files into one folder.",
        )
    return path.parent / partners[0]


class _Plain:
    """An unpacked file, read as ``Unpacked`` is."""

    def __init__(self, file: BinaryIO):
        self._file = file
        self.read, self.readinto = file.read, file.readinto

    def skip(self, count: int | None = None) -> None:
        if count is not None:
            self._file.seek(count, os.SEEK_CUR)


def _stream(file: BinaryIO, path: Path) -> "Unpacked | _Plain":
    packed = file.read(2) == GZIP
    file.seek(0)
    return Unpacked(file, path) if packed else _Plain(file)


def _read_voxels(path: Path, header: NiftiHeader) -> np.ndarray:
    """(K, J, I), or (K, J, I, C), in this machine's byte order."""
    i, j, k = header.size
    one_by_one = header.components > 1 and not header.interleaved
    shape = (header.components, k, j, i) if one_by_one else (k, j, i, header.components)
    array = np.empty(shape, header.type.newbyteorder(header.order))
    with paths.open_file(path) as file:
        stream = _stream(file, path)
        stream.skip(header.start)
        stored = stream.readinto(memoryview(array.reshape(-1).view(np.uint8)))
        if stored < array.nbytes:
            raise too_short(path, array.nbytes, stored, header.described)
        stream.skip()  # what follows belongs to the checksum
    if not array.dtype.isnative:
        array = array.byteswap(inplace=True).view(array.dtype.newbyteorder())
    if one_by_one:
        return np.ascontiguousarray(np.moveaxis(array, 0, -1))
    return array if header.components > 1 else array[..., 0]


def _scaled(array: np.ndarray, scale: tuple[float, float] | None) -> np.ndarray:
    if scale is None:
        return array
    slope, inter = scale
    result = np.empty(array.shape, np.float32)
    for plane, target in zip(array, result, strict=True):  # the whole volume in 64 bits would take twice its memory
        target[...] = plane * np.float64(slope) + inter
    return result


def write_nifti(path: Path, image: StoredImage, packed: bool) -> None:
    """Write a NIfTI file.

    With ``image.forms``, the file gets the same sform, qform, codes and unit as the file from which the image came.
    Without them, or if they describe another grid, both forms give the place in the scanner (code 1).

    :param packed: whether by gzip.
    :raises OSError: as writing does.
    """
    forms = image.forms if image.forms is not None and _same_place(image) else None
    longest = max(image.array.shape[:3])
    version = forms["version"] if forms else (2 if longest > _LONGEST_AXIS else 1)
    fields = _new_header(image, version)
    for name, value in (forms or _forms_of(image)).items():
        if name != "version":
            fields[name] = value
    array = image.array
    if array.ndim == 4 and fields["datatype"] not in _COLOUR.values():
        array = np.moveaxis(array, -1, 0)
    header = fields.tobytes() + b"\0" * 4
    with open(path, "wb") as file:
        if not packed:
            file.write(header)
            file.write(np.ascontiguousarray(array).data)
            return
        packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, 31)
        file.write(packer.compress(header))
        for plane in array:
            file.write(packer.compress(np.ascontiguousarray(plane).data))
        file.write(packer.flush())


def _same_place(image: StoredImage) -> bool:
    header = NiftiHeader(
        Path(), image.forms["version"], _new_header(image, image.forms["version"], image.forms), "<",
        image.array.shape[2::-1], 1, False, image.array.dtype, 0, False,
    )  # fmt: skip
    here = affine_of(image.origin, image.spacing, image.direction)
    place = header.place()
    return displacement(here, affine_of(place.origin, place.spacing, place.direction), header.size) < 1e-3


def _new_header(image: StoredImage, version: int, forms: dict | None = None) -> np.ndarray:
    fields = np.zeros((), KINDS[version])
    k, j, i = image.array.shape[:3]
    components = image.array.shape[3] if image.array.ndim == 4 else 1
    kind = image.array.dtype.str[1:]
    colour = components in _COLOUR and kind == "u1"
    fields["sizeof_hdr"] = LENGTHS[version]
    fields["magic"] = b"n+1" if version == 1 else b"n+2\0\r\n\x1a\n"
    fields["dim"] = [3, i, j, k, 1, 1, 1, 1] if components == 1 or colour else [5, i, j, k, 1, components, 1, 1]
    fields["datatype"] = _COLOUR[components] if colour else _CODES[kind]
    fields["bitpix"] = 8 * image.array.dtype.itemsize * (components if colour else 1)
    fields["intent_code"] = 0 if components == 1 or colour else _VECTOR
    fields["vox_offset"] = LENGTHS[version] + 4
    fields["scl_slope"] = 1
    for name, value in (forms or {}).items():
        if name != "version":
            fields[name] = value
    return fields


def _forms_of(image: StoredImage) -> dict[str, object]:
    """Both forms of a place, in scanner coordinates."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine_of(image.origin, image.spacing, image.direction)
    rotation = affine[:3, :3] / image.spacing
    handed = -1.0 if np.linalg.det(rotation) < 0 else 1.0
    rotation[:, 2] *= handed
    return {
        "pixdim": [handed, *image.spacing, 0, 0, 0, 0], "xyzt_units": _MILLIMETRES, "qform_code": _SCANNER,
        "sform_code": _SCANNER, "quatern": _quaternion(rotation), "qoffset": affine[:3, 3], "srow": affine[:3],
    }  # fmt: skip


def _quaternion(rotation: np.ndarray) -> np.ndarray:
    """b, c, d of a rotation, with a >= 0: the eigenvector of the largest eigenvalue (Bar-Itzhack, 2000)."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    symmetric = np.array([
        [xx - yy - zz, 0, 0, 0], [xy + yx, yy - xx - zz, 0, 0], [xz + zx, yz + zy, zz - xx - yy, 0],
        [zy - yz, xz - zx, yx - xy, xx + yy + zz]])  # fmt: skip
    b, c, d, a = np.linalg.eigh(symmetric, UPLO="L")[1][:, -1]
    return np.array([b, c, d]) * (-1.0 if a < 0 else 1.0)
