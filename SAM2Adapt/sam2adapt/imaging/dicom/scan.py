"""What DICOM files hold: image series with their headers, other objects, damaged files and copies.

Headers are read with pydicom (:mod:`.header`); file names and InstanceNumber are never trusted. Slices are
sorted by the projection of ImagePositionPatient on the normal of ImageOrientationPatient (PS3.3 C.7.6.2).
"""

import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ...shared import paths
from ...shared.errors import InputFileError
from .geometry import SAME_ORIENTATION, sort_along_normal
from .header import ImageHeader, OtherObject, UnreadableFile, is_dicom_start, read_object
from .sop_classes import class_name

_MODALITY_OF_CLASS = {"CT Image": "CT", "MR Image": "MR", "MR Color Image": "MR"}  # ends of the classes' names
_DIRECTORY = "1.2.840.10008.1.3.10"  # DICOMDIR, a list of the other files
_BLOCK = 1 << 22
_UNNAMED = "unnamed"  # in the place of an empty SeriesInstanceUID


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a folder.

    :ivar uid: SeriesInstanceUID; "#2", "#3" is appended where images of other size or orientation share it.
    :ivar description: SeriesDescription, may be empty.
    :ivar modality: DICOM modality ("CT", "MR", "US" …).
    :ivar size: columns, rows, slices.
    :ivar files: paths, sorted by position where the files have one.
    :ivar frame_of_reference: FrameOfReferenceUID, "" where the files have none.
    """

    uid: str
    description: str
    modality: str
    size: tuple[int, int, int]
    files: tuple[str, ...]
    frame_of_reference: str = ""

    def __str__(self) -> str:
        columns, rows, slices = self.size
        return f"{self.uid} ({self.modality} '{self.description}', {columns} x {rows} x {slices})"

    @property
    def series_uid(self) -> str:
        """SeriesInstanceUID as the files have it, "" where they have none."""
        return "" if self.uid.startswith(_UNNAMED) else self.uid.partition("#")[0]

    @property
    def source(self) -> str:
        """The only file, or the folder that holds all files."""
        return os.path.commonpath(self.files)


@dataclass
class Scan:
    """All that DICOM files hold.

    :ivar series: image series, sorted by identifier, with the headers of their files in the order of ``info.files``.
    :ivar others: objects that show no anatomy (reports, structure sets, doses, segmentations).
    :ivar unreadable: damaged files.
    :ivar copies: files that repeat another one.
    """

    series: list[tuple[SeriesInfo, list[ImageHeader]]] = field(default_factory=list)
    others: list[OtherObject] = field(default_factory=list)
    unreadable: list[UnreadableFile] = field(default_factory=list)
    copies: list[str] = field(default_factory=list)

    def left_out(self) -> str:
        """A sentence about what is no part of a series, "" if there is nothing."""
        parts = []
        if self.others:
            shown = "; ".join(str(other) for other in self.others[:5])
            more = f" and {len(self.others) - 5} more" if len(self.others) > 5 else ""
            what = (
                "DICOM file shows no anatomy and is" if len(self.others) == 1 else "DICOM files show no anatomy and are"
            )
            parts.append(f"{len(self.others)} {what} left out: {shown}{more}.")
        if self.copies:
            what = "file repeats another and is" if len(self.copies) == 1 else "files repeat others and are"
            parts.append(f"{len(self.copies)} {what} left out, {self.copies[0]} for instance.")
        return " ".join(parts)


def is_dicom(path: str | os.PathLike) -> bool:
    """True if the file starts as a DICOM file does; its name is not looked at.

    :raises InputFileError: it is no regular file, or cannot be read.
    """
    if not paths.check_file(path).st_size:  # empty; or of the system, such as /proc/kmsg, whose reading may never end
        return False
    with paths.open_file(path) as file:
        return is_dicom_start(file.read(132))


def scan(source: str | os.PathLike | Sequence[str]) -> Scan:
    """Look at the headers of a folder with all below it, or of files. Damage is listed, not raised."""
    result = Scan()
    headers: list[ImageHeader] = []
    known: dict[str, list[ImageHeader]] = {}  # by SOPInstanceUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about values that are checked here
        for parsed in _objects(source):
            if isinstance(parsed, UnreadableFile):
                result.unreadable.append(parsed)
            elif isinstance(parsed, OtherObject):
                if parsed.sop_class != _DIRECTORY:
                    result.others.append(parsed)
            elif any(_is_copy(parsed, other) for other in known.get(parsed.instance, ()) if parsed.instance):
                result.copies.append(parsed.path)
            else:
                known.setdefault(parsed.instance, []).append(parsed)
                headers.append(parsed)
    result.series = _series(headers)
    return result


def _objects(source: str | os.PathLike | Sequence[str]) -> Iterator[ImageHeader | OtherObject | UnreadableFile]:
    closed: list[UnreadableFile] = []
    for path in _files(source, closed) if isinstance(source, str | os.PathLike) else map(str, source):
        try:
            is_object = paths.is_file(path) and is_dicom(path)
        except InputFileError as error:
            yield UnreadableFile(path, "", error)
            continue
        if is_object:
            yield read_object(path)
    yield from closed


def _files(folder: str | os.PathLike, closed: list[UnreadableFile]) -> Iterator[str]:
    """All files below a folder; folders that cannot be looked into are added to ``closed``."""
    for root, _, names in paths.walk(folder, lambda place, error: closed.append(UnreadableFile(str(place), "", error))):
        yield from (str(root / name) for name in names)


def _is_copy(a: ImageHeader, b: ImageHeader) -> bool:
    """True if both files hold one image: identity, place and values agree, and so do the stored bytes."""

    def key(header: ImageHeader) -> tuple:
        pixels = header.pixels
        return (header.sop_class, header.series_uid, header.rows, header.columns, header.frames, header.rescales,
                pixels.syntax, pixels.length, pixels.photometric, pixels.stored, pixels.signed)  # fmt: skip

    same_place = all(
        np.array_equal(x, y) if x is not None and y is not None else x is y
        for x, y in ((a.positions, b.positions), (a.orientations, b.orientations), (a.spacings, b.spacings))
    )
    return key(a) == key(b) and same_place and _same_bytes(a, b)


def _same_bytes(a: ImageHeader, b: ImageHeader) -> bool:
    with paths.open_file(a.path) as first, paths.open_file(b.path) as second:
        first.seek(a.pixels.start)
        second.seek(b.pixels.start)
        left = a.pixels.length
        while left is None or left > 0:
            count = _BLOCK if left is None else min(left, _BLOCK)
            block = first.read(count)
            if block != second.read(count):
                return False
            if not block:
                break
            left = None if left is None else left - len(block)
    return True


def _series(headers: Iterable[ImageHeader]) -> list[tuple[SeriesInfo, list[ImageHeader]]]:
    alike: dict[tuple, list[list[ImageHeader]]] = {}
    for header in headers:
        groups = alike.setdefault(_key(header), [])
        for group in groups:
            if _belongs(header, group[0]):
                group.append(header)
                break
        else:
            groups.append([header])
    ordered = sorted(
        (group for groups in alike.values() for group in groups),
        key=lambda group: (group[0].series_uid, -len(group), group[0].path),
    )
    used: dict[str, int] = {}
    series = []
    for group in ordered:
        base = group[0].series_uid or _UNNAMED
        used[base] = used.get(base, 0) + 1
        uid = base if used[base] == 1 else f"{base}#{used[base]}"
        files = _sorted(group)
        series.append((series_info(uid, files), files))
    return series


def _key(header: ImageHeader) -> tuple:
    """Equal for images that may be slices of one stack."""
    if header.frames > 1:
        return (header.path,)
    # anonymisers empty the UID: the other elements are all that is left
    identity = header.series_uid or (header.series_number, header.description, header.modality)
    owner = header.patient, header.study_uid  # anonymisers give two patients one series, too
    return (identity, owner, header.sop_class, header.columns, header.rows, header.pixels.samples,
            header.frame_of_reference, header.orientations is None, header.spacings is None)  # fmt: skip


def _belongs(a: ImageHeader, b: ImageHeader) -> bool:
    if a.orientations is not None and not np.allclose(a.orientations, b.orientations, rtol=0, atol=SAME_ORIENTATION):
        return False
    return a.spacings is None or np.allclose(a.spacings, b.spacings, rtol=1e-3, atol=0)


def series_info(uid: str, headers: Sequence[ImageHeader]) -> SeriesInfo:
    first = headers[0]
    slices = first.frames if len(headers) == 1 else len(headers)
    return SeriesInfo(
        uid or _UNNAMED,
        first.description,
        _modality(first),
        (first.columns, first.rows, slices),
        tuple(header.path for header in headers),
        first.frame_of_reference,
    )


def _modality(header: ImageHeader) -> str:
    if header.modality:
        return header.modality
    name = class_name(header.sop_class)
    return next((modality for end, modality in _MODALITY_OF_CLASS.items() if name.endswith(end)), "")


def _sorted(headers: list[ImageHeader]) -> list[ImageHeader]:
    if len(headers) == 1 or not all(header.has_place for header in headers):
        return headers
    positions = np.concatenate([header.positions for header in headers])
    try:
        return [headers[index] for index in sort_along_normal(positions, headers[0].orientations[0])]
    except FloatingPointError:  # axes of no length, which reading refuses
        return headers
