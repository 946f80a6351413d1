"""Headers of NRRD files, attached (.nrrd) and detached (.nhdr): what they say about place, unit, type and length.

The fields are those of https://teem.sourceforge.net/nrrd/format.html. Voxels are read by ITK, which knows nothing of
``space units`` and takes what it does not understand for nothing said.
"""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...shared import paths
from ...shared.errors import InputFileError, VolumeError
from .declared_size import check_gzip, check_packed, check_plain, check_surplus, too_short
from .stored_image import check_axes, mirrored_axes, no_voxel_size, several_images
from .text_values import TextValues

_LONGEST_HEADER = 1 << 24
_BYTES = {
    "signed char": 1, "int8": 1, "int8_t": 1, "uchar": 1, "unsigned char": 1, "uint8": 1, "uint8_t": 1,
    "short": 2, "short int": 2, "signed short": 2, "signed short int": 2, "int16": 2, "int16_t": 2,
    "ushort": 2, "unsigned short": 2, "unsigned short int": 2, "uint16": 2, "uint16_t": 2,
    "int": 4, "signed int": 4, "int32": 4, "int32_t": 4, "uint": 4, "unsigned int": 4, "uint32": 4, "uint32_t": 4,
    "longlong": 8, "long long": 8, "long long int": 8, "signed long long": 8, "signed long long int": 8, "int64": 8,
    "int64_t": 8, "ulonglong": 8, "unsigned long long": 8, "unsigned long long int": 8, "uint64": 8, "uint64_t": 8,
    "float": 4, "double": 8,
}  # fmt: skip
_PACKED, _PLAIN, _TEXT = ("gzip", "gz"), ("raw",), ("ascii", "text", "txt", "hex")
_TO_LPS = {
    "left-posterior-superior": (1, 1, 1), "lps": (1, 1, 1), "right-anterior-superior": (-1, -1, 1), "ras": (-1, -1, 1),
    "left-anterior-superior": (1, -1, 1), "las": (1, -1, 1),
}  # fmt: skip
_MILLIMETRES = {
    "": 1.0, "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "millimetre": 1.0, "millimetres": 1.0, "cm": 10.0,
    "centimeter": 10.0, "centimeters": 10.0, "m": 1000.0, "meter": 1000.0, "meters": 1000.0, "um": 1e-3, "µm": 1e-3,
    "μm": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3, "micrometers": 1e-3, "nm": 1e-6,
}  # fmt: skip
_SPATIAL = ("", "domain", "space", "???", "none")
_EXPORT = "Save it again from the program that wrote it."


@dataclass(frozen=True)
class NrrdHeader:
    """A complete header whose data are long enough.

    :ivar size: lengths of the spatial axes. :ivar affine: (4, 4) to LPS mm; None where the file gives no directions.
    :ivar scale: (3,) mm for each unit of ITK's spacings, where ``affine`` is None. :ivar note: what had to be decided.
    :ivar packed_at: byte at which gzip data of this file begin, or None. :ivar text: values as text, or None.
    """

    size: tuple[int, ...]
    affine: np.ndarray | None
    scale: np.ndarray
    note: str = ""
    packed_at: int | None = None
    text: TextValues | None = None


def check_nrrd(path: Path) -> NrrdHeader:
    """Read and check the header of a file, and that its data are there, before any memory is asked for.

    :raises InputFileError: damaged, truncated, an unknown unit, or an unsupported compression or type.
    :raises VolumeError: several time points, or an axis of size zero.
    """
    fields, names, start = _fields(path)
    sizes = _numbers(fields, "sizes", int, path)
    check_axes(path, sizes, _numbers(fields, "dimension", int, path), ("dimension", "sizes"), _EXPORT)
    if min(sizes) <= 0:
        raise VolumeError(
            f"{path} has an axis of size zero: {' x '.join(map(str, sizes))} voxels.",
            "Choose a file that holds an image.",
        )
    _check_values(fields, path)
    packed_at = _check_length(path, fields, names, start, sizes)
    spatial = _spatial_axes(fields, sizes, path)
    size = tuple(sizes[axis] for axis in spatial)
    affine, note = _affine(fields, spatial, path)
    scale, text = _axis_units(fields, spatial, path), _text_values(path, fields, names, start, sizes)
    return NrrdHeader(size, affine, scale, note, packed_at, text)


