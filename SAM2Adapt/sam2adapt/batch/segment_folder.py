"""Segment many studies with one model, even thousands; a new run continues where a killed run stopped.

While the network works on one study, one thread reads the next and another writes the last, so at most three volumes
are in memory. Processes that torchrun started, or that a user started on the same output folder, share the studies:
each takes the next free one. At the end, a process waits for the others and takes over the study of one that dies.
"""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from ..imaging.volume import DicomOutput, Volume, check_fits, read_series_files, read_volume, write_labels
from ..machine.team import Team
from ..modelfiles.card import read_card
from ..modelfiles.catalog import find_model
from ..segmenting.model import Model, load_model
from ..segmenting.predict import Options, Segmentation, segment
from ..segmenting.report import algorithm, origin, outcome
from ..shared.errors import CancelledError, ClassesError, OutputError, UserError
from ..shared.labels.image_names import OUTPUT_SUFFIXES
from ..shared.timing import timed
from .manifest import FAILED, Records, begin_run, clear_output, known_names
from .studies import Study, find_studies

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LOOKS = 0.2  # at the studies of other processes


@dataclass
class Summary:
    """Result of a batch.

    :ivar rows: rows of the manifest, one for each study, in the order of the inputs.
    :ivar now: number of studies that this process segmented, or that failed in it.
    :ivar seconds: time of all studies, without the search for them.
    """

    output: Path
    rows: list[dict]
    now: int
    seconds: float

    def count(self, status: str) -> int:
        """Number of studies with a status: "done", "failed" or "open" (not reached, because the run was stopped)."""
        return sum(row["status"] == status for row in self.rows)

    @property
    def failures(self) -> list[dict]:
        """The rows of the studies that failed."""
        return [row for row in self.rows if row["status"] == FAILED]


