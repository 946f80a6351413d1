"""DICOM folders and files: which series are there, and the voxels of one of them in the order of their positions.

Headers are read with pydicom (:mod:`.imaging.dicom_header`); file names and InstanceNumber are never trusted. Slices
are sorted by the projection of ImagePositionPatient on the normal of ImageOrientationPatient (PS3.3 C.7.6.2).
"""

import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from ..shared.errors import InputFileError, SeriesError
from .dicom_classes import class_name
from .dicom_geometry import (
    REGULAR,
    SAME_ORIENTATION,
    axes_of,
    check_plane,
    check_spacing,
    place_stack,
    ranges,
    sort_along_normal,
)
from .dicom_header import ImageHeader, OtherObject, UnreadableFile, is_dicom_start, read_object
from .dicom_pixels import check_readable, read_voxels

logger = logging.getLogger(__name__)
_MODALITY_OF_CLASS = {"CT Image": "CT", "MR Image": "MR", "MR Color Image": "MR"}  # ends of the classes' names
_DIRECTORY = "1.2.840.10008.1.3.10"  # DICOMDIR, a list of the other files
_BLOCK = 1 << 22


@dataclass(frozen=True)
class SeriesInfo:
    """One series of a folder.

    :ivar uid: SeriesInstanceUID; "#2", "#3" is appended where images of other size or orientation share it.
    :ivar description: SeriesDescription, may be empty.
    :ivar modality: DICOM modality ("CT", "MR", "US" …).
    :ivar size: columns, rows, slices.
    :ivar files: paths, sorted by position where the files have one.
    """

    uid: str
    description: str
    modality: str
    size: tuple[int, int, int]
    files: tuple[str, ...]

    def __str__(self) -> str:
        columns, rows, slices = self.size
        return f"{self.uid} ({self.modality} '{self.description}', {columns} x {rows} x {slices})"


@dataclass(frozen=True, eq=False)
class SeriesVoxels:
    """Voxels of a series and their place.

    :ivar array: (C, K, J, I), C = 3 in colour.
    :ivar origin: (3,) LPS mm, ``spacing`` (3,) mm, ``direction`` (3, 3) unit vectors of I, J, K as columns.
    :ivar physical: False for pictures, which have no size in mm.
    :ivar rescale_type: unit of the values as RescaleType names it ("HU"), "" where it does not.
    """

    array: np.ndarray
    origin: np.ndarray
    spacing: np.ndarray
    direction: np.ndarray
    physical: bool = True
    rescale_type: str = ""


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
            parts.append(f"{len(self.others)} DICOM files show no anatomy and are left out: {shown}{more}.")
        if self.copies:
            parts.append(f"{len(self.copies)} files repeat others and are left out, {self.copies[0]} for instance.")
        return " ".join(parts)


def is_dicom(path: str | os.PathLike) -> bool:
    """True if the file starts as a DICOM file does; its name is not looked at."""
    with open(path, "rb") as file:
        return is_dicom_start(file.read(132))


def scan(source: str | os.PathLike | Sequence[str]) -> Scan:
    """Look at the headers of a folder with all below it, or of files. Damage is listed, not raised."""
    result = Scan()
    headers: list[ImageHeader] = []
    known: dict[str, list[ImageHeader]] = {}  # by SOPInstanceUID
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's, about values that are checked here
        for found in _objects(source):
            if isinstance(found, UnreadableFile):
                result.unreadable.append(found)
            elif isinstance(found, OtherObject):
                if found.sop_class != _DIRECTORY:
                    result.others.append(found)
            elif any(_is_copy(found, other) for other in known.get(found.instance, ()) if found.instance):
                result.copies.append(found.path)
            else:
                known.setdefault(found.instance, []).append(found)
                headers.append(found)
    result.series = _series(headers)
    return result


def list_series(folder: str | os.PathLike | Sequence[str]) -> list[SeriesInfo]:
    """The image series of a folder and its subfolders, or of some DICOM files, sorted by identifier.

    :raises SeriesError: there is no DICOM image in the folder.
    :raises InputFileError: an image file is damaged.
    """
    found = scan(folder)
    if found.unreadable:
        raise found.unreadable[0].error
    if not found.series:
        raise _no_image(folder, found)
    return [info for info, _ in found.series]


