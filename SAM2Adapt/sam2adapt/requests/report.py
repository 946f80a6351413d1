"""Carries out ``Report``, ``ReportBatch`` and ``WriteDicomSeg``, and makes the pages that ``Segment`` asks for."""

import json
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging.terminology import Structure, describe
from ..imaging.volume import (
    Volume,
    check_on_grid,
    holds_segments,
    read_label_map,
    read_segments,
    read_series_files,
    read_volume,
)
from ..shared import paths
from ..shared.errors import BatchError, ClassesError, GeometryError, OutputError, UserError, check_cancelled
from ..shared.files import check_output
from ..shared.labels.image_names import SEGMENTATION, suffix_of
from ..shared.labels.label_entries import LabelEntry
from ..shared.labels.label_names import label_table
from ..shared.labels.overlaps import REFUSE
from ..shared.model_cards import mean_dice
from ..shared.requests.report_actions import Report, ReportBatch, WriteDicomSeg
from .arrays import read_array
from .volumes import is_array, read_source

if TYPE_CHECKING:
    from ..reporting.case import Case
    from ..segmenting.predict import Segmentation

logger = logging.getLogger(__name__)

_SUFFIXES = (".html", ".htm")
_MANIFEST = "manifest.json"
_KEYS = {"model", "digest", "counts", "studies"}
_ROW_KEYS = {"input", "series", "output", "status", "message", "structures"}


def report(request: Report) -> None:
    """Make the page of one volume.

    :raises UserError: as ``volume.read_volume`` and ``read_labels``; ``ClassesError``: there are no labels.
    """
    from ..reporting.case_page import Origin

    check_page(request.output)
    volume = read_source(request.input, request.series)
    if request.labels is None:
        raise ClassesError("There are no labels to show.", "Give the segmentation of the image.", setting="labels")
    given = {int(entry["id"]): _structure(entry) for entry in request.classes or ()}
    case = (
        _case_of_arrays(volume, request.labels, given)
        if is_array(request.input)
        else _case_of_file(volume, request.labels, given)
    )
    _write_case(request.output, case, Origin(request.model), request.show_names)


