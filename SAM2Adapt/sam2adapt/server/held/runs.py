"""Trainings that other computers started here, each in a folder that stays until its model was fetched.

The folder holds links to the cases, the model and the engine's folder beside it as in any training, and

- ``run.json``: name, start, time limit in hours (None: it ends with the connection);
- ``lock``: locked by the process that trains;
- ``request.json``, ``control``, ``progress.json``, ``said.jsonl``, ``answer.json``: between a training that goes on
  without a connection and the engine that follows it, see ``detached.py``.
"""

import json
import re
import time
from pathlib import Path
from typing import Any

from ...shared import paths
from ...shared.errors import InputFileError, SettingsError, UserError
from ...shared.files import write_json
from ...shared.safety.private import Lock, lock_soon, private_folder
from .stores import remote_folder, time_of

_ID = re.compile("[0-9a-f]{16}")
WORKING, DONE, ENDED = "working", "done", "ended"


class HeldRun:
    """The folder of a training.

    :param run: its id, 16 hex digits.
    """

    def __init__(self, run: str):
        if not _ID.fullmatch(run):
            raise SettingsError("That is not the id of a training.", "Update both sides.")
        self.id, self.folder = run, remote_folder() / "runs" / run

    @property
    def bundle(self) -> Path:
        """The model file that the training writes."""
        return self.folder / "model.safetensors"

    @property
    def engine_folder(self) -> Path:
        """Folder of checkpoint and log."""
        return self.folder / "model.run"

    def is_present(self) -> bool:
        """Whether it is still there."""
        return paths.is_dir(self.folder)

    def begin(self, name: str, hours: float | None) -> None:
        """Make the folder, or begin anew in it."""
        private_folder(remote_folder())
        private_folder(self.folder.parent)
        private_folder(self.folder)
        for old in ("answer.json", "progress.json", "said.jsonl", "control"):
            (self.folder / old).unlink(missing_ok=True)
        write_json(self.folder / "run.json", {"name": name, "started": time.time(), "hours": hours})

    def facts(self) -> dict[str, Any]:
        """What a list shows: ``run``, ``name``, ``started`` (seconds since 1970), ``hours``, ``state``, ``progress``.

        :raises InputFileError: the folder is not one of a training.
        """
        try:
            known = json.loads(paths.read_text(self.folder / "run.json"))
            progress = self.read("progress.json") or {}
            return {
                "run": self.id, "name": known["name"], "started": known["started"], "hours": known["hours"],
                "state": self.state(), "progress": {key: progress.get(key) for key in ("done", "total", "bestDice")},
            }  # fmt: skip
        except (ValueError, LookupError, TypeError) as error:
            raise InputFileError(f"The training '{self.id}' is damaged.", "Delete what is kept there.") from error

    def lock(self) -> Lock:
        """The lock of the process that trains; not held if another trains."""
        return lock_soon(self.folder / "lock")

    def state(self) -> str:
        """``WORKING``, ``DONE`` (there is an answer), or ``ENDED`` without one."""
        lock = Lock(self.folder / "lock")
        if not lock.held:
            return WORKING
        lock.release()
        return DONE if paths.exists(self.folder / "answer.json") else ENDED

    def read(self, name: str) -> dict[str, Any] | None:
        """The content of a file that is replaced as a whole; None if there is none."""
        try:
            return json.loads(paths.read_text(self.folder / name))
        except (UserError, ValueError):
            return None

    def control(self, action: str) -> None:
        """Tell a training that goes on by itself what to do."""
        write_json(self.folder / "control", {"action": action})


def held_runs() -> list[HeldRun]:
    """All trainings, the newest first."""
    found = [HeldRun(path.name) for path in paths.listing(remote_folder() / "runs") if _ID.fullmatch(path.name)]
    return sorted(found, key=lambda run: -time_of(run.folder))
