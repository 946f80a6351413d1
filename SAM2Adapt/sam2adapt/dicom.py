"""DICOM folders and files: which series are there, and the voxels of one of them in the order of their positions.

Headers and voxels are read with GDCM through SimpleITK, so compressed transfer syntaxes (JPEG, JPEG 2000, RLE) work.
Slices are sorted by the projection of ImagePositionPatient (0020,0032) on the normal of ImageOrientationPatient
(0020,0037), DICOM PS3.3 C.7.6.2; file names and InstanceNumber are never trusted.
"""

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from .errors import InputFileError, SeriesError, VolumeError
from .shared import paths

# Storage classes that always hold an image (PS3.4 B.5): a file of these that cannot be read is damaged, not foreign.
_IMAGE_CLASS = re.compile(rb"1\.2\.840\.10008\.5\.1\.4\.1\.1\.(?:1|2|3|4|6|7|12|20|30|77|128)\b")
# Files from before part 10 have no preamble: they start with an element of group 2 or 8, tag and value representation
_OLD_START = re.compile(rb"[\x02\x08]\x00.\x00[A-Z]{2}", re.DOTALL)
_POSITION = re.compile(rb"\x20\x00\x32\x00(?:DS(..)|(..)\x00\x00)", re.DOTALL)  # (0020,0032), explicit or implicit VR
_PIXEL_DATA = b"\xe0\x7f\x10\x00"
_SAME_ORIENTATION = 1e-3  # cosines; scanners write them with as few as four digits
_SAME_POSITION_MM = 1e-3
_UNEVEN = 0.2  # slices; rounded positions stay below, one missing slice moves the middle of the others by half a slice
_REGULAR = "Load the series in Slicer's DICOM module, which makes the geometry regular, and save it as .nrrd."


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


@dataclass(frozen=True)
class _Header:
    path: str
    uid: str
    instance: str
    number: str
    description: str
    modality: str
    position: tuple[float, ...]
    orientation: tuple[float, ...]
    pixel: tuple[float, ...]
    columns: int
    rows: int
    frames: int
    rescale: tuple[float, ...]


def is_dicom(path: str | os.PathLike) -> bool:
    """True if the file starts as a DICOM file does; its name is not looked at.

    :raises InputFileError: it is no regular file, or cannot be read.
    """
    with paths.open_file(path) as file:
        start = file.read(132)
    return start[128:] == b"DICM" or _OLD_START.match(start) is not None


def list_series(folder: str | os.PathLike | Sequence[str]) -> list[SeriesInfo]:
    """The image series of a folder and its subfolders, or of some DICOM files, sorted by identifier.

    :raises SeriesError: there is no DICOM image in the folder.
    :raises InputFileError: an image file is damaged.
    """
    return [info for info, _ in _series(folder)]


def read_series(
    folder: str | os.PathLike | Sequence[str], series: str | None = None
) -> tuple[sitk.Image, SeriesInfo]:
    """The voxels of one series.

    :param folder: the folder, or the DICOM files themselves.
    :param series: its identifier (``SeriesInfo.uid``) or description; needed only where the folder holds several.
    :raises SeriesError: no series, several and none chosen, none of that name, missing or unevenly spaced slices.
    """
    found = _series(folder)
    if series is not None:
        chosen = [item for item in found if series == item[0].uid] or [
            item for item in found if series == item[0].description]
    else:
        chosen = found
    names = "; ".join(str(info) for info, _ in found)
    if not chosen:
        raise SeriesError(f"{folder} holds no series '{series}'.", f"Choose one of: {names}.", setting="series")
    if len(chosen) > 1:
        raise SeriesError(f"{folder} holds {len(chosen)} series: {'; '.join(str(info) for info, _ in chosen)}.",
                          "Put each into a folder of its own, or choose one by its identifier.",
                          setting="series", value=chosen[0][0].uid)
    info, headers = chosen[0]
    return _read(headers, info), info


def read_file(path: str | os.PathLike) -> tuple[sitk.Image, SeriesInfo]:
    """The voxels of one file: one slice, or all frames of a multi-frame file."""
    header = _header(str(path))
    if header is None:
        raise InputFileError(f"{path} is a DICOM file without an image.", "Choose an image, or the folder of a series.")
    info = _info(header.uid, [header])
    return _read([header], info), info