def read_series(folder: str | os.PathLike | Sequence[str], series: str | None = None
                ) -> tuple[SeriesVoxels, SeriesInfo]:  # fmt: skip
    """The voxels of one series.

    :param folder: the folder, or the DICOM files themselves.
    :param series: its identifier (``SeriesInfo.uid``) or description; needed only where the folder holds several.
    :raises SeriesError: no series, several and none chosen, none of that name, missing or unevenly spaced slices.
    :raises InputFileError: a file of the series is damaged, or one that may belong to it.
    """
    found = scan(folder)
    info, headers = _chosen(folder, found, series)
    for file in found.unreadable:
        if file.series_uid in ("", headers[0].series_uid):
            raise file.error
        logger.warning("%s It belongs to another series and is left out.", file.error.message)
    if left_out := found.left_out():
        logger.warning("%s", left_out)
    return _read(headers, info), info


def read_file(path: str | os.PathLike) -> tuple[SeriesVoxels, SeriesInfo]:
    """The voxels of one file: one slice, or all frames of a multi-frame file.

    :raises InputFileError: damaged, or no image of anatomy.
    """
    found = read_object(str(path))
    if isinstance(found, UnreadableFile):
        raise found.error
    if isinstance(found, OtherObject):
        raise InputFileError(f"{path} is a DICOM file without an image of anatomy: {class_name(found.sop_class)}.",
                             "Choose an image, or the folder of a series.")
    info = _info(found.series_uid, [found])
    return _read([found], info), info


def _objects(source: str | os.PathLike | Sequence[str]) -> Iterator[ImageHeader | OtherObject | UnreadableFile]:
    for path in _files(source) if isinstance(source, str | os.PathLike) else map(str, source):
        try:
            found = os.path.isfile(path) and is_dicom(path)
        except OSError as error:
            yield UnreadableFile(path, "", InputFileError(
                f"{path} cannot be opened: {error.strerror or error}.",
                "Check who may read it, or move it out of the folder."))
            continue
        if found:
            yield read_object(path)


def _files(folder: str | os.PathLike) -> Iterator[str]:
    for root, folders, names in os.walk(folder):
        folders.sort()
        yield from (os.path.join(root, name) for name in sorted(names))


def _is_copy(a: ImageHeader, b: ImageHeader) -> bool:
    """True if both files hold one image: identity, place and values agree, and so do the stored bytes."""
    def key(header: ImageHeader) -> tuple:
        pixels = header.pixels
        return (header.sop_class, header.series_uid, header.rows, header.columns, header.frames, header.rescales,
                pixels.syntax, pixels.length, pixels.photometric, pixels.stored, pixels.signed)  # fmt: skip

    same_place = all(
        np.array_equal(x, y) if x is not None and y is not None else x is y
        for x, y in ((a.positions, b.positions), (a.orientations, b.orientations), (a.spacings, b.spacings)))
    return key(a) == key(b) and same_place and _same_bytes(a, b)


def _same_bytes(a: ImageHeader, b: ImageHeader) -> bool:
    with open(a.path, "rb") as first, open(b.path, "rb") as second:
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
    ordered = sorted((group for groups in alike.values() for group in groups),
                     key=lambda group: (group[0].series_uid, -len(group), group[0].path))
    used: dict[str, int] = {}
    series = []
    for group in ordered:
        base = group[0].series_uid or "unnamed"
        used[base] = used.get(base, 0) + 1
        uid = base if used[base] == 1 else f"{base}#{used[base]}"
        files = _sorted(group)
        series.append((_info(uid, files), files))
    return series


def _key(header: ImageHeader) -> tuple:
    """Equal for images that may be slices of one stack."""
    if header.frames > 1:
        return (header.path,)
    # anonymisers empty the UID: the other elements are all that is left
    identity = header.series_uid or (header.series_number, header.description, header.modality)
    return (identity, header.sop_class, header.columns, header.rows, header.pixels.samples, header.frame_of_reference,
            header.orientations is None, header.spacings is None)  # fmt: skip


def _belongs(a: ImageHeader, b: ImageHeader) -> bool:
    if a.orientations is not None and not np.allclose(a.orientations, b.orientations, rtol=0, atol=SAME_ORIENTATION):
        return False
    return a.spacings is None or np.allclose(a.spacings, b.spacings, rtol=1e-3, atol=0)


def _info(uid: str, headers: Sequence[ImageHeader]) -> SeriesInfo:
    first = headers[0]
    slices = first.frames if len(headers) == 1 else len(headers)
    return SeriesInfo(uid or "unnamed", first.description, _modality(first), (first.columns, first.rows, slices),
                      tuple(header.path for header in headers))


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


def _no_image(folder: str | os.PathLike | Sequence[str], found: Scan) -> SeriesError:
    place = f"the folder {folder}" if isinstance(folder, str | os.PathLike) else "the files"
    kinds = sorted({class_name(other.sop_class) for other in found.others})
    only = f", only {', '.join(kinds)}" if kinds else ""
    return SeriesError(f"There is no DICOM image in {place}{only}.",
                       "Choose the folder that holds the DICOM files of the scan.")


