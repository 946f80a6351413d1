"""On which images DICOM labels were drawn, and whether those to which they are applied are the same, or lie there too.

Labels name the series (SeriesInstanceUID) and the frame of reference (FrameOfReferenceUID) of their images. Images of
one frame of reference lie in one coordinate system of one patient who did not move (PS3.3 C.7.4.1). Those of another
frame may have the same grid by chance, or because a protocol prescribes it, and show another patient.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydicom.dataset import Dataset

from ...shared import paths
from ...shared.errors import GeometryError, InputFileError
from .elements import damage_reported
from .geometry import Grid
from .scan import Scan, scan
from .series import series_grid

_SAVE_WITHOUT = (
    "if it is known that both lie in one place, save the labels in Slicer as .nrrd or .nii.gz, which name no frame of"
    " reference"
)


@dataclass(frozen=True)
class Origin:
    """The images on which labels were drawn.

    :ivar series: SeriesInstanceUIDs. :ivar frame: FrameOfReferenceUID, "" where the file does not say it.
    """

    series: tuple[str, ...]
    frame: str

    def __str__(self) -> str:
        parts = [f"frame of reference {self.frame or 'unknown'}"]
        parts += [f"series {', '.join(self.series)}"] if self.series else []
        return ", ".join(parts)


def origins_of(path: str, dataset: Dataset) -> list[Origin]:
    """Where the labels of a segmentation or a structure set were drawn; a structure set may have several origins."""
    with damage_reported(path, "its reference to images"):
        if "StructureSetROISequence" not in dataset and "ReferencedFrameOfReferenceSequence" not in dataset:
            return [
                Origin(_series(dataset.get("ReferencedSeriesSequence")), str(dataset.get("FrameOfReferenceUID", "")))
            ]
        series_by_frame = {}
        for item in dataset.get("ReferencedFrameOfReferenceSequence") or ():
            studies = item.get("RTReferencedStudySequence") or ()
            series = [uid for study in studies for uid in _series(study.get("RTReferencedSeriesSequence"))]
            series_by_frame[str(item.get("FrameOfReferenceUID", ""))] = tuple(series)
        for item in dataset.get("StructureSetROISequence") or ():
            if frame := str(item.get("ReferencedFrameOfReferenceUID", "")):
                series_by_frame.setdefault(frame, ())
        return [Origin(series, frame) for frame, series in series_by_frame.items()]


def _series(items: Sequence[Dataset] | None) -> tuple[str, ...]:
    uids = (str(item.get("SeriesInstanceUID", "")) for item in items or ())
    return tuple(dict.fromkeys(uid for uid in uids if uid))


def check_origin(what: str, origin: Origin, grid: Grid) -> str:
    """Refuse labels that were drawn in another frame of reference than that of the image.

    :param what: the labels, for messages.
    :return: a sentence about what does not agree, or "".
    :raises GeometryError: another frame of reference, and another series.
    """
    image = Origin((grid.series_uid,) if grid.series_uid else (), grid.frame_of_reference)
    if not image.series and not image.frame:
        return ""  # no DICOM
    known = bool(origin.frame and image.frame)
    same_series, same_frame = bool(set(origin.series) & set(image.series)), known and origin.frame == image.frame
    if same_series and (same_frame or not known):
        return ""
    if same_series:
        return (
            f"{what} gives another frame of reference ({origin.frame}) than {grid.name} ({image.frame}), but names its"
            f" series ({grid.series_uid}); the series was believed."
        )
    if known and not same_frame:
        drawn = f", the series {', '.join(origin.series)}" if origin.series else ""
        raise GeometryError(
            f"{what} was drawn on other images ({origin}) than {grid.name} ({image}): nothing says that both lie in one"
            " place.",
            f"Choose the images on which it was drawn{drawn}; or, {_SAVE_WITHOUT}.",
        )
    if not origin.series or not image.series:
        return ""
    common = "which has the same frame of reference" if same_frame else "and one of them names no frame of reference"
    series = ", ".join(origin.series)
    return f"{what} was drawn on the series {series}, not on {grid.name} (series {grid.series_uid}), {common}."


def grid_of_images(path: str, origins: Sequence[Origin], folder: Path) -> Grid:
    """The grid of the series for labels in a folder that was given as their images.

    :raises GeometryError: it holds several series, and nothing says which one is meant.
    """
    scanned = scan(folder)
    grid = _grid_of_series(origins, scanned) or _grid_of_frame(origins, scanned)
    uids = {headers[0].series_uid for _, headers in scanned.series}
    if grid is None and len(uids) == 1:
        grid = series_grid(scanned, uids.pop())  # check_origin says what does not agree
    if grid is None:
        names = "; ".join(str(info) for info, _ in scanned.series) or "none"
        raise GeometryError(
            f"{path} was drawn on images ({'; '.join(map(str, origins))}) that are not in {folder}, which holds the"
            f" series: {names}.",
            "Choose the folder of the series on which it was drawn.",
        )
    return grid


def grid_beside(path: Path, origins: Sequence[Origin]) -> Grid | None:
    """The grid of the series on which labels were drawn, if it lies near their file: see ``read_dicom_labels``."""
    near = [scan(files) for files in _near(path.resolve().parent)]
    for find in (_grid_of_series, _grid_of_frame):
        for scanned in near:
            if grid := find(origins, scanned):
                return grid
    return None


def _grid_of_series(origins: Sequence[Origin], scanned: Scan) -> Grid | None:
    grids = (series_grid(scanned, uid) for origin in origins for uid in origin.series)
    return next(filter(None, grids), None)


def _grid_of_frame(origins: Sequence[Origin], scanned: Scan) -> Grid | None:
    """The grid of the only series in a frame of reference of the labels."""
    frames = {origin.frame for origin in origins} - {""}
    alike = {headers[0].series_uid for _, headers in scanned.series if headers[0].frame_of_reference in frames}
    return series_grid(scanned, alike.pop()) if len(alike) == 1 else None


def _near(folder: Path) -> Iterator[list[str]]:
    """The files of a folder and of those in it, then of the folder above and of those in it, and no deeper."""
    for top in (folder, folder.parent):
        try:
            folders = [top, *filter(paths.is_dir, paths.listing(top))]
            yield [str(path) for place in folders for path in paths.listing(place) if paths.is_file(path)]
        except InputFileError:
            continue  # a neighbour that may not be looked into
