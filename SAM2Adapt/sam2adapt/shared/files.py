"""Folders of SAM2Adapt on this machine, and files that are complete or do not exist."""

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
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
    """Folder of slices that are kept for the models that continue others (may not exist)."""
    return home() / "replay"


def replay_file(digest: str) -> Path:
    """File with slices from the training of the model with this digest (may not exist)."""
    return replay_folder() / f"{digest.removeprefix('sha256:')}.npz"


def case_names_file(digest: str) -> Path:
    """File with the names of the cases that the model with this digest was trained on (may not exist)."""
    return home() / "cases" / f"{digest.removeprefix('sha256:')}.json"


def bundled_folder() -> Path:
    """Folder of the models that come with SAM2Adapt: inside the extension, else where pip puts data files."""
    beside = Path(__file__).resolve().parents[2] / "Resources" / "Models"
    return beside if paths.is_dir(beside) else Path(sys.prefix) / "share" / "sam2adapt" / "models"


#: What a model's training keeps for those that continue the model, by the words of the stream.
KEPT_WITH_MODELS = {"replay": replay_file, "names": case_names_file}


@contextlib.contextmanager
def atomic_write(path: Path, mode: int = 0o666, replace: bool = True) -> Iterator[BinaryIO]:
    """Open a temporary file beside ``path`` that replaces it when the block ends without an error.

    :param mode: permissions of the file, before the user's umask.
    :param replace: replace an existing file; False: leave it.
    :raises FileExistsError: the file exists and ``replace`` is False.
    :raises OutputError: the folder is missing or not writable, or the disk is full; no temporary file is left.
    """
    # Not tempfile: only the owner can read its files, which would make a shared model folder useless.
    temporary = _temporary(path)
    try:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(temporary, flags, mode), "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if replace:
            os.replace(temporary, path)
        else:
            _rename_to_new(temporary, path)
    except OSError as error:
        if isinstance(error, FileExistsError) and not replace:
            raise
        raise output_error(path, error) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink()


def _rename_to_new(temporary: Path, path: Path) -> None:
    """Give a file its name unless another has it, in one step, so that of two processes one is refused.

    :raises FileExistsError: another has it.
    """
    if os.name == "nt":
        os.rename(temporary, path)  # which never replaces there
        return
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: an empty file keeps the name free of others
        os.close(os.open(path, os.O_CREAT | os.O_EXCL))
        os.replace(temporary, path)


def link(source: Path, target: Path) -> None:
    """Put a file at another place as well, without a copy where the file system can.

    Then it stays there even if the original is deleted.

    :raises OutputError: it cannot be copied.
    """
    try:
        try:
            os.link(source, target)
        except OSError:
            shutil.copyfile(source, target)
    except OSError as error:
        raise OutputError(
            f"'{source}' could not be copied to '{target.parent}': {paths.reason(error)}.",
            "Check that the file is there, and free space on the disk.",
        ) from error


def write_json(path: Path, content: dict) -> None:
    """Write JSON; the file is complete or does not change.

    :raises OutputError: as ``atomic_write``.
    """
    with atomic_write(path) as file:
        text = json.dumps(content, indent=1, ensure_ascii=False)
        try:
            file.write(text.encode())
        except UnicodeEncodeError:  # file names that are not UTF-8 must be escaped
            file.write(json.dumps(content, indent=1).encode())


def output_error(path: Path, error: Exception) -> OutputError:
    """The error that says why a file could not be written."""
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return OutputError(f"The disk is full: '{path}' could not be written.", "Free some space and try again.")
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return OutputError(f"The folder '{path.parent}' does not exist.", "Make it, or choose another folder.")
    reason = paths.reason(error)
    if getattr(error, "errno", None) == errno.ENAMETOOLONG:
        return OutputError(f"'{path}' cannot be written: {reason}.", "Choose a shorter name.")
    return OutputError(f"'{path}' cannot be written: {reason}.", "Choose a folder that you may write to.")


def check_output(path: Path, libraries: bool = False) -> None:
    """Make sure, before the work begins, that an output can be written: create and delete a file beside it.

    :param libraries: ITK will write the output, which needs a name in UTF-8.
    :raises OutputError: the folder is missing or not writable; the name is too long, or ``libraries`` cannot write it;
        a folder, pipe or device has this name, or a file of another user that this one cannot replace.
    """
    path = Path(path)
    if libraries:
        paths.utf8_name(path, OutputError)
    folder = paths.status(path.parent, OutputError)
    if folder is None:
        raise OutputError(f"The folder '{path.parent}' does not exist.", "Make it, or choose another folder.")
    if not stat.S_ISDIR(folder.st_mode):
        raise OutputError(f"'{path.parent}' is not a folder.", "Choose another folder.")
    existing = paths.status(path, OutputError)
    if existing is not None and (kind := paths.kind_of(existing)):
        raise OutputError(f"'{path}' cannot be written: it is {kind}.", "Choose another name.")
    if existing is not None and _is_protected(existing, folder):
        raise OutputError(f"'{path}' belongs to another user and cannot be replaced.", "Choose another name.")
    temporary = _temporary(path)
    try:
        temporary.open("xb").close()
        temporary.unlink()
    except (OSError, ValueError) as error:
        raise output_error(path, error) from error


def _is_protected(file: os.stat_result, folder: os.stat_result) -> bool:
    """Whether only its owner can replace a file, as in a shared ``/tmp``."""
    user = os.geteuid() if hasattr(os, "geteuid") else 0
    return bool(folder.st_mode & stat.S_ISVTX) and user not in (0, file.st_uid, folder.st_uid)


def _temporary(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.part")


def make_folder(folder: Path) -> Path:
    """Make a folder and its parents.

    :raises OutputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"The folder '{folder}' cannot be made: {error.strerror or error}.",
            "Choose a folder that you can write to; the environment variable SAM2ADAPT_HOME sets SAM2Adapt's own.",
        ) from error
    return folder


def hash_file(path: Path, cancel: Callable[[], bool] | None = None) -> str:
    """SHA-256 of a file as 64 hex digits; the file is read in pieces.

    :raises InputFileError: the file does not exist or cannot be read.
    :raises CancelledError: ``cancel()`` returned true.
    """
    digest = hashlib.sha256()
    with paths.open_file(path) as file:
        try:
            while chunk := file.read(CHUNK):
                if cancel is not None and cancel():
                    raise CancelledError(f"The check of '{path.name}' was stopped.", "Start it again if you need it.")
                digest.update(chunk)
        except OSError as error:
            raise paths.unreadable(path, error) from error
    return digest.hexdigest()


def megabytes(size: int) -> str:
    """A size in bytes as text, for example ``156 MB`` (1 MB = 10^6 bytes)."""
    return f"{size / 1e6:.0f} MB" if size >= 1e7 else f"{size / 1e6:.1f} MB" if size >= 1e5 else f"{size} bytes"