def _fields(path: Path) -> tuple[dict[str, str], list[str], int]:
    """Fields by name in lower case, names of data files in a list, and the byte at which the header ends."""
    with paths.open_file(path) as file:
        head = file.read(_LONGEST_HEADER)
    if not re.match(rb"NRRD000\d\r?\n", head):
        raise InputFileError(
            f"{path} cannot be read: it is damaged or no image; it does not begin with a header of NRRD.",
            "Copy or download the file again, or give it the suffix of its format.",
        )
    end = re.search(rb"\r?\n\r?\n", head)
    stop, start = (end.start(), end.end()) if end else (len(head), len(head))
    fields, names, listing = {}, [], False
    for line in head[:stop].decode("utf-8", "replace").splitlines()[1:]:
        if listing:
            names.append(line.strip())
        elif not line.startswith("#") and ":=" not in line and (match := re.match(r"([^:]+): ?(.*)", line)):
            name = match[1].strip().lower().replace(" ", "")
            fields[name] = match[2].strip()
            listing = name == "datafile" and match[2].strip().upper().startswith("LIST")
    return fields, names, start


def _numbers(fields: dict[str, str], name: str, kind: type, path: Path) -> list:
    try:
        return [kind(word) for word in fields.get(name, "").split()]
    except ValueError as error:
        raise InputFileError(f"{path} is damaged: its header gives '{fields[name]}' as {name}.", _EXPORT) from error


def _check_values(fields: dict[str, str], path: Path) -> None:
    kind, encoding = fields.get("type", "").lower(), fields.get("encoding", "").lower()
    if kind and kind not in _BYTES:
        raise InputFileError(
            f"{path} has voxels of type '{kind}', which is not supported.", "Save it as int16 or float."
        )
    missing = [name for name in ("type", "encoding") if not fields.get(name)]
    if missing:
        raise InputFileError(
            f"{path} is truncated or damaged: its header does not say the {' and the '.join(missing)} of its values.",
            _EXPORT,
        )
    if _BYTES[kind] > 1 and encoding in (*_PACKED, *_PLAIN, "hex") and fields.get("endian") not in ("little", "big"):
        raise InputFileError(
            f"{path} gives '{fields.get('endian', '')}' as endian, the order of the bytes of its {kind} values.",
            "Correct it in the header: little or big.",
        )
    if encoding not in (*_PACKED, *_PLAIN, *_TEXT):
        name = {"bz2": "bzip2"}.get(encoding, encoding)
        raise InputFileError(
            f"{path} is packed with {name}, a compression that is not supported.",
            "Save it with gzip or without compression (teem: unu save -e gzip -f nrrd; pynrrd: encoding 'gzip').",
        )
    if "oldmin" in fields or "oldmax" in fields:
        low, high = fields.get("oldmin", "?"), fields.get("oldmax", "?")
        raise InputFileError(
            f"{path} says that its values stand for others, from {low} to {high} (old min, old max), and does not say"
            " whether they were changed back.", "Restore the values (teem: unu unquantize) or delete these two fields.",
        )  # fmt: skip


