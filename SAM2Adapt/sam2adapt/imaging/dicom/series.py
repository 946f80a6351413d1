"""One DICOM series as a volume: its voxels, its place in the patient, and what is refused.

:mod:`.scan` lists the series of a folder.
"""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ...shared.errors import InputFileError, SeriesError
from .geometry import REGULAR, Grid, Placement, axes_of, check_plane, check_position, check_spacing, place_stack, ranges
from .header import ImageHeader, OtherObject, UnreadableFile, read_object
from .pixels import check_readable, read_voxels
from .scan import Scan, SeriesInfo, scan, series_info
from .sop_classes import IN_PROBE_SPACE, class_name

logger = logging.getLogger(__name__)
_OF_A_BODY = ("CT", "MR", "PT", "NM")  # modalities whose frames are slices, not moments


@dataclass(frozen=True, eq=False)
class SeriesVoxels:
    """Voxels of a series and their place.

    :ivar array: (C, K, J, I), C = 3 in colour.
    :ivar origin: (3,) LPS mm, ``spacing`` (3,) mm, ``direction`` (3, 3) unit vectors of I, J, K as columns.
    :ivar physical: False for pictures, which have no size in mm.
    :ivar unit: of the values as RescaleType names it, "" where it does not or says that they have none.
    :ivar notes: sentences about what had to be decided.
    """

    array: np.ndarray
    origin: np.ndarray
    spacing: np.ndarray
    direction: np.ndarray
    physical: bool = True
    unit: str = ""
    notes: tuple[str, ...] = ()


def list_series(folder: str | os.PathLike | Sequence[str]) -> list[SeriesInfo]:
    """The image series of a folder and its subfolders, or of some DICOM files, sorted by identifier.

    :raises SeriesError: there is no DICOM image in the folder.
    :raises InputFileError: an image file is damaged.
    """
    scanned = scan(folder)
    if scanned.unreadable:
        raise scanned.unreadable[0].error
    if not scanned.series:
        raise _no_image(folder, scanned)
    return [info for info, _ in scanned.series]


def read_series(folder: str | os.PathLike | Sequence[str], series: str | None = None
                ) -> tuple[SeriesVoxels, SeriesInfo]:  # fmt: skip
    """The voxels of one series.

    :param folder: the folder, or the DICOM files themselves.
    :param series: its identifier (``SeriesInfo.uid``) or description; needed only where the folder holds several.
    :raises SeriesError: no series, several and none chosen, none of that name, missing or unevenly spaced slices.
    :raises InputFileError: a file of the series is damaged, or one that may belong to it.
    """
    scanned = scan(folder)
    info, headers = _chosen(folder, scanned, series)
    for file in scanned.unreadable:
        if file.series_uid in ("", headers[0].series_uid):
            raise file.error
        logger.warning("%s It belongs to another series and is left out.", file.error.message)
    if left_out := scanned.left_out():
        logger.warning("%s", left_out)
    return _read(headers, info), info


def read_file(path: str | os.PathLike) -> tuple[SeriesVoxels, SeriesInfo]:
    """The voxels of one file: one slice, or all frames of a multi-frame file.

    :raises InputFileError: damaged, or no image of anatomy.
    """
    parsed = read_object(str(path))
    if isinstance(parsed, UnreadableFile):
        raise parsed.error
    if isinstance(parsed, OtherObject):
        raise InputFileError(
            f"{path} is a DICOM file without an image of anatomy: {class_name(parsed.sop_class)}.",
            "Choose an image, or the folder of a series.",
        )
    info = series_info(parsed.series_uid, [parsed])
    return _read([parsed], info), info


def series_grid(scanned: Scan, series_uid: str) -> Grid | None:
    """The voxel grid of a series; of the largest where several share the identifier, None where there is none.

    :raises SeriesError: it is no regular stack.
    """
    alike = [item for item in scanned.series if item[1][0].series_uid == series_uid]
    if not alike:
        return None
    info, headers = max(alike, key=lambda item: item[0].size[2])
    first, identity = headers[0], (info.source, series_uid, info.frame_of_reference)
    if len(headers) == 1 and first.frames == 1 and first.has_place and first.spacings is not None:
        spacing = np.array([first.spacings[0, 1], first.spacings[0, 0], first.thickness or 1.0])
        return Grid(info.size, first.positions[0], spacing, axes_of(first.orientations[0]), *identity)
    if not all(header.has_place and header.spacings is not None for header in headers):
        raise SeriesError(f"The series {info} does not say where its slices lie.", "Use labels on another series.")
    place = _place(headers, info, _name(headers, info))
    return Grid(info.size, place.origin, place.spacing, place.direction, *identity)


def _no_image(folder: str | os.PathLike | Sequence[str], scanned: Scan) -> SeriesError:
    place = f"the folder {folder}" if isinstance(folder, str | os.PathLike) else "the files"
    kinds = sorted({class_name(other.sop_class) for other in scanned.others})
    only = f", only {', '.join(kinds)}" if kinds else ""
    return SeriesError(
        f"There is no DICOM image in {place}{only}.", "Choose the folder that holds the DICOM files of the scan."
    )


