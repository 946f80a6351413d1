"""Carries out ``Rank`` and ``RankVolume``."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..evaluation.cases import images_by_name
from ..imaging.volume import check_input, read_volume
from ..modelfiles.catalog import find_model
from ..shared import paths
from ..shared.errors import InputFileError, UserError
from ..shared.files import check_output, write_json
from ..shared.requests.actions import Rank, RankVolume
from .arrays import read_input
from .segment import Load

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

    :param load, progress: as of ``segment.segment``; a step is a slice at one scale.
    :param loaded: is called once the model is there.
    :return: fields of ``rank.Ranked`` with ``score``; positions of slices in mm, LPS.
    :raises UserError: as ``predict.segment``.
    """
    from ..machine.device import choose_device
    from ..segmenting import rank
    from ..segmenting.model import load_model

    volume = read_input(request.input)
    model = (load or load_model)(request.model, choose_device(request.device)[0])
    if loaded:
        loaded()
    ranked = rank.rank_volume(volume, model, request.slices, request.any_modality, progress, cancelled)
    return rank.to_json(ranked)


def rank(
    request: Rank,
    progress: Callable[[int, int], None] | None = None,
    failed: Callable[[Path, UserError], None] = lambda path, error: None,
) -> dict:
    """Put volumes into the order in which they are worth correcting, and write the report.

    :param progress: called with (volumes done, volumes in all).
    :param failed: called at once with a volume that cannot be ranked; the others are ranked all the same.
    :return: ``model``; ``ranked``, a row a volume as of ``rank_volume`` with ``input``, the least sure first;
        ``failed``, rows of ``input`` and ``message``.
    :raises UserError: no volume can be ranked, no such model, or a report that cannot be written.
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

    from ..machine.device import choose_device  # only now, because importing torch takes seconds
    from ..segmenting.model import load_model

    return load_model(request.model, choose_device(request.device)[0])


def _row(path: Path, model: "Model", request: Rank) -> dict:
    from ..segmenting.rank import rank_volume as measure
    from ..segmenting.rank import to_json

    volume = read_volume(path)
    ranked = measure(volume, model, request.slices, request.any_modality)
    return {"input": str(path), **to_json(ranked), "notes": list(volume.notes)}


def _readable(inputs: list[Path], fail: Callable[[Path, UserError], None]) -> list[Path]:
    """The inputs that can be read, as far as that is seen without reading them.

    :raises InputFileError: none can.
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
        found = list(images_by_name(path).values()) if paths.is_dir(path) else []
        files += found or [path]  # a folder without image files may be a DICOM series
    return files
