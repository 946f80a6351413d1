"""The state of the studies in an output folder: a record and a claim for each study, and the manifest of all.

A record is a small file in the folder ``.sam2adapt`` of the output folder, written when the output is complete. The
records tell a restarted run, or another process that works on the same folder, what is done. A claim is a lock of the
operating system on a file there. It ends with the process that holds it, so a study whose process dies is free at once.
"""

import json
import uuid
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from filelock import FileLock, Timeout  # torch requires it

from ..imaging.volume import read_labels
from ..shared import paths
from ..shared.errors import OutputError, UserError
from ..shared.files import atomic_write, check_output, output_error, write_json
from ..shared.manifest_table import table
from ..shared.timing import rounded
from .studies import Study, hidden_folder

DONE, FAILED, OPEN = "done", "failed", "open"
_ROW = (
    "input", "series", "output", "status", "message", "seconds", "device", "slices", "structures", "model", "digest",
)  # fmt: skip


class Records:
    """The records of an output folder, for one run.

    :param job: what the outputs depend on, apart from the inputs: name and digest of the model, and settings.
    :param run: identifier of this run in all its processes; a study that fails is not tried twice in one run.
    :param suffix: of the outputs, for instance ".seg.nrrd".
    """

    def __init__(self, output: Path, job: dict, run: str, suffix: str):
        self.output, self.job, self.run, self.suffix = output, job, run, suffix
        self._held: dict[str, FileLock] = {}

    def file_of(self, study: Study) -> Path:
        """The file for the study's labels."""
        return self.output / f"{study.name}{self.suffix}"

    def read(self, study: Study) -> dict | None:
        """The record of a study; None if it has none for this input, model and settings."""
        try:
            record = json.loads(paths.read_text(self._path(study, ".json")))
        except (UserError, ValueError):
            return None
        expected = {"fingerprint": study.fingerprint, **self.job}
        return record if isinstance(record, dict) and expected.items() <= record.items() else None

    def is_settled(self, study: Study) -> bool:
        """Whether this run has nothing left to do for a study: its output is complete, or it failed in this run."""
        record = self.read(study)
        if record is None:
            return False
        if record["status"] == FAILED:
            return record["run"] == self.run
        return _is_whole(self.file_of(study), record["bytes"])

    def claim(self, study: Study) -> bool:
        """Claim a study; False if a process, perhaps this one, already has a claim on it.

        :raises OutputError: the file system has no locks.
        """
        lock = FileLock(self._path(study, ".lock"), thread_local=False)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return False
        except OSError as error:
            raise output_error(Path(lock.lock_file), error) from error
        self._held[study.name] = lock
        return True

    def was_interrupted(self, study: Study) -> bool:
        """Whether a process died while it worked on the study, or works on it now."""
        return paths.exists(self._path(study, ".lock"))

    def settle(self, study: Study, result: dict | UserError | Exception, seconds: dict[str, float]) -> dict:
        """Write the record of a study, which has failed if ``result`` is an error, and end the claim."""
        failed = isinstance(result, Exception)
        record = {
            "input": str(study.source), "series": study.series, "name": study.name, "output": None, "status": DONE,
            "message": "", "seconds": rounded(seconds), "device": None, "slices": None,
            "structures": [], **self.job, "fingerprint": study.fingerprint, "run": self.run,
        }  # fmt: skip
        if failed:
            kind = "" if isinstance(result, UserError) else f"{type(result).__name__}: "
            record |= {"status": FAILED, "message": f"{kind}{result}"}
        else:
            file = self.file_of(study)
            record |= {**result, "output": f"{study.name}{self.suffix}", "bytes": paths.check_file(file).st_size}
        write_json(self._path(study, ".json"), record)
        self.release(study)
        return record

    def release(self, study: Study | None = None) -> None:
        """End the claim on a study, or all claims of this process."""
        for name in [study.name] if study else list(self._held):
            lock = self._held.pop(name)
            lock.release()
            with suppress(OSError):  # on Windows, another process may have it open
                Path(lock.lock_file).unlink()

    def rows(self, studies: list[Study]) -> list[dict]:
        """The rows of the manifest; a study that this run did not reach has the status "open"."""
        blank = dict.fromkeys(_ROW) | {"status": OPEN, "message": "", "structures": [], "seconds": {}}
        rows = []
        for study in studies:
            known = {"input": str(study.source), "series": study.series, "output": None}
            record = self.read(study) if self.is_settled(study) else None
            row = blank | known | self.job | (record or {})
            rows.append({key: row[key] for key in _ROW})
        return rows

    def write_manifest(self, rows: list[dict]) -> None:
        """Write ``manifest.json`` and ``manifest.csv``, each by atomic rename."""
        counts = Counter(row["status"] for row in rows)
        content = {**self.job, "counts": {status: counts[status] for status in (DONE, FAILED, OPEN)}, "studies": rows}
        write_json(self.output / "manifest.json", content)
        with atomic_write(self.output / "manifest.csv") as file:
            file.write(table(rows).encode("utf-8-sig", "replace"))  # Excel recognises UTF-8 by this mark

    def _path(self, study: Study, suffix: str) -> Path:
        # The name of a study can be too long for a file name.
        name = sha256(f"{study.name}{self.suffix}".encode("utf-8", "surrogateescape")).hexdigest()[:32]
        return hidden_folder(self.output) / f"{name}{suffix}"


def known_names(output: Path) -> dict[tuple[str, str], str]:
    """Names of studies from earlier runs with any model, by input and series, if the input still exists."""
    names = {}
    for path in paths.listing(hidden_folder(output)):
        if path.suffix != ".json":
            continue
        with suppress(UserError, ValueError, LookupError, TypeError):  # a damaged record will be replaced
            record = json.loads(paths.read_text(path))
            if paths.exists(record["input"]):
                names[record["input"], record["series"]] = record["name"]
    return names


def begin_run(output: Path, restarted: bool) -> str:
    """Make the output folder and return the identifier of the run; a restarted run keeps its identifier.

    :raises OutputError: the folder cannot be made, or the manifest cannot be written into it.
    """
    file = hidden_folder(output) / "run"
    paths.utf8_name(output, OutputError)  # which ITK needs for each output
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(output, error) from error
    for name in ("manifest.json", "manifest.csv"):
        check_output(output / name)
    if restarted and paths.exists(file):
        return paths.read_text(file)
    run = uuid.uuid4().hex
    with atomic_write(file) as stream:
        stream.write(run.encode())
    return run


def clear_output(path: Path) -> None:
    """Make the folder of an output, remove leftovers of killed processes, and make sure that it can be written.

    :raises OutputError: the folder cannot be made, or the output cannot be written into it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for other in paths.listing(path.parent):
            if other.name.startswith(".") and other.name[9:] == path.name:  # as image_files.replacing names them
                other.unlink(missing_ok=True)
    except OSError as error:
        raise output_error(path, error) from error
    check_output(path, libraries=True)


def _is_whole(path: Path, size: int) -> bool:
    """Whether an output is complete. If its size has changed, read it: a user may have corrected it."""
    try:
        if paths.check_file(path).st_size == size:
            return True
        read_labels(path)
    except UserError:
        return False
    return True