def _check_length(path: Path, fields: dict, names: list[str], start: int, sizes: list[int]) -> int | None:
    """Compare declared with stored bytes; gives where the gzip data of an attached header begin."""
    kind, encoding = fields["type"].lower(), fields["encoding"].lower()
    values = 1
    for n in sizes:
        values *= n
    declared = values * _BYTES[kind]
    what = f"{' x '.join(map(str, sizes))} values of {kind}"
    files = _data_files(path, fields, names)
    if files is None:
        files, offset = [path], start
    else:
        offset = 0
    skip = max(0, *_numbers(fields, "byteskip", int, path), 0)
    if encoding in _PLAIN:
        stored = sum(os.path.getsize(file) - offset - skip for file in files)
        if stored < declared:
            raise too_short(path, declared, stored, what)
        if files == [path]:
            check_surplus(path, declared, stored, what)
    elif encoding in _TEXT:
        least = 2 * declared if encoding == "hex" else 2 * values - 1
        if sum(os.path.getsize(file) - offset for file in files) < least:
            check_plain(path, offset, least, what)
    elif len(files) == 1 and not any(_numbers(fields, "lineskip", int, path)):
        check_gzip(files[0], offset, declared + skip, what)
    else:
        check_packed(path, 0, declared, what, packed=sum(os.path.getsize(file) for file in files))
    return start if encoding in _PACKED and files == [path] else None


def _text_values(path: Path, fields: dict, names: list[str], start: int, sizes: list[int]) -> TextValues | None:
    """Values as text in one file."""
    files = _data_files(path, fields, names)
    skipped = any(_numbers(fields, name, int, path) not in ([], [0]) for name in ("lineskip", "byteskip"))
    if fields["encoding"].lower() not in _TEXT[:3] or skipped or (files and len(files) > 1):
        return None
    with paths.open_file(path) as file:
        lines = file.read(start).splitlines()
    kept = [line for line in lines if line and not re.match(rb"(encoding|endian|data ?file):", line, re.IGNORECASE)]
    header = b"\n".join([*kept, b"encoding: raw", b"endian: little", b"", b""])
    file, offset = (path, start) if files is None else (files[0], 0)
    return TextValues(file, offset, _type(fields["type"].lower()), math.prod(sizes), header)


def _type(kind: str) -> np.dtype:
    letter = "f" if kind in ("float", "double") else "u" if kind.startswith("u") else "i"
    return np.dtype(f"{letter}{_BYTES[kind]}")


def _data_files(path: Path, fields: dict[str, str], names: list[str]) -> list[Path] | None:
    """The files with the voxels of a detached header; None of an attached one."""
    text = fields.get("datafile")
    if text is None:
        if path.name.lower().endswith(".nhdr"):
            raise InputFileError(f"{path} does not name the file with its voxels (data file).", _EXPORT)
        return None
    if text.upper().startswith("LIST"):
        listed = names
    elif (match := re.fullmatch(r"(.*%\d*d\S*)\s+(-?\d+)\s+(-?\d+)\s+(-?\d+)(\s+\d+)?", text)) and int(match[4]):
        low, high, step = (int(match[n]) for n in (2, 3, 4))
        listed = [match[1] % n for n in range(low, high + (1 if step > 0 else -1), step)]
    else:
        listed = [text]
    files = [path.parent / name for name in listed if name]
    missing = [file for file in files if not paths.is_file(file)]
    if missing or not files:
        raise InputFileError(
            f"{path} keeps its voxels in {len(files)} other files, of which {len(missing)} are missing"
            f"{f', {missing[0].name} for instance' if missing else ''}.", "Copy them into the folder of the header.",
        )  # fmt: skip
    return files


def _spatial_axes(fields: dict[str, str], sizes: list[int], path: Path) -> list[int]:
    """Axes along which the image extends in space.

    :raises VolumeError: another axis that holds several images.
    """
    kinds = [kind.strip('"').lower() for kind in fields.get("kinds", "").split()]
    kinds += [""] * (len(sizes) - len(kinds))
    vectors = _vectors(fields.get("spacedirections", ""))
    placed = [vector is not None for vector in vectors] if vectors else [kind in _SPATIAL for kind in kinds]
    spatial = [axis for axis in range(len(sizes)) if axis < len(placed) and placed[axis] and kinds[axis] != "time"]
    for axis in range(len(sizes)):
        # The first axis may hold the values of a voxel; ITK takes them, and whoever reads decides what they are.
        is_time = kinds[axis] == "time" or (axis > 0 and axis not in spatial) or axis in spatial[3:]
        if is_time and sizes[axis] > 1:
            raise several_images(path, sizes[axis])
    return spatial[:3]