def _chosen(folder: str | os.PathLike | Sequence[str], scanned: Scan, series: str | None
            ) -> tuple[SeriesInfo, list[ImageHeader]]:  # fmt: skip
    if not scanned.series:
        raise scanned.unreadable[0].error if scanned.unreadable else _no_image(folder, scanned)
    chosen = scanned.series
    if series is not None:
        chosen = [item for item in scanned.series if series == item[0].uid] or [
            item for item in scanned.series if series == item[0].description
        ]
    if not chosen:
        other = next((other for other in scanned.others if series in (other.series_uid, other.description)), None)
        what = f"is {class_name(other.sop_class)} and shows no anatomy" if other else f"is not in {folder}"
        raise SeriesError(
            f"The series '{series}' {what}." if other else f"{folder} holds no series '{series}'.",
            f"Choose one of: {'; '.join(str(info) for info, _ in scanned.series)}.",
            setting="series",
        )
    if len(chosen) > 1:
        uid = chosen[0][0].uid
        raise SeriesError(
            f"{folder} holds {len(chosen)} series: {'; '.join(str(info) for info, _ in chosen)}.",
            "Put each into a folder of its own, or choose one by its identifier.",
            setting="series",
            value=uid,
        )
    return chosen[0]


def _read(headers: Sequence[ImageHeader], info: SeriesInfo) -> SeriesVoxels:
    name = _name(headers, info)
    for header in headers:  # what is wrong is said before any memory is taken
        if header.orientations is not None:
            check_plane(header.path, header.orientations, header.spacings)
        check_spacing(header.path, header.spacings)
        check_position(header.path, header.positions)
        check_readable(header)
    if len(headers) == 1 and headers[0].frames == 1:
        return _single(headers[0], info)
    if not all(header.has_place and header.spacings is not None for header in headers):
        return _pictures(headers, info, name)
    place = _place(headers, info, name)
    voxels = read_voxels(headers)
    if not np.array_equal(place.order, np.arange(len(voxels))):
        voxels = voxels[place.order]
    return SeriesVoxels(_channels_first(voxels), place.origin, place.spacing, place.direction,
                        unit=_unit(headers))  # fmt: skip


def _name(headers: Sequence[ImageHeader], info: SeriesInfo) -> str:
    return f"{info.description or info.uid} in {os.path.dirname(headers[0].path)}"


def _place(headers: Sequence[ImageHeader], info: SeriesInfo, name: str) -> Placement:
    item = "slice" if len(headers) > 1 else "frame"
    positions, orientations, spacings = (
        np.concatenate([getattr(header, which) for header in headers])
        for which in ("positions", "orientations", "spacings")
    )
    return place_stack(name, item, positions, orientations, spacings, info.size[:2], keep_order=item == "frame")


def _single(header: ImageHeader, info: SeriesInfo) -> SeriesVoxels:
    if header.spacings is None and info.modality in ("CT", "MR"):
        raise InputFileError(
            f"{header.path} is {info.modality} and does not say how large its pixels are.",
            "Use a file that has PixelSpacing.",
        )
    array = _channels_first(read_voxels([header]))
    if header.spacings is None:
        return SeriesVoxels(array, np.zeros(3), np.ones(3), np.eye(3), False)
    spacing = np.array([header.spacings[0, 1], header.spacings[0, 0], header.thickness or 1.0])
    origin = np.zeros(3) if header.positions is None else header.positions[0]
    direction = np.eye(3) if header.orientations is None else axes_of(header.orientations[0])
    notes = ()
    if not header.thickness and info.modality in _OF_A_BODY:
        unknown = "does not say how thick its slice is (SliceThickness); 1 mm was taken, so volumes in mL mean nothing"
        notes = (f"{header.path} {unknown}.",)
    return SeriesVoxels(array, origin, spacing, direction, unit=_unit([header]), notes=notes)


def _pictures(headers: Sequence[ImageHeader], info: SeriesInfo, name: str) -> SeriesVoxels:
    """Frames in time or pages (ultrasound, endoscopy), which need no place; slices of a body do."""
    if len(headers) > 1:
        without = [index for index, header in enumerate(headers) if not header.has_place]
        which = f" (files {ranges(without)} of {len(headers)}, {headers[without[0]].path} for one)" if without else ""
        raise SeriesError(f"The series {name} does not say where its slices lie{which}, or how large their pixels are.",
                          "Use a series whose files have ImagePositionPatient, ImageOrientationPatient and "
                          "PixelSpacing.")  # fmt: skip
    header = headers[0]
    in_probe_space = header.sop_class == IN_PROBE_SPACE
    if info.modality in _OF_A_BODY or header.has_place or in_probe_space:
        missing = [
            what
            for what, value in (
                ("position", header.positions),
                ("orientation", header.orientations),
                ("pixel size", header.spacings),
            )
            if value is None
        ]
        raise SeriesError(
            f"{header.path} holds {header.frames} frames of {info.modality or 'a body'} and does not say "
            f"the {' and '.join(missing)} of each of them.",
            f"Export the scan as single slices or as enhanced multi-frame DICOM. {REGULAR}",
        )
    return SeriesVoxels(_channels_first(read_voxels(headers)), np.zeros(3), np.ones(3), np.eye(3), False)


def _unit(headers: Sequence[ImageHeader]) -> str:
    """RescaleType; where slices differ, one that is not HU: a single slice of another unit spoils the volume."""
    units = {header.rescale_type for header in headers} - {"", "US"}  # US: unspecified
    return min(units - {"HU"}, default="HU" if units else "")


def _channels_first(voxels: np.ndarray) -> np.ndarray:
    return voxels[np.newaxis] if voxels.ndim == 3 else np.ascontiguousarray(np.moveaxis(voxels, -1, 0))
