"""Carries out ``Segment``, ``SegmentBatch`` and ``SeriesFiles``."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..imaging.image_files import suffix_of
from ..imaging.volume import DicomOutput, Volume, check_fits, write_labels, write_volume
from ..modelfiles.catalog import find_model
from ..shared import paths
from ..shared.errors import OutputError, check_cancelled
from ..shared.files import check_output, make_folder, write_json
from ..shared.labels.image_names import LABEL_SUFFIXES, OUTPUT_SUFFIXES
from ..shared.requests.actions import Segment, SegmentBatch
from ..shared.requests.report_actions import ReportBatch
from ..shared.requests.server_actions import SeriesFiles
from ..shared.timing import rounded, timed
from .arrays import write_array
from .report import check_page, report_batch, write_result_page
from .volumes import check_result, is_array, name_of, read_source

if TYPE_CHECKING:
    import torch

    from ..batch.segment_folder import Summary
    from ..segmenting.model import Model
    from ..segmenting.predict import Options, Segmentation

#: Returns the model of a name or file on a device.
Load = Callable[[str, "torch.device"], "Model"]

_WHAT = "The segmentation"  # that was cancelled


@dataclass
class Segmented:
    """Result of ``segment``.

    :ivar report: plain data: ``input``, ``output``, ``model``, ``digest``, ``settings``, ``device``,
        ``device_reason``, ``slices``, ``structures`` (id, name, voxels, ml), ``seconds`` of each part, and ``notes``,
        sentences about decisions that reading the file took.
    """

    report: dict
    model: "Model"
    result: "Segmentation"


def segment(
    request: Segment,
    load: Load | None = None,
    loaded: Callable[["Model", str], None] | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Segmented:
    """Segment one volume and write its labels, uncertainty and report.

    :param load: returns the model, perhaps one that is loaded already; None: it is read from its file.
    :param loaded: called with the model and a sentence about its device; ``progress``: with (slices done, slices).
    :raises UserError: as ``predict.segment``; ``OutputError`` before anything is read: an output cannot be written.
    """
    _check_outputs(request)
    started, seconds = time.perf_counter(), {}
    with timed(seconds, "read"):
        volume = _read(request)
    find_model(request.model)
    with timed(seconds, "model"):
        model, device, reason = _load_model(request, load)
    if loaded:
        loaded(model, reason)
    check_cancelled(cancelled, _WHAT)

    from ..segmenting import predict

    options = _options(request, uncertainty=request.uncertainty is not None)
    result = predict.segment(volume, model, options, progress, cancelled)
    check_cancelled(cancelled, _WHAT)
    if result.device != device:
        reason = "CPU: the GPU's memory is too small for this volume"
    seconds |= result.seconds
    with timed(seconds, "write"):
        _write(request, result, volume, model.card)
    seconds["total"] = time.perf_counter() - started
    report = _report(request, model.card, options, result)
    report |= {"device_reason": reason, "seconds": rounded(seconds), "notes": list(volume.notes)}
    if request.report:
        write_json(request.report, report)
    if request.page:
        write_result_page(request, volume, result, model.card)
    return Segmented(report, model, result)


def _check_outputs(request: Segment) -> None:
    check_result(request.input, request.labels, OUTPUT_SUFFIXES)
    if request.uncertainty:
        check_result(request.input, request.uncertainty, LABEL_SUFFIXES)
    if request.report:
        check_output(request.report)
    check_page(request.page)


def _read(request: Segment) -> Volume:
    volume = read_source(request.input, request.series)
    if not is_array(request.input):
        check_fits(request.labels, volume, DicomOutput(request.reference))
        if request.uncertainty is not None:
            check_fits(request.uncertainty, volume, kind=np.float32)
    return volume


def _load_model(request: Segment, load: Load | None) -> tuple["Model", "torch.device", str]:
    """The model, the device that it is on, and why it is this one."""
    from ..machine.device import choose_device  # only now: importing torch takes seconds
    from ..segmenting.model import load_model

    device, reason = choose_device(request.device)
    return (load or load_model)(request.model, device), device, reason


def _write(request: Segment, result: "Segmentation", volume: Volume, card: dict) -> None:
    if is_array(request.input):
        write_array(request.labels, result.labels.array[0])
        if result.uncertainty is not None:
            write_array(request.uncertainty, result.uncertainty.array[0])
        return

    from ..segmenting.report import algorithm

    dicom = DicomOutput(request.reference, request.dicom_seg, algorithm(card))
    write_labels(request.labels, result.labels, result.structures, volume, dicom)
    if result.uncertainty is not None:
        write_volume(request.uncertainty, result.uncertainty)


def _report(request: Segment, card: dict, options: "Options", result: "Segmentation") -> dict:
    from ..segmenting import report

    return {
        "input": name_of(request.input),
        "output": str(request.labels),
        **report.origin(card, options),
        **report.outcome(result),
    }


def segment_batch(
    request: SegmentBatch,
    progress: Callable[[float, int, str], None] | None = None,
    finished: Callable[[dict], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    stop: threading.Event | None = None,
) -> "Summary":
    """Segment many volumes; see ``batch.segment_folder`` for parameters and errors.

    :raises OutputError: the output is the name of a file.
    """
    from ..batch.segment_folder import segment_folder
    from ..machine.team import Team

    if suffix_of(request.output) in OUTPUT_SUFFIXES and not paths.is_dir(request.output, OutputError):
        raise OutputError(f"'{request.output}' is the name of a file.", "Give a folder for the outputs of a batch.")
    if request.page:
        make_folder(request.output)  # in which the page may lie
        check_page(request.page)
    summary = segment_folder(
        request.inputs, request.output, request.model, _options(request),
        device=request.device, suffix=request.format, dicom_seg=request.dicom_seg, progress=progress,
        finished=finished, cancelled=cancelled, stop=stop,
    )  # fmt: skip
    if request.page and Team.from_environment().rank == 0:
        report_batch(ReportBatch(folder=request.output, output=request.page, show_names=request.show_names))
    return summary


def series_files(request: SeriesFiles) -> list[str]:
    """The files of a DICOM study of a batch, in the order of their positions.

    :raises SeriesError: the series no longer exists.
    """
    from ..batch.studies import series_files as find

    return list(find(request.input, request.series))


def asks_for_many(inputs: list[Path], output: Path) -> bool:
    """Whether a command means a batch: several inputs, a list, a folder of volumes, or a folder as output."""
    if len(inputs) > 1 or inputs[0].suffix.lower() == ".csv" or paths.is_dir(output, OutputError):
        return True
    return paths.is_dir(inputs[0]) and suffix_of(output) not in OUTPUT_SUFFIXES


def _options(request: Segment | SegmentBatch, uncertainty: bool = False) -> "Options":
    from ..segmenting.predict import Options

    return Options(
        structures=request.structures, roi=request.roi, tta=request.tta, uncertainty=uncertainty,
        any_modality=request.any_modality, post_process=request.post_process,
    )  # fmt: skip
