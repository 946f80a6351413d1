"""Folders of training runs, from which a run goes on after Slicer was closed or the engine was killed.

A run folder holds ``run.json``, the images and labels as long as they are needed, the model file ``model.safetensors``
at the end, and beside it the engine's ``model.run`` with checkpoint, log and curves.
"""

import contextlib
import csv
import json
import re
import shutil
import time
from pathlib import Path

from sam2adapt.shared.errors import InputFileError, RemoteError, UserError
from sam2adapt.shared.files import atomic_write, home, make_folder, output_error
from sam2adapt.shared.safety.private import Lock
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Remote import Place, Trainings
from SAM2AdaptLib.Training.CaseFiles import IMAGES, LABELS

FORMAT = 1
WRITING, TRAINING, DONE = "writing", "training", "done"
_DESCRIPTION, _LOCK = "run.json", "lock"
_DICE = "dice "  # begins the names of columns of the log, the structure ends them


class Run:
    """A run folder that only this Slicer uses, until ``release``.

    :ivar folder: pathlib.Path.
    :ivar content: what run.json says: "name", "state" ("writing", "training" or "done"), "created", "request" (the
      parameters for the engine without paths), "cases", "classes"; a run that ended also has "error" or "result".
    :param content: for a new run.
    :raises InputFileError: another Slicer uses it, or run.json is not one of SAM2Adapt.
    """

    def __init__(self, folder, content=None):
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputFileError(
                _("There is no training run '{folder}'.").format(folder=self.folder), _("Start a new training.")
            )
        self._lock = Lock(self.folder / _LOCK)
        if not self._lock.held:
            raise InputFileError(
                _("The run '{name}' is used by another Slicer.").format(name=self.folder.name),
                _("Wait until it has ended, or go on with it there."),
            )
        try:
            if content:
                _write(self.folder, content)
            self.content = content or _read(self.folder)
        except BaseException:
            self.release()
            raise

    @property
    def name(self):
        """Name of the model that is trained."""
        return self.content["name"]

    @property
    def bundle(self):
        """Path of the model file, which is there when the run is done."""
        return self.folder / "model.safetensors"

    @property
    def engineFolder(self):
        """Folder in which the engine keeps checkpoint and log."""
        return self.folder / "model.run"

    @property
    def hasCheckpoint(self):
        """Whether there is something from which the engine can go on, if only the prepared network."""
        return (self.engineFolder / "checkpoint.pt").is_file() or self.elsewhere is not None

    @property
    def elsewhere(self):
        """The place of the engine on another computer that has the checkpoint, None if it is here."""
        known = Trainings.note(self.folder)
        return known and known["place"]

    @property
    def epochs(self):
        """Number of finished epochs."""
        return sum(row["epoch"] > 0 for row in self.history()) if self.hasCheckpoint else 0

    def history(self):
        """What the engine's log says of each finished epoch, and as epoch 0 of the network before the first step.

        :return: list of dicts with "epoch", "loss" (None for epoch 0) and "dice": dict from structure to Dice, "mean"
          among them, {} where nothing was validated.
        """
        try:
            text = (self.engineFolder / "log.csv").read_text(encoding="utf-8")
        except FileNotFoundError:
            return []
        return [_epoch(row) for row in csv.DictReader(text.splitlines())]

    def update(self, **changes):
        """Change run.json.

        :raises OutputError: it cannot be written.
        """
        self.content |= changes
        _write(self.folder, self.content)

    def request(self):
        """Parameters of the engine's ``train`` for this run, from where it stands now.

        :raises RemoteError: it was begun on another computer, and the engine is on this one.
        """
        place = Place.chosen()
        if self.elsewhere is not None and not place.isElsewhere:
            raise RemoteError(
                _("The training was begun on '{place}'.").format(place=self.elsewhere),
                _("Choose '{place}' to resume it.").format(place=self.elsewhere),
                setting="engine_on",
            )
        paths = {"images": self.folder / IMAGES, "labels": self.folder / LABELS, "output": self.bundle}
        if self.content["request"].get("preview"):
            paths["preview"] = self.folder / "preview.npy"
        texts = {key: str(path) for key, path in paths.items()}
        request = {**self.content["request"], **texts, "name": self.name, "resume": self.hasCheckpoint}
        if not place.isElsewhere:
            request.pop(Trainings.HOURS, None)
        return request

    def removeData(self):
        """Remove the copies of images and labels, which may hold patient data, when the run is over."""
        for name in (IMAGES, LABELS):
            shutil.rmtree(self.folder / name, ignore_errors=True)
        (self.folder / "preview.npy").unlink(missing_ok=True)

    def discard(self):
        """Remove the whole folder."""
        self.release()
        shutil.rmtree(self.folder, ignore_errors=True)

    def release(self):
        """Let others use the folder; nothing of this object may be used afterwards but its attributes."""
        if self._lock:
            self._lock.release()
            self._lock = None


def create(name):
    """A new Run in the state "writing".

    :param name: name of the model.
    :raises OutputError: the folder cannot be made.
    """
    base = re.sub(r"[^\w-]+", "_", name).strip("_")[:60] or "model"
    parent = make_folder(runsFolder())
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S")
    names = (f"{base}-{stamp}" + (f"_{copy}" if copy > 1 else "") for copy in range(1, 1000))
    folder = next(parent / name for name in names if not (parent / name).exists())
    try:
        folder.mkdir(mode=0o700)
    except OSError as error:
        raise output_error(folder, error) from error
    created = time.strftime("%Y-%m-%dT%H:%M:%S")
    return Run(folder, {"format": FORMAT, "name": name, "state": WRITING, "created": created, "request": {}})


def runsFolder():
    """Folder of all runs (may not exist)."""
    return home() / "runs"


def unfinishedRuns():
    """Folders of the runs that can go on and that no Slicer works on, the newest first.

    What a Slicer that was killed while it wrote the cases left behind is removed.

    :return: list of dicts with "folder" (pathlib.Path), "name", "created", "epochs" (finished ones), "cases", and
      "place" of the engine on another computer where it goes on, None for this one.
    """
    runs = []
    folders = runsFolder().glob(f"*/{_DESCRIPTION}") if runsFolder().is_dir() else ()
    for path in folders:
        with contextlib.suppress(UserError):  # in use, not ours, or not to be written to
            run = Run(path.parent)
            try:
                if run.content["state"] == TRAINING:
                    runs.append(_summary(run))
                elif run.content["state"] == WRITING:
                    run.discard()
            finally:
                run.release()
    return sorted(runs, key=lambda entry: entry["created"], reverse=True)


def discard(folder):
    """Remove an unfinished run with all that it has reached.

    :raises InputFileError: another Slicer works on it.
    """
    Run(folder).discard()


def _epoch(row):
    numbers = {name: float(value) for name, value in row.items() if value}
    dice = {name.removeprefix(_DICE): value for name, value in numbers.items() if name.startswith(_DICE)}
    return {"epoch": int(numbers["epoch"]), "loss": numbers.get("loss"), "dice": dice}


def _summary(run):
    return {
        "folder": run.folder,
        "name": run.name,
        "created": run.content["created"],
        "epochs": run.epochs,
        "cases": len(run.content["cases"]),
        "place": run.elsewhere,
    }


def _read(folder):
    try:
        content = json.loads((folder / _DESCRIPTION).read_text(encoding="utf-8"))
        if content["format"] == FORMAT:
            return content
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputFileError(
        _("'{folder}' is not a training run that can be resumed.").format(folder=folder), _("Start a new training.")
    )


def _write(folder, content):
    with atomic_write(folder / _DESCRIPTION) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode())
