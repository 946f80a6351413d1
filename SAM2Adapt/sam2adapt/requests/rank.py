"""Carries out ``Rank`` and ``RankVolume``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..evaluation.cases import images_by_name
from ..imaging.volume import check_input, read_volume
from ..modelfiles.catalog import find_model
from ..shared import paths, slicing_axis
from ..shared.errors import InputFileError, UserError
from ..shared.files import check_output, write_json
from ..shared.requests.actions import Rank, RankVolume
from .segment import Load
from .volumes import read_source

if TYPE_CHECKING:
    from ..segmenting.model import Model


def rank_volume(
    request: RankVolume,
    load: Load | None = None,
    loaded: Callable[[], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> dict:
    """Measure how sure a model is of one volume.

    :param load: see ``segment.segment``; ``progress``: called with (steps done, all steps), each a slice at one scale.
    :param loaded: called when the model is loaded.
    :return: fields of ``rank.Ranked`` with ``score``; positions of slices in mm, LPS; and for each slice its
        ``direction`` ("axial", "coronal" or "sagittal") and the ``count`` of slices along it.
    :raises UserError: as ``predict.segment``.
    """
    from ..machine.device import choose_device
    from ..segmenting import rank
    from ..segmenting.model import load_model

    volume = read_source(request.input)
    model = (load or load_model)(request.model, choose_device(request.device)[0])
    if loaded:
        loaded()
    ranked = rank.rank_volume(volume, model, request.slices, request.any_modality, progress, cancelled)
    result = rank.to_json(ranked)
    axes = slicing_axis.anatomical_axes(volume.direction)
    names = {axes[number]: name for name, number in slicing_axis.NUMBERS.items()}
    for entry in result["slices"]:
        entry |= {"direction": names[entry["axis"]], "count": volume.size[entry["axis"]]}
    return result


def rank(
    request: Rank,
    progress: Callable[[int, int], None] | None = None,
    failed: Callable[[Path, UserError], None] = lambda path, error: None,
) -> dict:
    """Sort volumes by how much a correction would help the model, and write the report.

    :param progress: called with (volumes done, all volumes).
    :param failed: called at once with a volume that cannot be ranked; the others are still ranked.
    :return: ``model``; ``ranked``, a row for each volume as from ``rank_volume`` and ``input``, the least sure first;
        ``failed``, rows of ``input`` and ``message``.
    :raises UserError: no volume can be ranked, the model is unknown, or the report cannot be written.
    """
    ranked, failures = [], []

    def fail(path: Path, error: UserError) -> None:
        failures.append({"input": str(path), "message": str(error)})
        failed(path, error)

    if request.report:
        check_output(request.report)
    files = _readable(request.inputs, fail)
    model = _model(request)
    for number, path in enumerate(files):
        try:
            ranked.append(_row(path, model, request))
        except UserError as error:
            fail(path, error)
        if progress:
            progress(number + 1, len(files))
    ranked.sort(key=lambda row: -row["score"])
    report = {"model": model.name, "ranked": ranked, "failed": failures}
    if request.report:
        write_json(request.report, report)
    if not ranked:
        raise _none_ranked()
    return report


def _model(request: Rank) -> "Model":
    find_model(request.model)

    from ..machine.device import choose_device  # only now: importing torch takes seconds
    from ..segmenting.model import load_model

    return load_model(request.model, choose_device(request.device)[0])


def _row(path: Path, model: "Model", request: Rank) -> dict:
    from ..segmenting.rank import rank_volume as measure
    from ..segmenting.rank import to_json

    volume = read_volume(path)
    ranked = measure(volume, model, request.slices, request.any_modality)
    return {"input": str(path), **to_json(ranked), "notes": list(volume.notes)}


def _readable(inputs: list[Path], fail: Callable[[Path, UserError], None]) -> list[Path]:
    """Leave out inputs that cannot be read, as far as that is known before reading them.

    :raises InputFileError: none is left.
    """
    files = []
    for path in _files(inputs):
        try:
            files.append(check_input(path))
        except UserError as error:
            fail(path, error)
    if not files:
        raise _none_ranked()
    return files


def _none_ranked() -> InputFileError:
    return InputFileError("None of the volumes could be ranked.", "See the reasons above.")


def _files(inputs: list[Path]) -> list[Path]:
    files = []
    for path in inputs:
        images = list(images_by_name(path).values()) if paths.is_dir(path) else []
        files += images or [path]  # a folder without image files may be a DICOM series
    return files
