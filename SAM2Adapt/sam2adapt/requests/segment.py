"""Carries out ``Segment``, ``SegmentBatch`` and ``SeriesFiles``."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..imaging.image_files import suffix_of
from ..imaging.volume import DicomOutput, Volume, check_fits, read_volume, write_labels, write_volume
from ..modelfiles.catalog import find_model
from ..shared import paths
from ..shared.errors import CancelledError, OutputError
from ..shared.files import check_output, write_json
from ..shared.labels.image_names import LABEL_SUFFIXES, OUTPUT_SUFFIXES
from ..shared.requests.actions import Segment, SegmentBatch, SeriesFiles
from .arrays import read_input, write_array

if TYPE_CHECKING:
    import torch

    from ..batch.segment_folder import Summary
    from ..segmenting.model import Model
    from ..segmenting.predict import Options, Segmentation

#: Gives a model of a name or file on a device.
Load = Callable[[str, "torch.device"], "Model"]


@dataclass
class Segmented:
    """What a request came to.

    :ivar report: plain data: ``input``, ``output``, ``model``, ``digest``, ``settings``, ``device``,
        ``device_reason``, ``slices``, ``structures`` (id, name, voxels, ml), ``seconds``, by part, and ``notes``,
        sentences about what had to be decided on reading.
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

    :param load: gives the model; without it, it is read from its file.
    :param loaded: is told the model, and on what device it is and why.
    :param progress: called with (slices done, slices in all).
    :raises UserError: as ``predict.segment``; ``OutputError``, before anything is read: an output cannot be written.
    """
    files = _Arrays(request) if isinstance(request.input, dict) else _Files(request)
    files.check()
    if request.report:
        check_output(request.report)
    started = time.perf_counter()
    volume = files.read()
    seconds = {"read": time.perf_counter() - started}
    find_model(request.model)

    from ..machine.device import choose_device  # torch: not before all that was asked for is known to be possible
    from ..segmenting import predict, report
    from ..segmenting.model import load_model

    device, reason = choose_device(request.device)
    model = (load or load_model)(request.model, device)
    seconds["model"] = time.perf_counter() - started - seconds["read"]
    if loaded:
        loaded(model, reason)
    _check(cancelled)
    options = _options(request, uncertainty=request.uncertainty is not None)
    result = predict.segment(volume, model, options, progress, cancelled)
    _check(cancelled)
    if result.device != device:
        reason = "CPU: the GPU's memory is too small for this volume"
    before = time.perf_counter()
    files.write(result, volume, report.algorithm(model.card))
    ended = time.perf_counter()
    seconds |= {**result.seconds, "write": ended - before, "total": ended - started}
    content = {
        "input": files.name, "output": str(request.labels), **report.origin(model.card, options),
        **report.outcome(result), "device_reason": reason, "seconds": report.rounded(seconds),
        "notes": list(volume.notes),
    }  # fmt: skip
    if request.report:
        write_json(request.report, content)
    return Segmented(content, model, result)


def segment_batch(
    request: SegmentBatch,
    progress: Callable[[float, int, str], None] | None = None,
    finished: Callable[[dict], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    stop: threading.Event | None = None,
) -> "Summary":
    """Segment many volumes; parameters and errors as of ``batch.segment_folder``.

    :raises OutputError: the output is the name of one file.
    """
    from ..batch.segment_folder import segment_folder

    if suffix_of(request.output) in OUTPUT_SUFFIXES and not paths.is_dir(request.output, OutputError):
        raise OutputError(f"'{request.output}' is the name of one file.", "Give a folder for the outputs of a batch.")
    return segment_folder(
        request.inputs, request.output, request.model, _options(request),
        device=request.device, suffix=request.format, dicom_seg=request.dicom_seg, progress=progress,
        finished=finished, cancelled=cancelled, stop=stop,
    )  # fmt: skip


def series_files(request: SeriesFiles) -> list[str]:
    """The files of a batch's DICOM study in the order of their positions.

    :raises SeriesError: there is no such series any more.
    """
    from ..batch.studies import series_files as find

    return list(find(request.input, request.series))


def asks_for_many(inputs: list[Path], output: Path) -> bool:
    """Whether inputs and output of a command mean a batch: several, a list, a folder of volumes, or into a folder."""
    if len(inputs) > 1 or inputs[0].suffix.lower() == ".csv" or paths.is_dir(output, OutputError):
        return True
    return paths.is_dir(inputs[0]) and suffix_of(output) not in OUTPUT_SUFFIXES


def _options(request: Segment | SegmentBatch, uncertainty: bool = False) -> "Options":
    from ..segmenting.predict import Options

    return Options(
        structures=request.structures, roi=request.roi, tta=request.tta, uncertainty=uncertainty,
        any_modality=request.any_modality, post_process=request.post_process,
    )  # fmt: skip


def _check(cancelled: Callable[[], bool]) -> None:
    if cancelled():
        raise CancelledError("The segmentation was cancelled.", "Nothing was changed.")


class _Files:
    """Image files in, label maps out."""

    def __init__(self, request: Segment):
        self.request, self.name = request, str(request.input)

    def check(self) -> None:
        """Refuse before the work what could not be written after it."""
        for path, suffixes in ((self.request.labels, OUTPUT_SUFFIXES), (self.request.uncertainty, LABEL_SUFFIXES)):
            if path is None:
                continue
            if suffix_of(path) not in suffixes:
                raise OutputError(
                    f"'{path.name}' has no suffix of a format that can be written.",
                    f"Use one of {', '.join(suffixes)}.",
                )
            check_output(path, libraries=True)

    def read(self) -> Volume:
        volume = read_volume(self.request.input, self.request.series)
        check_fits(self.request.labels, volume, DicomOutput(self.request.reference))
        if self.request.uncertainty is not None:
            check_fits(self.request.uncertainty, volume, kind=np.float32)
        return volume

    def write(self, result: "Segmentation", volume: Volume, algorithm: tuple[str, str]) -> None:
        dicom = DicomOutput(self.request.reference, self.request.dicom_seg, algorithm)
        write_labels(self.request.labels, result.labels, result.structures, volume, dicom)
        if result.uncertainty is not None:
            write_volume(self.request.uncertainty, result.uncertainty)


class _Arrays:
    """Arrays of another process in and out, as ``.npy`` files (K, J, I)."""

    def __init__(self, request: Segment):
        self.request, self.name = request, request.input.get("name") or request.input["array"]

    def check(self) -> None:
        for path in filter(None, (self.request.labels, self.request.uncertainty)):
            check_output(path)

    def read(self) -> Volume:
        return read_input(self.request.input)

    def write(self, result: "Segmentation", volume: Volume, algorithm: tuple[str, str]) -> None:
        write_array(self.request.labels, result.labels.array[0])
        if result.uncertainty is not None:
            write_array(self.request.uncertainty, result.uncertainty.array[0])