def _series(folder: str | os.PathLike | Sequence[str]) -> list[tuple[SeriesInfo, list[_Header]]]:
    headers = list(_headers(folder))
    if not headers:
        place = f"the folder {folder}" if isinstance(folder, str | os.PathLike) else "the files"
        raise SeriesError(f"There is no DICOM image in {place}.",
                          "Choose the folder that holds the DICOM files of the scan.")
    groups: list[list[_Header]] = []
    for header in headers:
        for group in groups:
            if _belongs(header, group[0]):
                group.append(header)
                break
        else:
            groups.append([header])
    groups.sort(key=lambda group: (group[0].uid, -len(group), group[0].path))
    used: dict[str, int] = {}
    series = []
    for group in groups:
        base = group[0].uid or "unnamed"
        used[base] = used.get(base, 0) + 1
        uid = base if used[base] == 1 else f"{base}#{used[base]}"
        ordered = _sorted(group)
        series.append((_info(uid, ordered), ordered))
    return series


def _headers(folder: str | os.PathLike | Sequence[str]) -> Iterator[_Header]:
    seen = set()
    for path in _files(folder) if isinstance(folder, str | os.PathLike) else folder:
        header = _header(path) if paths.is_file(path) and is_dicom(path) else None
        if header is None or header.modality == "SEG" or (header.instance and header.instance in seen):
            continue  # the same image may lie in a folder twice, under two names
        seen.add(header.instance)
        yield header


def _files(folder: str | os.PathLike) -> Iterator[str]:
    for root, _, names in paths.walk(folder):
        yield from (str(root / name) for name in names)