def segment_folder(
    inputs: str | Path | Iterable[str | Path],
    output: str | Path,
    model: str | Path,
    options: Options | None = None,
    *,
    device: str = "auto",
    suffix: str = ".seg.nrrd",
    dicom_seg: str = "BINARY",
    progress: Callable[[float, int, str], None] | None = None,
    finished: Callable[[dict], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
    stop: threading.Event | None = None,
) -> Summary:
    """Segment all volumes of files, folders and CSV lists into a folder, with ``manifest.json`` and ``manifest.csv``.

    Existing outputs of the same input, model and settings are kept. A study that cannot be segmented gets a row with
    the reason, and the others go on.

    :param inputs: see ``studies.find_studies``.
    :param model: name or file.
    :param suffix: format of the outputs; ``dicom_seg``: kind of those in .dcm, see ``volume.DicomOutput``.
    :param progress: called with (studies done, including a fraction of the current one; all studies; current name).
    :param finished: called from another thread with the record of each study that this process has finished.
    :param cancelled: called between batches of slices; if true, the run ends at once and finished outputs stay.
    :param stop: set it to end the run after the studies in progress.
    :raises UserError: no study can be done: unknown model, no input, an output folder that cannot be written.
    :raises CancelledError: ``cancelled()`` returned true.
    """
    options, team, output = options or Options(), Team.from_environment(), Path(output)
    _check_format(suffix)
    card = read_card(find_model(model))
    job, dicom = _job(card, options, suffix, dicom_seg), DicomOutput(None, dicom_seg, algorithm(card))
    run, studies = _begin(team, inputs, output)
    records, (device, _) = Records(output, job, run, suffix), team.device(device)
    work = _Work(records, studies, lambda: load_model(model, device), options, dicom, stop or threading.Event())
    work.listen(progress, finished, cancelled)
    started = time.perf_counter()
    rows = _carry_out(work, team)
    return Summary(output, rows, work.finished_here, time.perf_counter() - started)


def _carry_out(work: "_Work", team: Team) -> list[dict]:
    """Do the work and return the manifest's rows; the manifest is written even if the work ends with an error."""
    try:
        work.do(team)
    finally:
        rows = work.records.rows(work.studies)
        if team.rank == 0:
            work.records.write_manifest(rows)
    return rows


def _begin(team: Team, inputs: str | Path | Iterable[str | Path], output: Path) -> tuple[str, list[Study]]:
    """Find the studies on rank 0; return the identifier of the run and the studies on every rank."""
    paths = [Path(inputs)] if isinstance(inputs, str | os.PathLike) else [Path(path) for path in inputs]

    def begin() -> dict:
        studies = find_studies(paths, output, known_names(output))
        return {"run": begin_run(output, team.restarts > 0), "studies": [study.to_json() for study in studies]}

    shared = team.share(begin)
    return shared["run"], [Study.from_json(entry) for entry in shared["studies"]]


def _job(card: dict, options: Options, suffix: str, dicom_seg: str) -> dict:
    """What the outputs depend on, apart from the inputs.

    :raises ClassesError: the model lacks a structure that the options name.
    """
    job = origin(card, options)
    if suffix == ".dcm":
        job["settings"]["dicom_seg"] = dicom_seg
    return job


def _check_format(suffix: str) -> None:
    if suffix not in OUTPUT_SUFFIXES:
        raise OutputError(
            f"There is no format '{suffix}'.", f"Use one of {', '.join(OUTPUT_SUFFIXES)}.", setting="format"
        )


@dataclass
class _Task:
    """A study that this process has claimed, on its way through the three threads."""

    place: int
    study: Study
    volume: Volume | None = None
    result: dict | Exception | None = None
    segmentation: Segmentation | None = None
    seconds: dict[str, float] = field(default_factory=dict)


class _Work:
    """The part of a batch that one process does."""

    def __init__(
        self,
        records: Records,
        studies: list[Study],
        load: Callable[[], Model],
        options: Options,
        dicom: DicomOutput,
        stop: threading.Event,
    ):
        self.records, self.studies, self.options, self.dicom, self.stop = records, studies, options, dicom, stop
        self.finished_here = 0
        self._load, self._model = load, None
        self._ended = threading.Event()

    def listen(self, progress, finished, cancelled) -> None:
        """Set the callbacks of ``segment_folder``."""
        self._progress, self._finished = progress or (lambda done, total, name: None), finished or (lambda record: None)
        self._cancelled = cancelled

    def do(self, team: Team) -> None:
        """Segment studies until this or another process has settled all of them."""
        tasks = self._tasks(sorted(self.studies, key=lambda study: self._late(study, team)))
        try:
            self._overlapped(tasks)
        finally:
            self.records.release()

    def _overlapped(self, tasks: Iterator[_Task]) -> None:
        """While the network works on a task, read the next one and write the last one."""
        with ThreadPoolExecutor(1, "reader") as reader, ThreadPoolExecutor(1, "writer") as writer:
            written: Future | None = None
            try:
                upcoming = reader.submit(next, tasks, None)
                while (task := upcoming.result()) and not self.stop.is_set():
                    upcoming = reader.submit(next, tasks, None)
                    self._segment(task)
                    if written:
                        written.result()
                    written = writer.submit(self._write, task)
                if written:
                    written.result()
                if not self.stop.is_set():
                    self._progress(len(self.studies), len(self.studies), "")
            finally:
                self._ended.set()

    def _late(self, study: Study, team: Team) -> tuple:
        """Sort key: studies in which a process died come last; with several processes, large ones come first."""
        return self.records.was_interrupted(study), -study.size if team.world_size > 1 else 0

    def _tasks(self, order: list[Study]) -> Iterator[_Task]:
        """Claim and read studies one by one, until every study is settled.

        Several processes go through the same studies, in rounds. For this process, a study is

        - settled: it has a record, so nothing is left to do.
        - free: claim it, read it, and yield it.
        - busy: another process has claimed it. Look again in the next round: then it is settled, or it is free, because
          that process has died and its claim has ended.

        Example with the studies a, b, c, where another process has claimed b: the first round yields a and c, the
        following rounds wait for b.
        """
        waiting = list(enumerate(order))
        while waiting:
            busy = []
            for place, study in waiting:
                if self.stop.is_set() or self._ended.is_set():
                    return
                if self.records.is_settled(study):
                    self._remove_dead_claim(study)
                elif not self.records.claim(study):
                    busy.append((place, study))
                elif self.records.is_settled(study):  # another process has settled it between the look and the claim
                    self.records.release(study)
                else:
                    yield self._read(_Task(place, study))
            waiting = busy
            if waiting:
                self._ended.wait(_SECONDS_BETWEEN_LOOKS)

    def _remove_dead_claim(self, study: Study) -> None:
        """Remove the claim of a process that died after it wrote its record but before it released the study."""
        if self.records.was_interrupted(study) and self.records.claim(study):
            self.records.release(study)

    def _read(self, task: _Task) -> _Task:
        with timed(task.seconds, "read"):
            try:
                if task.study.problem:
                    raise task.study.problem
                file, files = self.records.file_of(task.study), task.study.files
                clear_output(file)
                task.volume = read_series_files(files) if files else read_volume(task.study.source)
                check_fits(file, task.volume, self.dicom, many=True)
            except Exception as error:
                task.result = error
        return task

    def _segment(self, task: _Task) -> None:
        """Label the task's volume and free it; a failure becomes the task's result."""
        self._report(task, 0.0)
        if task.result is None:
            if self._model is None:
                self._model = self._load()
            try:
                task.segmentation = segment(
                    task.volume, self._model, self.options,
                    lambda done, total: self._report(task, done / total), self._cancelled,
                )  # fmt: skip
            except (CancelledError, ClassesError):  # all other studies would fail, too
                raise
            except Exception as error:
                task.result = error
            else:
                task.seconds |= task.segmentation.seconds
                # Decisions that reading took must not get lost among a thousand studies.
                task.result = outcome(task.segmentation) | {"message": " ".join(task.volume.notes)}
        task.volume = None

    def _report(self, task: _Task, fraction: float) -> None:
        almost = min(fraction, 0.99)  # a study is done only when it is written
        self._progress(task.place + almost, len(self.studies), task.study.name)

    def _write(self, task: _Task) -> None:
        if task.segmentation is not None:
            file = self.records.file_of(task.study)
            with timed(task.seconds, "write"):
                try:
                    write_labels(file, task.segmentation.labels, task.segmentation.structures, dicom=self.dicom)
                except UserError as error:
                    task.result = error
            task.segmentation = None
        if isinstance(task.result, Exception) and not isinstance(task.result, UserError):
            logger.error("A bug stopped the study '%s'.", task.study.source, exc_info=task.result)
        record = self.records.settle(task.study, task.result, task.seconds)
        self.finished_here += 1
        self._finished(record)
