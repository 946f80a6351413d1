"""Files and folders with voxels of patients: only their user can read them, and they are deleted after use.

On POSIX systems, their modes are 0600 and 0700. On Windows, modes have no effect, but other users cannot read the
user's profile folder, which contains SAM2Adapt's home and temporary folders.

A folder that must not outlive its process is *claimed*: a note in ``home()/claims`` names it, and the process holds a
lock of the operating system on the note. When the process ends, in whatever way, the lock ends, too. A process that
starts later takes the locks that no process holds, and removes the folders.
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from .. import paths
from ..errors import OutputError, UserError
from ..files import home, make_folder, output_error, replay_folder

if os.name == "nt":
    import msvcrt
else:
    import fcntl

FILE_MODE, FOLDER_MODE = 0o600, 0o700
_PREFIX = "sam2adapt-"  # of temporary folders
_OF_A_RUN = ("prepared", "features")  # folders in a run's folder that may be claimed
_TRIES, _BETWEEN = 100, 0.02  # seconds
_FAR = 1 << 30  # byte


def open_private(path: Path, flags: int = os.O_TRUNC) -> BinaryIO:
    """Open a file for writing that only this user can read, from its first byte on.

    :param flags: ``os.O_EXCL``: it must be new.
    :raises OSError: it cannot be made.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | getattr(os, "O_BINARY", 0) | flags, FILE_MODE)
    with contextlib.suppress(OSError):  # of a file that was there; some file systems know no modes
        if hasattr(os, "fchmod"):
            os.fchmod(descriptor, FILE_MODE)
    return os.fdopen(descriptor, "wb")


def private_folder(folder: Path) -> Path:
    """Make a folder that only this user can enter; one that is there already is closed to others.

    :raises OutputError: it cannot be made.
    """
    make_folder(folder.parent)
    try:
        folder.mkdir(FOLDER_MODE, exist_ok=True)
        with contextlib.suppress(OSError):  # not ours, or a file system without modes
            folder.chmod(FOLDER_MODE)
    except OSError as error:
        raise output_error(folder, error) from error
    return folder


class Lock:
    """A lock of the operating system on a file, which ends with the process that holds it.

    Slicer's process uses it, too, and has no ``filelock``. Windows was not tried.

    :ivar held: whether this process holds the lock; true if the file system has no locks.
    :ivar certain: whether the file system has locks.
    :raises OutputError: the file cannot be made.
    """

    def __init__(self, path: Path):
        self.path, self.certain = path, True
        try:
            self._file = path.open("a+b")
        except OSError as error:
            raise output_error(path, error) from error
        self.held = self._take()
        if not self.held:
            self._file.close()

    def _take(self) -> bool:
        try:
            if os.name == "nt":
                self._file.seek(_FAR)  # a locked byte can be neither read nor written: take one past the content
                msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)
            else:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Between opening and locking, its last holder may have deleted it; then this is a lock on nothing.
                if os.fstat(self._file.fileno()).st_nlink == 0:
                    return False
        except BlockingIOError:
            return False
        except PermissionError:  # what Windows says of a lock that another process has
            return False
        except OSError:
            self.certain = False
        return True

    def release(self, delete: bool = False) -> None:
        """Let others have it. :param delete: the file as well."""
        if os.name == "nt":  # where an open file cannot be deleted
            self._file.close()
        if delete:
            with contextlib.suppress(OSError):
                self.path.unlink()
        self._file.close()


def lock_soon(path: Path) -> Lock:
    """A lock, taken as soon as those who only look whether it is held let go; not held if another process keeps it."""
    for _ in range(_TRIES):
        if (lock := Lock(path)).held:
            break
        time.sleep(_BETWEEN)
    return lock


class Claim:
    """A folder that is removed by ``close``, or, if this process dies before, by the next one that calls ``sweep``."""

    def __init__(self, folder: Path):
        self.folder, self._lock = Path(os.path.abspath(folder)), None
        with contextlib.suppress(UserError, OSError):  # a home that cannot be written must not prevent the work
            note = private_folder(_notes()) / f"{hashlib.sha256(os.fsencode(self.folder)).hexdigest()[:32]}.json"
            self._lock = self._locked(note)
            with open_private(note) as file:
                file.write(json.dumps({"folder": os.fspath(self.folder)}).encode())

    @staticmethod
    def _locked(note: Path) -> "Lock":
        """The lock on a note, which a sweep may hold for a moment: of this folder, or of a former claim to it."""
        if (lock := lock_soon(note)).held:
            return lock
        raise OutputError(f"'{note}' is in use.", "Try again.")

    def close(self) -> None:
        """Remove the folder; may be called again."""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.leave()

    def leave(self) -> None:
        """Give up the claim: another process may claim the folder, or else the next ``sweep`` removes it."""
        if self._lock:
            self._lock.release(delete=not paths.exists(self.folder))
            self._lock = None


@contextlib.contextmanager
def claimed(*folders: Path) -> Iterator[None]:
    """Claim folders while the block runs, and remove them at its end, however it ends."""
    claims = [Claim(folder) for folder in folders]
    try:
        yield
    finally:
        for claim in claims:
            claim.close()


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A private folder for temporary files with voxels, gone after the block, or after a kill at the next start."""
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))  # mode 0700
    with claimed(folder):
        yield folder


def sweep() -> list[Path]:
    """Remove folders of dead processes, but never of live ones; return the removed folders."""
    removed = []
    with contextlib.suppress(UserError, OSError):
        for note in paths.listing(_notes()):
            removed += _swept(note)
    with contextlib.suppress(UserError, OSError):
        _sweep_parts()
    return removed


def _sweep_parts() -> None:
    """Remove slices that a process which died had half written."""
    folder = replay_folder()
    parts = [path for path in paths.listing(folder) if path.suffix == ".part"]
    if parts and (lock := Lock(folder / ".lock")).held:
        for path in parts if lock.certain else ():
            path.unlink()
        lock.release()


def _swept(note: Path) -> list[Path]:
    lock = Lock(note)
    if not lock.held or not lock.certain:  # without locks a live process cannot be told from a dead one
        if lock.held:
            lock.release()
        return []
    folder = _folder_of(note)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)
        if paths.exists(folder):
            lock.release()  # not ours to remove now, on a drive that is away perhaps: later then
            return []
    lock.release(delete=True)
    return [] if folder is None else [folder]


def _folder_of(note: Path) -> Path | None:
    """The folder that a note names; None if it is none that is ever claimed, so that a note can do no harm."""
    try:
        folder = Path(json.loads(paths.read_text(note))["folder"])
    except (UserError, ValueError, LookupError, TypeError):
        return None
    of_a_run = folder.name in _OF_A_RUN and folder.parent.suffix == ".run"
    if not (folder.name.startswith(_PREFIX) or of_a_run) or folder.is_symlink():
        return None
    return folder if paths.is_dir(folder) else None


def _notes() -> Path:
    return home() / "claims"