def report_batch(
    request: ReportBatch,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> None:
    """Make the page of a batch.

    :param progress: called with the number of studies drawn, and how many will be.
    :raises BatchError: the folder is not the output of a batch.
    """
    from ..reporting.batch_page import batch_page
    from ..reporting.page import write_page

    check_page(request.output)
    manifest = _manifest(request.folder)

    def read(row: dict) -> "Case | None":
        check_cancelled(cancelled, "The page")
        try:
            return _case_of_row(row, request.folder)
        except UserError as error:
            logger.warning("A study has no picture on the page: %s", error)
            return None

    names = _names(manifest["studies"]) if request.show_names else None
    write_page(request.output, batch_page(manifest, read, _now(), names, progress))


def write_result_page(request: Any, volume: Volume, result: "Segmentation", card: dict) -> None:
    """Make the page that a ``Segment`` asks for, of what was just segmented."""
    from ..reporting.case import Case
    from ..reporting.case_page import Origin

    dice = mean_dice(card)
    measured = f"mean Dice {dice:.3f} on its validation cases" if dice is not None else ""
    case = Case(volume, [result.labels.array[0]], result.structures, volume.notes)
    _write_case(request.page, case, Origin(card["name"], card["digest"], measured), request.show_names)


def check_page(path: Path | None) -> None:
    """Refuse a page that could not be written, before the work for it begins; None passes.

    :raises OutputError: as ``files.check_output``, or the name does not say that it is a page.
    """
    if path is None:
        return
    if path.suffix.lower() not in _SUFFIXES:
        raise OutputError(f"'{path.name}' is not the name of a page.", "Choose a name that ends in .html.")
    check_output(path)


def write_dicom_seg(request: WriteDicomSeg) -> None:
    """Write labels of another process as a DICOM segmentation.

    :raises UserError: as ``seg_writer.write_dicom_seg``.
    """
    from ..imaging.dicom import seg_writer

    if request.output.suffix.lower() != ".dcm":
        raise OutputError(f"'{request.output.name}' is not the name of a DICOM file.", "Choose a name in .dcm.")
    check_output(request.output)
    labels = read_source(request.input)
    made = (
        seg_writer.MANUAL
        if not request.model
        else (seg_writer.SEMIAUTOMATIC if request.corrected else seg_writer.AUTOMATIC)
    )
    seg_writer.write_dicom_seg(
        request.output, labels.array[0].astype(np.uint8), labels.grid, [_structure(c) for c in request.classes],
        request.reference, request.dicom_seg, (request.model or "SAM2Adapt", "1"), made=made,
    )  # fmt: skip


def _write_case(path: Path, case: "Case", origin: Any, show_names: bool) -> None:
    from ..reporting.case_page import case_page
    from ..reporting.page import write_page

    name = (Path(case.volume.source).name or case.volume.name) if show_names else ""
    write_page(path, case_page(case, origin, _now(), name))


def _now() -> datetime:
    return datetime.now().astimezone()


def _manifest(folder: Path) -> dict:
    if not paths.is_file(folder / _MANIFEST):
        raise BatchError(
            f"'{folder}' holds no {_MANIFEST}: it is not the output of a batch.",
            "Give the output folder of a batch, or also the segmentation of the image.",
            setting="labels",
        )
    try:
        manifest = json.loads(paths.read_text(folder / _MANIFEST))
        whole = _KEYS <= manifest.keys() and all(map(_is_row, manifest["studies"]))
    except (ValueError, LookupError, TypeError, AttributeError):
        whole = False
    if not whole:
        raise BatchError(f"'{folder / _MANIFEST}' is damaged.", "Run the batch again, which keeps its results.")
    return manifest


def _is_row(row: dict) -> bool:
    """Whether a row of a manifest has what the page shows."""
    complete = _ROW_KEYS <= row.keys() and row["status"] in ("done", "failed", "open")
    return complete and all({"name", "voxels", "ml"} <= structure.keys() for structure in row["structures"])


def _names(rows: Sequence[dict]) -> list[str]:
    """Names of the studies: their outputs without suffix, or the last part of their inputs."""
    return [row["output"] or f"{Path(row['input']).name} {row['series']}".strip() for row in rows]


def _case_of_row(row: dict, folder: Path) -> "Case":
    volume = _volume_of_row(row)
    structures = {int(s["id"]): describe(int(s["id"]), s["name"]) for s in row["structures"] if "id" in s}
    return _case_of_file(volume, folder / row["output"], structures)


def _volume_of_row(row: dict) -> Volume:
    if not row["series"]:
        return read_volume(row["input"])
    from ..batch.studies import series_files

    return read_series_files(series_files(Path(row["input"]), row["series"]))


def _case_of_file(volume: Volume, path: Path, given: dict[int, Structure]) -> "Case":
    """A case from a label file.

    :param given: what label values mean, if the file does not say it.
    """
    from ..reporting.case import Case

    try:
        if suffix_of(path) != SEGMENTATION and holds_segments(path):
            return _case_of_segments(volume, path)  # DICOM
        labels, structures = read_label_map(path, REFUSE)
    except ClassesError:  # segments overlap, so they need several layers
        return _case_of_segments(volume, path)
    check_on_grid(volume.grid, labels.grid)
    known = given or {value: describe(value, entry.name) for value, entry in _entries(path)}
    if not structures:
        values = sorted({*np.unique(labels.array).tolist(), *known} - {0})
        structures = [known.get(value) or describe(value, f"label {value}") for value in values]
    return Case(volume, [labels.array[0]], structures, (*volume.notes, *labels.notes))


def _case_of_segments(volume: Volume, path: Path) -> "Case":
    from ..reporting.case import case_of_masks

    segments = read_segments(path, volume)
    check_on_grid(volume.grid, segments.grid)
    return case_of_masks(volume, segments.pairs, (*volume.notes, *segments.notes))


def _entries(path: Path) -> Iterable[tuple[int, LabelEntry]]:
    table = label_table(path)
    return table.entries.items() if table and table.complete else ()


def _case_of_arrays(volume: Volume, path: Path, given: dict[int, Structure]) -> "Case":
    from ..reporting.case import Case

    layers = read_array(path)
    if layers.ndim != 4 or layers.shape[1:] != volume.array.shape[1:] or layers.dtype.kind != "u":
        raise GeometryError(
            f"Labels {layers.shape} do not lie on the voxels {volume.array.shape[1:]} of the volume.", "Start again."
        )
    return Case(volume, list(layers), list(given.values()), volume.notes)


def _structure(entry: dict) -> Structure:
    known = describe(int(entry["id"]), entry["name"])
    red, green, blue = entry.get("color") or known.color
    return Structure(known.id, known.name, entry.get("terminology") or known.terminology, (red, green, blue))
