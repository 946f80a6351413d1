"""Folders of SAM2Adapt on this machine, and files that are either complete or not there."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from . import paths
from .errors import CancelledError, OutputError

CHUNK = 1 << 20


def home() -> Path:
    """Folder of the user's models and downloaded weights: ``SAM2ADAPT_HOME``, else ``~/.sam2adapt`` (may not exist)."""
    folder = os.environ.get("SAM2ADAPT_HOME")
    return paths.expand(folder) if folder else paths.user_home() / ".sam2adapt"


def models_folder() -> Path:
    """Folder of the user's models (may not exist)."""
    return home() / "models"


def bases_folder() -> Path:
    """Folder of downloaded base weights (may not exist)."""
    return home() / "bases"


def replay_folder() -> Path:
    """Folder of the slices kept of trainings (may not exist)."""
    return home() / "replay"


def replay_file(digest: str) -> Path:
    """File with the slices kept of the training of the model with this digest (may not exist)."""
    return replay_folder() / f"{digest.removeprefix('sha256:')}.npz"


def bundled_folder() -> Path:
    """Folder of the models that come with SAM2Adapt: inside the extension, else where pip puts data files."""
    beside = Path(__file__).resolve().parents[2] / "Resources" / "Models"
    return beside if paths.is_dir(beside) else Path(sys.prefix) / "share" / "sam2adapt" / "models"


@contextlib.contextmanager
def atomic_write(path: Path) -> Iterator[BinaryIO]:
    """Open a temporary file in the target's folder that becomes ``path`` when the block ends without an error.

    :raises OutputError: the folder is missing or not writable, or the disk is full; nothing is left behind.
    """
    # Not tempfile: its files are readable by their owner only, which would make a shared model folder useless.
    temporary = _temporary(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise output_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def write_json(path: Path, content: dict) -> None:
    """Write JSON by atomic rename.

    :raises OutputError: as ``atomic_write``.
    """
    with atomic_write(path) as file:
        text = json.dumps(content, indent=1, ensure_ascii=False)
        try:
            file.write(text.encode())
        except UnicodeEncodeError:  # names of files that are no UTF-8; the whole would not be JSON
            file.write(json.dumps(content, indent=1).encode())


def output_error(path: Path, error: Exception) -> OutputError:
    """Say why a file could not be written."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"The disk is full: '{path}' could not be written.", "Free some space and try again.")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return OutputError(f"The folder '{path.parent}' does not exist.", "Make it, or choose another folder.")
    reason = paths.reason(error)
    if getattr(error, "errno", None) == errno.ENAMETOOLONG:
        return OutputError(f"'{path}' cannot be written: {reason}.", "Choose a shorter name.")
    return OutputError(f"'{path}' cannot be written: {reason}.", "Choose a folder that you may write to.")


def check_output(path: Path, libraries: bool = False) -> None:
    """Refuse before the work an output that could not be written after it, by making and deleting a file beside it.

    :param libraries: the output is to be written by ITK, which needs a name in UTF-8.
    :raises OutputError: the folder is missing or not writable; the name is too long, or not one that ``libraries`` can
        write; a folder, pipe or device is there already, or a file of somebody else that may not be replaced.
    """
    path = Path(path)
    if libraries:
        paths.utf8_name(path, OutputError)
    folder = paths.status(path.parent, OutputError)
    if folder is None:
        raise OutputError(f"The folder '{path.parent}' does not exist.", "Make it, or choose another folder.")
    if not stat.S_ISDIR(folder.st_mode):
        raise OutputError(f"'{path.parent}' is not a folder.", "Choose another folder.")
    there = paths.status(path, OutputError)
    if there is not None and (kind := paths.kind_of(there)):
        raise OutputError(f"'{path}' cannot be written: it is {kind}.", "Choose another name.")
    if there is not None and _is_protected(there, folder):
        raise OutputError(f"'{path}' belongs to another user and cannot be replaced.", "Choose another name.")
    temporary = _temporary(path)
    try:
        temporary.open("xb").close()
        temporary.unlink()
    except (OSError, ValueError) as error:
        raise output_error(path, error) from error


def _is_protected(there: os.stat_result, folder: os.stat_result) -> bool:
    """Whether a file may be replaced by its owner only, as in a shared ``/tmp``."""
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    return bool(folder.st_mode & stat.S_ISVTX) and user not in (0, there.st_uid, folder.st_uid)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")


def make_folder(folder: Path) -> Path:
    """Make a folder and those above it.

    :raises OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder '{folder}' cannot be made: {error.strerror or error}.",
            "Choose a folder that you may write to; that of SAM2Adapt itself is set by SAM2ADAPT_HOME.",
        ) from error
    return folder


def hash_file(path: Path, cancel: Callable[[], bool] | None = None) -> str:
    """SHA-256 of a file as 64 hex digits, read in pieces.

    :raises InputFileError: there is no such file, or it cannot be read.
    :raises CancelledError: ``cancel()`` gave True.
    """
    digest = hashlib.sha256()
    with paths.open_file(path) as file:
        try:
            while chunk := file.read(CHUNK):
                if cancel is not None and cancel():
                    raise CancelledError(f"The check of '{path.name}' was stopped.", "Start it again when you want to.")
                digest.update(chunk)
        except OSError as error:
            raise paths.unreadable(path, error) from error
    return digest.hexdigest()


def megabytes(size: int) -> str:
    """A size in bytes for people to read, for instance ``156 MB`` (1 MB = 10^6 bytes)."""
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size} bytes"