def _chosen(folder: str | os.PathLike | Sequence[str], found: Scan, series: str | None
            ) -> tuple[SeriesInfo, list[ImageHeader]]:  # fmt: skip
    if not found.series:
        raise found.unreadable[0].error if found.unreadable else _no_image(folder, found)
    chosen = found.series
    if series is not None:
        chosen = [item for item in found.series if series == item[0].uid] or [
            item for item in found.series if series == item[0].description]
    if not chosen:
        other = next((other for other in found.others if series in (other.series_uid, other.description)), None)
        what = f"is {class_name(other.sop_class)} and shows no anatomy" if other else f"is not in {folder}"
        raise SeriesError(f"The series '{series}' {what}." if other else f"{folder} holds no series '{series}'.",
                          f"Choose one of: {'; '.join(str(info) for info, _ in found.series)}.", setting="series")
    if len(chosen) > 1:
        uid = chosen[0][0].uid
        raise SeriesError(f"{folder} holds {len(chosen)} series: {'; '.join(str(info) for info, _ in chosen)}.",
                          "Put each into a folder of its own, or choose one by its identifier.",
                          setting="series", value=uid)
    return chosen[0]


def _read(headers: Sequence[ImageHeader], info: SeriesInfo) -> SeriesVoxels:
    name = f"{info.description or info.uid} in {os.path.dirname(headers[0].path)}"
    for header in headers:  # what is wrong is said before any memory is taken
        if header.orientations is not None:
            check_plane(header.path, header.orientations, header.spacings)
        check_spacing(header.path, header.spacings)
        check_readable(header)
    if len(headers) == 1 and headers[0].frames == 1:
        return _single(headers[0], info)
    if not all(header.has_place and header.spacings is not None for header in headers):
        return _pictures(headers, info, name)
    item = "slice" if len(headers) > 1 else "frame"
    place = place_stack(
        name, item, np.concatenate([header.positions for header in headers]),
        np.concatenate([header.orientations for header in headers]),
        np.concatenate([header.spacings for header in headers]), info.size[:2], keep_order=item == "frame")
    voxels = read_voxels(headers)
    if not np.array_equal(place.order, np.arange(len(voxels))):
        voxels = voxels[place.order]
    return SeriesVoxels(_channels_first(voxels), place.origin, place.spacing, place.direction,
                        rescale_type=headers[0].rescale_type)  # fmt: skip


def _single(header: ImageHeader, info: SeriesInfo) -> SeriesVoxels:
    if header.spacings is None and info.modality in ("CT", "MR"):
        raise InputFileError(f"{header.path} is {info.modality} and does not say how large its pixels are.",
                             "Use a file that has PixelSpacing.")
    array = _channels_first(read_voxels([header]))
    if header.spacings is None:
        return SeriesVoxels(array, np.zeros(3), np.ones(3), np.eye(3), False)
    spacing = np.array([header.spacings[0, 1], header.spacings[0, 0], header.thickness or 1.0])
    origin = np.zeros(3) if header.positions is None else header.positions[0]
    direction = np.eye(3) if header.orientations is None else axes_of(header.orientations[0])
    return SeriesVoxels(array, origin, spacing, direction, rescale_type=header.rescale_type)


def _pictures(headers: Sequence[ImageHeader], info: SeriesInfo, name: str) -> SeriesVoxels:
    """Frames in time or pages (ultrasound, endoscopy), which need no place; slices of a body do."""
    if len(headers) > 1:
        without = [index for index, header in enumerate(headers) if not header.has_place]
        which = f" (files {ranges(without)} of {len(headers)}, {headers[without[0]].path} for one)" if without else ""
        raise SeriesError(f"The series {name} does not say where its slices lie{which}, or how large their pixels are.",
                          "Use a series whose files have ImagePositionPatient, ImageOrientationPatient and "
                          "PixelSpacing.")  # fmt: skip
    header = headers[0]
    if info.modality in ("CT", "MR") or header.has_place:
        missing = [what for what, value in (("position", header.positions), ("orientation", header.orientations),
                                            ("pixel size", header.spacings)) if value is None]
        raise SeriesError(f"{header.path} holds {header.frames} frames of {info.modality or 'a body'} and does not say "
                          f"the {' and '.join(missing)} of each of them.",
                          f"Export the scan as single slices or as enhanced multi-frame DICOM. {REGULAR}")
    return SeriesVoxels(_channels_first(read_voxels(headers)), np.zeros(3), np.ones(3), np.eye(3), False)


def _channels_first(voxels: np.ndarray) -> np.ndarray:
    return voxels[np.newaxis] if voxels.ndim == 3 else np.ascontiguousarray(np.moveaxis(voxels, -1, 0))
