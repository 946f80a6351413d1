"""Headers of MetaImage files (.mha, .mhd): what they say about place, unit, scale, type and length.

The keys are those of https://itk.org/Wiki/ITK/MetaIO/Documentation. Voxels are read by ITK, which knows nothing of
``DistanceUnits`` and of the function from stored values to intensities.
"""

import os
import re
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...shared import paths
from ...shared.errors import InputFileError, VolumeError
from .declared_size import check_packed, check_surplus, too_short
from .stored_image import check_axes, mirrored_axes, no_voxel_size
from .text_values import TextValues, is_text

_LONGEST_HEADER = 1 << 20
_SAMPLE = 4096  # bytes that show whether values are text
_BYTES = {
    "MET_CHAR": 1, "MET_UCHAR": 1, "MET_SHORT": 2, "MET_USHORT": 2, "MET_INT": 4, "MET_UINT": 4, "MET_LONG": 4,
    "MET_ULONG": 4, "MET_LONG_LONG": 8, "MET_ULONG_LONG": 8, "MET_FLOAT": 4, "MET_DOUBLE": 8,
}  # fmt: skip
_MILLIMETRES = {"mm": 1.0, "cm": 10.0, "m": 1000.0, "um": 1e-3, "?": 1.0, "": 1.0}
_OPPOSITE = str.maketrans("LRPAIS", "RLAPSI")
_EXPORT = "Save it again from the program that wrote it."


@dataclass(frozen=True)
class MetaImageHeader:
    """A complete header whose data are long enough.

    :ivar affine: (4, 4) to LPS mm; None of a picture, with other than three axes.
    :ivar scale: slope and intercept from stored values to intensities, or None.
    :ivar note: what had to be decided, or "".
    :ivar packed: file, byte and NumPy type of packed values, or None. ITK unpacks as many bytes as CompressedDataSize
        says, and takes noise for voxels where that is wrong or missing.
    :ivar text: values as text, or None.
    """

    size: tuple[int, ...]
    affine: np.ndarray | None
    scale: tuple[float, float] | None
    note: str = ""
    packed: tuple[Path, int, np.dtype] | None = None
    text: TextValues | None = None


