"""Carries out ``Fill``."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging.region import region_of
from ..imaging.terminology import Structure, name_key
from ..imaging.volume import Volume, check_fits
from ..shared.errors import DrawingError, OutputError, check_cancelled
from ..shared.files import check_output, write_json
from ..shared.labels.annotation import IGNORE
from ..shared.labels.drawn_slices import path_beside
from ..shared.labels.image_names import LABEL_SUFFIXES, SEGMENTATION, suffix_of
from ..shared.requests.actions import Fill
from ..shared.slicing_axis import ARRAY_AXES
from ..shared.timing import rounded, timed
from .arrays import read_array, write_array
from .volumes import check_result, is_array, name_of, read_source

if TYPE_CHECKING:
    from ..filling.drawings import Drawings
    from ..filling.filler import Filler, Filling

#: Returns the filler of a volume; the number is the seed.
MakeFiller = Callable[[Volume, int], "Filler"]


@dataclass
class Filled:
    """Result of ``fill``.

    :ivar report: plain data: ``input``, ``output``, ``structures`` (name, voxels, expected_dice, which is None where
        nothing was filled, and filled, the slices along ``axis`` that were filled wholly); ``expected_dice``, their
        mean; ``axis``, the array axis that most slices are drawn across;
        ``uncertainty``, the expected share of wrong voxels in each slice along it, 0 where drawn; ``next_slice``, the
        one to draw next, None if nothing is left to fill; ``warnings`` about the drawings; ``notes``, sentences about
        decisions that reading the files took; ``seconds`` of each part.
    """

    report: dict[str, Any]
    result: "Filling"


def fill(
    request: Fill,
    filler: MakeFiller | None = None,
    progress: Callable[[float], None] | None = None,
    previewed: Callable[[], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Filled:
    """Fill the slices between drawn ones and write masks and report.

    :param filler: returns the filler of a volume, perhaps one that was kept from the last request; None: a new one.
    :param progress: called with the share that is done, 0 to 1.
    :param previewed: called when the preview is written.
    :raises UserError: as ``filler.Filler`` and its ``fill``; ``OutputError``, before anything is read: an output cannot
        be written.
    """
    started, seconds = time.perf_counter(), {}
    _check_outputs(request)
    _check_names(request)
    with timed(seconds, "read"):
        volume = read_source(request.input, request.series)
        drawings, structures = _read_drawings(request, volume)

    from ..filling.filler import Filler  # only now: importing torch takes seconds

    work = (filler or Filler)(volume, request.seed)
    result = work.fill(drawings, progress, _preview_writer(request, previewed), cancelled)
    if progress:
        progress(1.0)
    check_cancelled(cancelled, "Filling")
    seconds |= result.seconds
    with timed(seconds, "write"):
        _write(request, result, drawings, structures, volume)
    seconds["total"] = time.perf_counter() - started
    report = _report(request, result) | {"notes": list(volume.notes), "seconds": rounded(seconds)}
    if request.report:
        write_json(request.report, report)
    return Filled(report, result)


def _preview_writer(request: Fill, previewed: Callable[[], None] | None) -> Callable[[np.ndarray], None] | None:
    """A function that writes the first masks (S, K, J, I); None if the request asks for no preview."""
    if request.preview is None:
        return None

    def write(masks: np.ndarray) -> None:
        write_array(request.preview, masks.view(np.uint8))
        if previewed:
            previewed()

    return write


def _check_outputs(request: Fill) -> None:
    if request.for_training and suffix_of(request.masks) == SEGMENTATION:
        raise OutputError(
            f"'{request.masks.name}' cannot hold what is not annotated, which a training must know.",
            f"Use one of {', '.join(suffix for suffix in LABEL_SUFFIXES if suffix != SEGMENTATION)}.",
        )
    check_result(request.input, request.masks, LABEL_SUFFIXES)
    if request.for_training:
        check_output(path_beside(request.masks))
    for path in filter(None, (request.preview, request.report)):
        check_output(path)


def _check_names(request: Fill) -> None:
    """Refuse two names that are equal but for case and spaces.

    :raises DrawingError: there are two such names.
    """
    seen = set()
    for name in request.structures or ():
        if name_key(name) in seen:
            raise DrawingError(
                f"Two structures are named '{name}'.", "Give each structure a name of its own.", setting="structures"
            )
        seen.add(name_key(name))


def _report(request: Fill, result: "Filling") -> dict[str, Any]:
    rows = zip(result.names, result.masks, result.expected_dice, result.filled, strict=True)
    return {
        "input": name_of(request.input), "output": str(request.masks),
        "structures": [
            {
                "name": name, "voxels": int(np.count_nonzero(mask)), "expected_dice": _rounded(dice),
                "filled": [] if math.isnan(dice) else filled,
            }
            for name, mask, dice, filled in rows
        ],
        "expected_dice": _rounded(result.mean_dice), "axis": ARRAY_AXES[result.axis], "next_slice": result.next_slice,
        "uncertainty": [round(float(share), 4) for share in result.uncertainty], "warnings": list(result.warnings),
    }  # fmt: skip


def _rounded(dice: float) -> float | None:
    return None if math.isnan(dice) else round(dice, 4)


def _axis(request: Fill) -> int | None:
    return None if request.axis is None else ARRAY_AXES.index(request.axis)


def _read_drawings(request: Fill, volume: Volume) -> tuple["Drawings", list[Structure]]:
    """The drawings, and the structures of their file; of arrays, structures are known by their names alone.

    :raises UserError: as ``drawing_files.read_drawings``, or the arrays do not fit the names.
    """
    region = region_of(volume, request.roi) if request.roi else None
    if is_array(request.input):
        drawings, structures = _drawings_of_array(request), []
    else:
        from ..filling.drawing_files import read_drawings

        check_fits(request.masks, volume)
        drawings, structures = read_drawings(
            request.drawings, volume, request.structures, _axis(request), request.empty
        )
    drawings.limit(region)
    return drawings, structures


def _drawings_of_array(request: Fill) -> "Drawings":
    from ..filling.drawings import drawings_from_labels, drawings_from_masks

    array, names = np.asarray(read_array(request.drawings)), request.structures or []
    if array.ndim == 4 and len(array) == len(names):
        return drawings_from_masks(array != 0, names, _axis(request), request.empty)
    values = set() if array.ndim != 3 else set(np.unique(array).tolist()) - {0, IGNORE}
    if array.ndim != 3 or not values <= set(range(1, len(names) + 1)):
        what = f"the label values {sorted(values)}" if array.ndim == 3 else f"the shape {array.shape}"
        raise DrawingError(
            f"The drawings have {what}, and the number of named structures is {len(names)}.",
            "Give one mask for each structure, or labels from 1 to their number.",
            setting="structures",
        )
    return drawings_from_labels(array, dict(enumerate(names, start=1)), _axis(request), request.empty)


def _write(request: Fill, result: "Filling", drawings: "Drawings", structures: list[Structure], volume: Volume) -> None:
    if is_array(request.input):
        write_array(request.masks, result.masks.view(np.uint8))
        return

    from ..filling.drawing_files import write_filling, write_training_labels

    if request.for_training:
        write_training_labels(request.masks, result, drawings, structures, volume)
    else:
        write_filling(request.masks, result, drawings, structures, volume)