def _vectors(text: str) -> list[np.ndarray | None]:
    words = re.findall(r"none|\([^)]*\)", text, re.IGNORECASE)
    vectors = []
    for word in words:
        try:
            vectors.append(
                None if word.lower() == "none" else np.array([float(n) for n in word.strip("()").split(",")])
            )
        except ValueError:
            vectors.append(np.array([np.nan] * 3))
    return vectors


def _affine(fields: dict[str, str], spatial: list[int], path: Path) -> tuple[np.ndarray | None, str]:
    space = fields.get("space", "").lower()
    vectors = _vectors(fields.get("spacedirections", ""))
    unplaced = (
        f"{path} does not say where left, front and head are; its axes were taken as running to the left, back and"
        " head, as in Slicer."
    )
    if not vectors:
        sizes = _numbers(fields, "spacings", float, path)
        known = [sizes[axis] for axis in spatial if axis < len(sizes)]
        lacking = [] if known and np.isfinite(known).all() else [no_voxel_size(path, "spacings")]
        reversed_ = [mirrored_axes(path, "spacings", known)] if min(known, default=0) < 0 else []
        return None, " ".join([unplaced, *lacking, *reversed_])
    columns = [vectors[axis] for axis in spatial]
    if len(columns) != 3 or any(len(column) < 3 for column in columns):
        return None, ""  # of a picture or a plane
    scale = _units(fields.get("spaceunits", ""), 3, "space units", path)
    signs = np.array(_TO_LPS.get(space.removesuffix("-time").removesuffix("t") if space else "", (1, 1, 1)))
    known = bool(space) and (space in _TO_LPS or space.removesuffix("-time") in _TO_LPS or space[:-1] in _TO_LPS)
    given = (_vectors(fields.get("spaceorigin", "")) or [None])[0]
    origin = np.zeros(3) if given is None else given
    if len(origin) < 3:
        raise InputFileError(f"{path} is damaged: its header gives '{fields['spaceorigin']}' as space origin.", _EXPORT)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([column[:3] for column in columns], axis=1) * (signs * scale)[:, np.newaxis]
    affine[:3, 3] = origin[:3] * signs * scale
    adrift = f"{path} does not say where its first voxel lies (space origin); 0, 0, 0 mm was taken, as in Slicer."
    return affine, " ".join([*([] if known else [unplaced]), *([adrift] if given is None else [])])


def _axis_units(fields: dict[str, str], spatial: list[int], path: Path) -> np.ndarray:
    """Millimetres of the unit of each spatial axis, for files with spacings instead of directions."""
    words = re.findall(r'"([^"]*)"', fields.get("units", ""))
    if not words:
        return np.ones(len(spatial))
    chosen = " ".join(f'"{words[axis]}"' for axis in spatial if axis < len(words))
    return _units(chosen, len(spatial), "units", path)


def _units(text: str, count: int, field: str, path: Path) -> np.ndarray:
    words = re.findall(r'"([^"]*)"', text)[:count]
    unknown = [word for word in words if word.strip().lower() not in _MILLIMETRES and word.strip() != "???"]
    if unknown:
        raise InputFileError(
            f"{path} gives its lengths in '{unknown[0]}' ({field}), which is no known unit of length.",
            "Correct it in the header; mm, cm, m and um are known.",
        )
    scale = [_MILLIMETRES.get(word.strip().lower(), 1.0) for word in words]
    return np.array(scale + [1.0] * (count - len(scale)))