def _header(path: str) -> _Header | None:
    """The header of an image, None for a DICOM object that is none (report, plan, directory)."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(paths.utf8_name(path))
    try:
        reader.ReadImageInformation()
    except RuntimeError as error:
        with paths.open_file(path) as file:
            if _IMAGE_CLASS.search(file.read(2048)):
                raise InputFileError(f"{path} is damaged: its DICOM header cannot be read.",
                                     "Copy the file again from where it came.") from error
        return None
    keys = set(reader.GetMetaDataKeys())

    def text(tag: str) -> str:
        value = reader.GetMetaData(tag) if tag in keys else ""
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace").strip(" \0")

    def numbers(tag: str) -> tuple[float, ...]:
        try:
            return tuple(float(part) for part in text(tag).split("\\") if part.strip())
        except ValueError:
            return ()

    size = reader.GetSize()
    return _Header(
        path=path, uid=text("0020|000e"), instance=text("0008|0018"), number=text("0020|0011"),
        description=text("0008|103e"), modality=text("0008|0060"), position=numbers("0020|0032"),
        orientation=numbers("0020|0037"), pixel=numbers("0028|0030"), columns=size[0], rows=size[1],
        frames=size[2] if len(size) > 2 else 1, rescale=numbers("0028|1053") + numbers("0028|1052"))


def _belongs(a: _Header, b: _Header) -> bool:
    if a.frames > 1 or b.frames > 1 or (a.uid, a.columns, a.rows) != (b.uid, b.columns, b.rows):
        return False
    if not a.uid and (a.number, a.description, a.modality) != (b.number, b.description, b.modality):
        return False  # anonymisers empty the UID: the other tags are all that is left
    if len(a.orientation) != len(b.orientation) or len(a.pixel) != len(b.pixel):
        return False
    return (np.allclose(a.orientation, b.orientation, rtol=0, atol=_SAME_ORIENTATION)
            and np.allclose(a.pixel, b.pixel, rtol=1e-3, atol=0))


def _info(uid: str, headers: Sequence[_Header]) -> SeriesInfo:
    first = headers[0]
    slices = first.frames if len(headers) == 1 else len(headers)
    return SeriesInfo(uid or "unnamed", first.description, first.modality, (first.columns, first.rows, slices),
                      tuple(header.path for header in headers))


def _axes(header: _Header) -> np.ndarray:
    """(3, 3): unit vectors along a row, along a column, and their normal, as columns (LPS)."""
    row, column = np.reshape(header.orientation, (2, 3))
    row = row / np.linalg.norm(row)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    return np.column_stack([row, np.cross(normal, row), normal])


def _has_geometry(header: _Header) -> bool:
    return len(header.position) == 3 and len(header.orientation) == 6


def _sorted(headers: list[_Header]) -> list[_Header]:
    if not all(_has_geometry(header) for header in headers):
        return headers
    normal = _axes(headers[0])[:, 2]
    return sorted(headers, key=lambda header: float(np.dot(header.position, normal)))


def _read(headers: Sequence[_Header], info: SeriesInfo) -> sitk.Image:
    name = info.description or info.uid
    if len(headers) == 1:
        if headers[0].frames > 1:
            _check_frames(headers[0], name)
        path = paths.utf8_name(headers[0].path)
        return _execute(sitk.ImageFileReader(), lambda reader: reader.SetFileName(path), name)
    if not all(_has_geometry(header) for header in headers):
        raise SeriesError(f"The series {name} does not say where its slices lie.",
                          "Use a series whose files have ImagePositionPatient and ImageOrientationPatient.")
    step = _step(headers, name)
    reader = sitk.ImageSeriesReader()
    reader.SetSpacingWarningRelThreshold(1)  # _step has judged the spacing
    if len({header.rescale for header in headers}) > 1:
        reader.SetOutputPixelType(sitk.sitkFloat32)  # the type of the first slice may not hold the others
    names = [paths.utf8_name(header.path) for header in headers]
    image = _execute(reader, lambda reader: reader.SetFileNames(names), name)
    image.SetOrigin(headers[0].position)
    image.SetSpacing((*image.GetSpacing()[:2], step))
    image.SetDirection(_axes(headers[0]).ravel())
    return image


def _check_frames(header: _Header, name: str) -> None:
    """Refuse a multi-frame file whose frames are no regular stack: GDCM reads it with a spacing of 1 x 1 x 1 mm.

    SimpleITK shows no element of a sequence, so the positions of the frames are looked up in the bytes of the header.
    """
    data = paths.read_bytes(header.path)
    data = data[: max(data.rfind(_PIXEL_DATA), 0)]
    texts = (data[match.end() : match.end() + int.from_bytes(match[1] or match[2], "little")]
             for match in _POSITION.finditer(data))
    try:
        positions = np.array([[float(part) for part in text.split(b"\\")] for text in texts])
    except ValueError:
        return
    if positions.shape != (header.frames, 3):
        return  # frames without place (ultrasound, endoscopy)
    steps = np.diff(positions, axis=0)
    mean = steps.mean(axis=0)
    if np.abs(steps - mean).max() > _UNEVEN * max(float(np.linalg.norm(mean)), _SAME_POSITION_MM):
        raise SeriesError(f"The frames of {name} are not stored as a regular stack.", _REGULAR)


def _execute(reader, set_files, name: str) -> sitk.Image:
    reader.SetImageIO("GDCMImageIO")
    set_files(reader)
    try:
        image = reader.Execute()
    except RuntimeError as error:
        raise InputFileError(f"The voxels of the DICOM series {name} cannot be read: a file is damaged or compressed "
                             "in a way that GDCM does not know.",
                             "Copy the files again, or export them anew without compression.") from error
    if image.GetDimension() != 3:
        raise VolumeError(f"The DICOM series {name} has {image.GetDimension()} dimensions.",
                          "Load it in Slicer and save one time point as .nrrd.")
    return image


def _step(headers: Sequence[_Header], name: str) -> float:
    """Distance of the slices in mm, after checking that they are a regular stack."""
    axes = _axes(headers[0])
    positions = np.array([header.position for header in headers])
    along = positions @ axes[:, 2]
    gaps = np.diff(along)
    if gaps.min() < _SAME_POSITION_MM:
        places = 1 + int((gaps >= _SAME_POSITION_MM).sum())
        raise SeriesError(f"The series {name} has {len(headers)} images at {places} positions: it holds several time "
                          "points, phases or echoes.",
                          "Load it in Slicer's DICOM module, which separates them, and save one of them as .nrrd.")
    step = float((along[-1] - along[0]) / (len(headers) - 1))
    if np.abs(along - along[0] - step * np.arange(len(headers))).max() > _UNEVEN * step:
        raise SeriesError(_gap_message(gaps, along, name), f"Copy the whole series. {_REGULAR}")
    shift = (positions[-1] - positions[0]) @ axes[:, :2]
    if np.abs(shift).max() > 0.5 * min(headers[0].pixel or (1.0,)):
        angle = np.degrees(np.arctan2(np.linalg.norm(shift), along[-1] - along[0]))
        raise SeriesError(f"The slices of the series {name} are not stacked along their normal (a tilt of "
                          f"{angle:.1f} degrees).", _REGULAR)
    return step


def _gap_message(gaps: np.ndarray, along: np.ndarray, name: str) -> str:
    usual = float(np.median(gaps))
    missing = np.rint(gaps / usual).astype(int) - 1
    if missing.sum() > 0 and np.abs(gaps - usual * (missing + 1)).max() <= _UNEVEN * usual:
        return (f"The series {name} misses {missing.sum()} of {len(along) + missing.sum()} slices, the first after "
                f"position {along[np.flatnonzero(missing)[0]]:.1f} mm.")
    return f"The slices of the series {name} are unevenly spaced, {gaps.min():.2f} to {gaps.max():.2f} mm."
