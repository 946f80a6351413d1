"""Files that other computers sent, kept by their hash so that each is sent once, and deleted some days after their use.

They lie in ``home()/remote``, which only the user can enter: one host may serve many, each in a home of their own.
"""

import contextlib
import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from ...shared import files, paths
from ...shared.errors import SettingsError, UserError
from ...shared.protocol import CASES, MODELS
from ...shared.safety import kept
from ...shared.safety.private import Lock, private_folder

DAYS_VARIABLE = "SAM2ADAPT_KEPT_DAYS"
_DAYS = {MODELS: 30.0, CASES: 7.0}  # after the last use
DIGEST = re.compile("[0-9a-f]{64}")
_PART_DAYS = 1.0  # of a file that did not arrive whole


def remote_folder() -> Path:
    """Folder of what other computers sent (may not exist)."""
    return files.home() / "remote"


def kept_days(kind: str) -> float:
    """Days after its last use for which a file of a kind is kept.

    :raises SettingsError: the environment variable that sets it holds no number.
    """
    text = os.environ.get(DAYS_VARIABLE, "")
    try:
        return float(text) if text else _DAYS[kind]
    except ValueError as error:
        raise SettingsError(
            f"The environment variable {DAYS_VARIABLE} is '{text}'.", "Set it to a number of days."
        ) from error


class Store:
    """The files of one kind.

    :param folder: where they lie.
    """

    def __init__(self, folder: Path):
        self.folder = private_folder(folder)

    def path(self, digest: str) -> Path:
        """Path of the file with a SHA-256 (may not exist).

        :raises SettingsError: this is no SHA-256.
        """
        if not DIGEST.fullmatch(digest):
            raise SettingsError("A file is named by something that is not its hash.", "Update both sides.")
        # The suffix of model files: the engine tells them by it.
        return self.folder / f"{digest}{'.safetensors' if self.folder.name == MODELS else ''}"

    def has(self, digest: str) -> bool:
        """Whether a file is there; then its time begins anew."""
        path = self.path(digest)
        if not paths.is_file(path):
            return False
        with contextlib.suppress(OSError):
            os.utime(path, (time.time(), time_of(path)))  # the time of change is part of a warm model's key
        return True


def kept_store(kind: str) -> Store:
    """The store of ``MODELS`` or ``CASES``."""
    return Store(private_folder(remote_folder()) / kind)


def remove_expired() -> int:
    """Delete files and ended trainings whose time is over; gives their number.

    :raises SettingsError: as ``kept_days``.
    """
    count, limits = 0, {kind: time.time() - 86400 * kept_days(kind) for kind in (MODELS, CASES)}
    with contextlib.suppress(UserError, OSError):
        for kind, limit in limits.items():
            for path in paths.listing(remote_folder() / kind):
                state = paths.status(path)
                if state is None:  # another engine was faster
                    continue
                part_over = path.suffix == ".part" and state.st_mtime < time.time() - 86400 * _PART_DAYS
                if part_over or max(state.st_atime, state.st_ctime) < limit:
                    path.unlink(missing_ok=True)
                    count += 1
        for kind in (kept.SLICES, kept.NAMES):
            for path in paths.listing(kept.folder_of(kind)):
                if path.is_symlink() and not paths.exists(path):  # to a file that has expired
                    path.unlink()
        for kind in ("runs", "batches"):
            for folder in paths.listing(remote_folder() / kind):
                if _last_change(folder) < limits[CASES] and remove_if_idle(folder):
                    count += 1
    return count


def _last_change(folder: Path) -> float:
    """When anything in a folder of a training was last written, in seconds since 1970."""
    inside = [time_of(path) for path in paths.listing(folder) if paths.is_file(path)]
    return max(inside, default=time_of(folder))


def time_of(path: Path) -> float:
    """When a path was last changed, in seconds since 1970; 0 if it is gone."""
    state = paths.status(path)
    return 0.0 if state is None else state.st_mtime


def remove_if_idle(folder: Path) -> bool:
    """Remove the folder of a training, unless one is at work in it."""
    lock = Lock(folder / "lock")
    if not lock.held:
        return False
    shutil.rmtree(folder, ignore_errors=True)
    lock.release()
    return True


@dataclass(frozen=True)
class Held:
    """What there is of one kind."""

    kind: str
    count: int
    bytes: int


def held() -> list[Held]:
    """What this computer holds for others: ``cases``, ``models``, ``runs``, ``batches``, ``slices`` and ``names``."""
    folders = {kind: remote_folder() / kind for kind in (CASES, MODELS, "runs", "batches")}
    folders |= {kind: kept.folder_of(kind) for kind in (kept.SLICES, kept.NAMES)}
    return [Held(kind, *kept.measured(folder)) for kind, folder in folders.items()]


def delete_held() -> list[Held]:
    """Delete all of it but what a training at work needs; gives what is left."""
    for kind in ("runs", "batches"):
        for folder in paths.listing(remote_folder() / kind):
            remove_if_idle(folder)
    for kind in (CASES, MODELS):
        kept.delete_inside(remote_folder() / kind)
    for kind in (kept.SLICES, kept.NAMES):
        kept.delete_files(kind)
    return held()
