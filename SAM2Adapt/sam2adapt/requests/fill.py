"""Carries out ``Fill``."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ..imaging.region import region_of
from ..imaging.terminology import Structure, name_key
from ..imaging.volume import Volume, read_volume
from ..shared.annotation import IGNORE
from ..shared.errors import CancelledError, DrawingError, OutputError
from ..shared.files import check_output, write_json
from ..shared.labels.drawn_slices import path_beside
from ..shared.labels.image_names import LABEL_SUFFIXES, SEGMENTATION, suffix_of
from ..shared.requests.actions import Fill
from ..shared.slicing_axis import ARRAY_AXES
from .arrays import read_array, read_input, write_array

if TYPE_CHECKING:
    from ..filling.drawings import Drawings
    from ..filling.filler import Filler, Filling

#: Gives what fills a volume, for a seed.
MakeFiller = Callable[[Volume, int], "Filler"]


@dataclass
class Filled:
    """What a request came to.

    :ivar report: plain data: ``input``, ``output``, ``structures`` (name, voxels, expected_dice, None where nothing was
        filled, and filled, the slices along ``axis`` that were filled wholly), ``expected_dice``, their mean; ``axis``,
        the array axis that most slices are drawn across;
        ``uncertainty``, the share of wrong voxels to be expected in each slice along it, 0 where drawn; ``next_slice``
        to draw, None if nothing is left to fill; ``warnings`` about the drawings; ``notes``, sentences about what had
        to be decided on reading; ``seconds``, by part.
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

    :param filler: gives what fills the volume, warm perhaps; without it, it is made.
    :param progress: is told the share that is done, 0 to 1.
    :param previewed: is told that the first answer is written.
    :raises UserError: as ``filler.Filler`` and its ``fill``; ``OutputError``, before anything is read: an output cannot
        be written.
    """
    started = time.perf_counter()
    files = _Arrays(request) if isinstance(request.input, dict) else _Files(request)
    files.check()
    _check_names(request)
    for path in filter(None, (request.preview, request.report)):
        check_output(path)
    volume = files.read()

    from ..filling.filler import Filler  # torch: not before all that was asked for is known to be possible

    region = region_of(volume, request.roi) if request.roi else None
    drawings, structures = files.drawings(volume)
    drawings.limit(region)
    read = time.perf_counter() - started
    work = (filler or Filler)(volume, request.seed)

    def preview(masks: np.ndarray) -> None:
        write_array(request.preview, masks.view(np.uint8))
        if previewed:
            previewed()

    result = work.fill(drawings, progress, preview if request.preview else None, cancelled)
    if progress:
        progress(1.0)
    if cancelled():
        raise CancelledError("Filling was cancelled.", "Nothing was changed.")
    before = time.perf_counter()
    files.write(result, drawings, structures, volume)
    ended = time.perf_counter()
    seconds = {"read": read, **result.seconds, "write": ended - before, "total": ended - started}
    report = _report(request, files.name, result) | {
        "notes": list(volume.notes), "seconds": {part: round(value, 3) for part, value in seconds.items()},
    }  # fmt: skip
    if request.report:
        write_json(request.report, report)
    return Filled(report, result)


def _check_names(request: Fill) -> None:
    """Refuse names that could mean two structures.

    :raises DrawingError: a name is there twice.
    """
    seen = set()
    for name in request.structures or ():
        if name_key(name) in seen:
            raise DrawingError(
                f"Two structures are named '{name}'.", "Give each structure a name of its own.", setting="structures"
            )
        seen.add(name_key(name))


def _report(request: Fill, name: str, result: "Filling") -> dict[str, Any]:
    rows = zip(result.names, result.masks, result.expected_dice, result.filled, strict=True)
    return {
        "input": name, "output": str(request.masks),
        "structures": [
            {
                "name": name, "voxels": int(np.count_nonzero(mask)), "expected_dice": _rounded(dice),
                "filled": filled if not math.isnan(dice) else [],
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


class _Files:
    """Image and drawings from files, label maps out."""

    def __init__(self, request: Fill):
        self.request, self.name = request, str(request.input)

    def check(self) -> None:
        """Refuse before the work what could not be written after it."""
        path = self.request.masks
        if suffix_of(path) not in LABEL_SUFFIXES:
            raise OutputError(
                f"'{path.name}' has no suffix of a format that can be written.",
                f"Use one of {', '.join(LABEL_SUFFIXES)}.",
            )
        if self.request.for_training and suffix_of(path) == SEGMENTATION:
            raise OutputError(
                f"'{path.name}' cannot hold what is not annotated, which a training must know.",
                f"Use one of {', '.join(suffix for suffix in LABEL_SUFFIXES if suffix != SEGMENTATION)}.",
            )
        check_output(path, libraries=True)
        if self.request.for_training:
            check_output(path_beside(path))

    def read(self) -> Volume:
        return read_volume(self.request.input, self.request.series)

    def drawings(self, volume: Volume) -> tuple["Drawings", list[Structure]]:
        from ..filling.drawing_files import read_drawings

        request = self.request
        return read_drawings(request.drawings, volume, request.structures, _axis(request), request.empty)

    def write(self, result: "Filling", drawings: "Drawings", structures: list[Structure], volume: Volume) -> None:
        from ..filling.drawing_files import write_filling, write_training_labels

        if self.request.for_training:
            write_training_labels(self.request.masks, result, drawings, structures, volume)
        else:
            write_filling(self.request.masks, result, structures, volume)


class _Arrays:
    """Arrays of another process in and out, as ``.npy`` files."""

    def __init__(self, request: Fill):
        self.request, self.name = request, request.input.get("name") or request.input["array"]

    def check(self) -> None:
        check_output(self.request.masks)

    def read(self) -> Volume:
        return read_input(self.request.input)

    def drawings(self, volume: Volume) -> tuple["Drawings", list[Structure]]:
        """The drawings; their structures are what the request calls them, and nothing more.

        :raises DrawingError: not one name a mask or label value, or as ``drawings.drawings_from_masks``.
        """
        from ..filling.drawings import drawings_from_labels, drawings_from_masks

        request, array = self.request, np.asarray(read_array(self.request.drawings))
        names = request.structures or []
        if array.ndim == 4 and len(array) == len(names):
            return drawings_from_masks(array != 0, names, _axis(request), request.empty), []
        values = set() if array.ndim != 3 else set(np.unique(array).tolist()) - {0, IGNORE}
        if array.ndim != 3 or not values <= set(range(1, len(names) + 1)):
            what = f"the label values {sorted(values)}" if array.ndim == 3 else f"the shape {array.shape}"
            raise DrawingError(
                f"The drawings have {what}, and the number of named structures is {len(names)}.",
                "Give one mask for each structure, or labels from 1 to their number.", setting="structures",
            )  # fmt: skip
        return drawings_from_labels(array, dict(enumerate(names, start=1)), _axis(request), request.empty), []

    def write(self, result: "Filling", drawings: "Drawings", structures: list[Structure], volume: Volume) -> None:
        write_array(self.request.masks, result.masks.view(np.uint8))