def check_metaimage(path: Path) -> MetaImageHeader:
    """Read and check the header of a file, and that its data are there, before any memory is asked for.

    :raises InputFileError: damaged, truncated, an unknown unit or type. :raises VolumeError: an axis of size zero.
    """
    keys, start, names = _keys(path)
    size = tuple(_whole_numbers(keys, "DimSize", path))
    check_axes(path, size, _whole_numbers(keys, "NDims", path), ("NDims", "DimSize"), _EXPORT)
    if min(size) <= 0:
        raise VolumeError(
            f"{path} has an axis of size zero: {' x '.join(map(str, size))} voxels.",
            "Choose a file that holds an image.",
        )
    kind = keys.get("ElementType", "").removesuffix("_ARRAY")
    if kind not in _BYTES:
        raise InputFileError(f"{path} has voxels of type '{kind}', which is not supported.", _EXPORT)
    channels = (_whole_numbers(keys, "ElementNumberOfChannels", path) or [1])[0]
    if channels < 1:
        raise InputFileError(f"{path} declares {channels} values a voxel (ElementNumberOfChannels).", _EXPORT)
    declared = channels * _BYTES[kind]
    for n in size:
        declared *= n
    packed = _check_length(path, keys, names, start, declared, f"{' x '.join(map(str, size))} voxels of {kind}")
    affine, note = _affine(keys, size, path)
    slope = _number(keys, "ElementToIntensityFunctionSlope", path, 1.0)
    offset = _number(keys, "ElementToIntensityFunctionOffset", path, 0.0)
    if not (np.isfinite(slope) and np.isfinite(offset)):
        raise InputFileError(f"{path} gives {slope} as slope and {offset} as offset of its values.", _EXPORT)
    scale = None if slope == 0 or (slope == 1 and offset == 0) else (slope, offset)
    text = _text_values(path, keys, names, start, _type(keys, kind), declared // _BYTES[kind])
    return MetaImageHeader(size, affine, scale, note, packed and (*packed, _type(keys, kind)), text)


def _keys(path: Path) -> tuple[dict[str, str], int, list[str]]:
    """Keys, the byte at which the header ends, and the lines after it, which may name files."""
    with paths.open_file(path) as file:
        head = file.read(_LONGEST_HEADER)
    match = re.search(rb"^[ \t]*ElementDataFile[ \t]*=[^\n]*(\n|$)", head, re.MULTILINE)
    if match is None:
        raise InputFileError(
            f"{path} cannot be read: it is damaged or no image; it has no header of MetaImage.",
            "Copy or download the file again, or give it the suffix of its format.",
        )
    keys = {}
    for line in head[: match.end()].decode("utf-8", "replace").splitlines():
        name, separator, value = line.partition("=")
        if separator:
            keys[name.strip()] = value.strip()
    is_list = keys["ElementDataFile"].startswith("LIST")
    rest = head[match.end() :].decode("utf-8", "replace").splitlines() if is_list else []
    return keys, match.end(), [line.strip() for line in rest if line.strip()]


def _number(keys: dict[str, str], name: str, path: Path, default: float) -> float:
    numbers = _numbers(keys, name, path)
    return numbers[0] if numbers else default


def _numbers(keys: dict[str, str], name: str, path: Path) -> list[float]:
    try:
        return [float(word) for word in keys.get(name, "").split()]
    except ValueError as error:
        raise InputFileError(f"{path} is damaged: its header gives '{keys[name]}' as {name}.", _EXPORT) from error


def _whole_numbers(keys: dict[str, str], name: str, path: Path) -> list[int]:
    numbers = _numbers(keys, name, path)
    if any(not np.isfinite(n) or n != int(n) for n in numbers):
        raise InputFileError(f"{path} is damaged: its header gives '{keys[name]}' as {name}.", _EXPORT)
    return [int(n) for n in numbers]


def _type(keys: dict[str, str], kind: str) -> np.dtype:
    letter = "f" if kind in ("MET_FLOAT", "MET_DOUBLE") else "u" if kind.startswith("MET_U") else "i"
    order = next((keys[name] for name in ("BinaryDataByteOrderMSB", "ElementByteOrderMSB") if name in keys), "")
    return np.dtype(f"{'>' if order[:1] in ('T', 't', '1') else '<'}{letter}{_BYTES[kind]}")


def _check_length(
    path: Path, keys: dict, names: list[str], start: int, declared: int, what: str
) -> tuple[Path, int] | None:
    """Compare declared with stored bytes; gives the file and the byte where the packed data of one file begin."""
    target = keys["ElementDataFile"]
    packed = keys.get("CompressedData", "").lower() in ("true", "1")
    if target.upper() == "LOCAL":
        files, offset = [path], start
    else:
        files, offset = [path.parent / name for name in _listed(target, names)], 0
        missing = [file for file in files if not paths.is_file(file)]
        if missing or not files:
            raise InputFileError(
                f"{path} keeps its voxels in {len(files)} other files, of which {len(missing)} are missing"
                f"{f', {missing[0].name} for instance' if missing else ''}.",
                "Copy them into the folder of the header.",
            )  # fmt: skip
    if packed:
        stored = sum(os.path.getsize(file) - offset for file in files)
        if max(stated := _whole_numbers(keys, "CompressedDataSize", path), default=0) > stored:
            raise too_short(path, stated[0], stored, f"{stated[0]} bytes of packed data (CompressedDataSize)")
        check_packed(path, 0, declared, what, packed=stored)
        if len(files) == 1 and (stored := _unpacked(files[0], offset, path)) < declared:
            raise too_short(path, declared, stored, what)
        return (files[0], offset) if len(files) == 1 else None
    if not _is_true(keys, "BinaryData"):
        return None  # numbers as text, counted where they are read
    header = (_whole_numbers(keys, "HeaderSize", path) or [0])[0]
    stored = sum(os.path.getsize(file) - offset - max(0, header) for file in files)
    if stored < declared:
        raise too_short(path, declared, stored, what)
    if files == [path]:
        check_surplus(path, declared, stored, what)
    if stored != declared and "BinaryData" not in keys:
        with paths.open_file(files[0]) as file:
            file.seek(offset)
            if is_text(file.read(_SAMPLE)):
                raise InputFileError(
                    f"{path} does not say whether its values are text or binary (BinaryData), and they look like text.",
                    "Add the line BinaryData = False to its header.",
                )
    return None


def _text_values(path: Path, keys: dict, names: list[str], start: int, kind: np.dtype, count: int) -> TextValues | None:
    """Values as text in one file."""
    target = keys["ElementDataFile"]
    files = [path] if target.upper() == "LOCAL" else [path.parent / name for name in _listed(target, names)]
    if _is_true(keys, "BinaryData") or len(files) != 1:
        return None
    binary = ("BinaryData", "ElementByteOrderMSB", "Compressed", "HeaderSize", "ElementDataFile")
    kept = [f"{name} = {value}" for name, value in keys.items() if not name.startswith(binary)]
    header = "\n".join([*kept, "BinaryData = True", "BinaryDataByteOrderMSB = False", "ElementDataFile = LOCAL", ""])
    return TextValues(files[0], start if files == [path] else 0, kind, count, header.encode())


def _is_true(keys: dict[str, str], name: str) -> bool:
    """Whether a switch is on; without it, values are binary, as ITK has it."""
    return keys.get(name, "True").lower() in ("true", "1", "t")


def _listed(target: str, names: list[str]) -> list[str]:
    if target.startswith("LIST"):
        return names
    if match := re.fullmatch(r"(\S*%\d*d\S*)\s+(\d+)\s+(\d+)\s+(\d+)", target):
        return [match[1] % n for n in range(int(match[2]), int(match[3]) + 1, max(1, int(match[4])))]
    return [target]


def read_packed(header: MetaImageHeader, path: Path) -> np.ndarray:
    """All values of the packed data, in the order of the file."""
    file, offset, kind = header.packed
    pieces: list[bytes] = []
    total = _unpacked(file, offset, path, pieces)
    return np.frombuffer(b"".join(pieces), kind, total // kind.itemsize)


def _unpacked(file: Path, offset: int, path: Path, pieces: list[bytes] | None = None) -> int:
    """Bytes to which the data unpack; kept in ``pieces`` if given."""
    total, unpacker = 0, zlib.decompressobj(wbits=47)  # zlib or gzip wrapping
    try:
        with paths.open_file(file) as data:
            data.seek(offset)
            while not unpacker.eof:
                packed = unpacker.unconsumed_tail or data.read(1 << 18)
                piece = unpacker.decompress(packed, 1 << 22)
                total += len(piece)
                if pieces is not None:
                    pieces.append(piece)
                if not packed and not piece:
                    raise zlib.error("it ends too early")
    except zlib.error as error:
        raise InputFileError(f"{path} is truncated or damaged: {error}.", "Copy or download the file again.") from error
    return total


def _affine(keys: dict[str, str], size: tuple[int, ...], path: Path) -> tuple[np.ndarray | None, str]:
    unit = keys.get("DistanceUnits", "").lower()
    if unit not in _MILLIMETRES:
        raise InputFileError(
            f"{path} gives its lengths in '{unit}' (DistanceUnits), which is no known unit.",
            "mm, cm, m and um are known.",
        )
    if len(size) != 3:
        return None, ""

    def first(*names: str, default: list[float]) -> list[float]:
        given = next((name for name in names if name in keys), None)
        numbers = default if given is None else _numbers(keys, given, path)
        if len(numbers) != len(default):
            raise InputFileError(
                f"{path} is damaged: its header gives '{keys[given]}' as {given}, {len(numbers)} numbers and not"
                f" {len(default)}.", _EXPORT,
            )  # fmt: skip
        return numbers

    # A row of the matrix is the direction of an axis.
    rows = first("TransformMatrix", "Rotation", "Orientation", default=[1, 0, 0, 0, 1, 0, 0, 0, 1])
    matrix = np.reshape(rows, (3, 3)).T
    spacing = np.array(first("ElementSpacing", "ElementSize", default=[1, 1, 1]))
    affine = np.eye(4)
    affine[:3, :3] = matrix * spacing * _MILLIMETRES[unit]
    affine[:3, 3] = np.array(first("Offset", "Position", "Origin", default=[0, 0, 0])) * _MILLIMETRES[unit]
    notes = [_orientation_note(keys.get("AnatomicalOrientation", "").upper(), matrix, path)]
    if (spacing < 0).any():
        notes.append(mirrored_axes(path, "ElementSpacing" if "ElementSpacing" in keys else "ElementSize", spacing))
    if not {"ElementSpacing", "ElementSize"} & keys.keys():
        notes.append(no_voxel_size(path, "ElementSpacing"))
    return affine, " ".join(filter(None, notes))


def _orientation_note(stated: str, matrix: np.ndarray, path: Path) -> str:
    """A sentence if the letters contradict the matrix, in both of the meanings in use (from and towards)."""
    if len(stated) != 3 or not set(stated) <= set("LRPAIS") or not np.isfinite(matrix).all():
        return ""
    towards = ""
    for column in matrix.T:
        axis = int(np.argmax(np.abs(column)))
        towards += ("LPS" if column[axis] > 0 else "RAI")[axis]
    if stated in (towards, towards.translate(_OPPOSITE)):
        return ""
    return f"{path} gives {stated} as AnatomicalOrientation, and its axes run to {towards}; the axes were used."
