"""Look at files and folders safely: every function answers, or raises a ``UserError`` with a remedy.

``pathlib`` turns some failures into "does not exist" and raises ``OSError`` for others; which ones, changes between
versions of Python. And reading a pipe in place of a file blocks the whole process. So the engine looks at files and
folders only through this module.
"""

import contextlib
import errno
import io
import os
import stat
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import BinaryIO

from .errors import InputFileError, SettingsError, UserError

PathLike = str | os.PathLike

_check: ContextVar[Callable[[], None]] = ContextVar("check", default=lambda: None)
_LONGEST_SHOWN = 500  # characters
_MISSING = (errno.ENOENT, errno.ENOTDIR)
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
_NO_HOME = "Set the environment variable SAM2ADAPT_HOME to a folder that you can write to."


def status(path: PathLike, error: type[UserError] = InputFileError) -> os.stat_result | None:
    """The result of ``os.stat``; None if the path does not exist.

    :param error: class of the error to raise.
    :raises UserError: the path cannot be examined: no permission for its folder, too long, links in a circle.
    """
    try:
        return os.stat(path)
    except OSError as failure:
        if failure.errno in _MISSING:
            return None
        raise error(*_cannot("examined", path, failure)) from failure
    except ValueError as failure:  # a null character
        raise error(f"{_shown(path)} is not a valid path: {failure}.", "Correct the path.") from failure


def exists(path: PathLike, error: type[UserError] = InputFileError) -> bool:
    """Whether a path exists.

    :raises UserError: as :func:`status`.
    """
    return status(path, error) is not None


def is_dir(path: PathLike, error: type[UserError] = InputFileError) -> bool:
    """Whether a path is a folder.

    :raises UserError: as :func:`status`.
    """
    state = status(path, error)
    return state is not None and stat.S_ISDIR(state.st_mode)


def is_file(path: PathLike, error: type[UserError] = InputFileError) -> bool:
    """Whether a path is a regular file: not a folder, pipe, socket or device.

    :raises UserError: as :func:`status`.
    """
    state = status(path, error)
    return state is not None and stat.S_ISREG(state.st_mode)


def kind_of(state: os.stat_result) -> str:
    """What a path is, for a sentence: "a folder", "a pipe", …; "" for a regular file."""
    return "" if stat.S_ISREG(state.st_mode) else _KINDS.get(stat.S_IFMT(state.st_mode), "not a file")


def check_file(path: PathLike) -> os.stat_result:
    """Refuse everything but a regular file; reading a pipe or device may never end.

    :raises InputFileError: the path does not exist, is not a regular file, or cannot be examined.
    """
    state = status(path)
    if state is None:
        raise InputFileError(f"{_shown(path)} does not exist.", "Check the spelling of its name and folder.")
    if kind := kind_of(state):
        remedy = "Give the file itself." if stat.S_ISDIR(state.st_mode) else "Give a file stored on a disk."
        raise InputFileError(f"{_shown(path)} is {kind}.", remedy)
    return state


class _Disk(io.FileIO):
    """What a buffer reads from: later failures are ``InputFileError``, too, as of a network drive that is gone."""

    def readinto(self, buffer: memoryview) -> int | None:
        with self._said():
            return super().readinto(buffer)

    def readall(self) -> bytes:
        with self._said():
            return super().readall()

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        with self._said():
            return super().seek(offset, whence)

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except OSError as failure:
            raise unreadable(self.name, failure) from failure


def open_file(path: PathLike) -> BinaryIO:
    """Open a regular file for reading.

    :raises InputFileError: as :func:`check_file`, there is no permission to read it, or, later, the disk fails.
    """
    check_file(path)
    try:
        return io.BufferedReader(_Disk(path))
    except OSError as failure:
        raise InputFileError(*_cannot("opened", path, failure)) from failure


def read_bytes(path: PathLike) -> bytes:
    """All bytes of a regular file.

    :raises InputFileError: as :func:`open_file`, or the disk fails.
    """
    with open_file(path) as file:
        return file.read()


def read_text(path: PathLike, encoding: str = "utf-8") -> str:
    """The text of a regular file.

    :raises InputFileError: as :func:`read_bytes`.
    :raises UnicodeDecodeError: it is not text in this encoding.
    """
    return read_bytes(path).decode(encoding)


def listing(folder: PathLike) -> list[Path]:
    """The entries of a folder, sorted by name; [] if the folder does not exist.

    :raises InputFileError: the folder cannot be read, or is not a folder.
    """
    if not exists(folder):
        return []
    try:
        names = os.listdir(folder)
    except (OSError, ValueError) as failure:
        raise unreadable(folder, failure) from failure
    return [Path(folder, name) for name in sorted(names)]


@contextlib.contextmanager
def interruptible(check: Callable[[], None]) -> Iterator[None]:
    """Let each walk through folders within the block call a function, which raises to end it: it may take hours."""
    before = _check.set(check)
    try:
        yield
    finally:
        _check.reset(before)


def walk(
    folder: PathLike, on_error: Callable[[Path, InputFileError], None] | None = None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """``os.walk`` with sorted names that reports folders which cannot be read; ``os.walk`` skips them silently.

    :param on_error: called with each folder that cannot be read; None: the first one ends the walk.
    :return: each folder, the names of its subfolders (remove one to skip it) and those of its files.
    :raises InputFileError: a folder cannot be read. Also what the function of :func:`interruptible` raises.
    """

    def refuse(failure: OSError) -> None:
        place = Path(failure.filename or folder)
        error = unreadable(place, failure)
        if on_error is None:
            raise error from failure
        on_error(place, error)

    for root, folders, names in os.walk(folder, onerror=refuse):
        _check.get()()
        folders.sort()
        yield Path(root), folders, sorted(names)


def expand(path: PathLike) -> Path:
    """Replace ``~`` and ``~name`` in a path by the user's folder.

    :raises InputFileError: the user does not exist or has no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as failure:
        remedy = "Give the whole path, beginning with the top folder."
        raise InputFileError(f"{_shown(path)} names the home folder of a user that this machine does not know.",
                             remedy) from failure  # fmt: skip


def user_home() -> Path:
    """The user's home folder.

    :raises SettingsError: neither the environment nor the machine knows it.
    """
    try:
        return Path.home()
    except RuntimeError as failure:
        raise SettingsError("This user has no home folder.", _NO_HOME) from failure


def utf8_name(path: PathLike, error: type[UserError] = InputFileError) -> str:
    """A path for C++ libraries (ITK, GDCM): in UTF-8, whatever the locale.

    SimpleITK aborts the whole process if a name is not valid UTF-8.

    :raises UserError: of class ``error``, if the path holds bytes that are not UTF-8.
    """
    try:
        name = os.fspath(path)
        return name.encode().decode() if os.name == "nt" else os.fsencode(name).decode()
    except UnicodeError as failure:
        raise error(f"The name of {_shown(path)} is not valid UTF-8.", "Rename the file or its folder.") from failure


def reason(failure: Exception) -> str:
    """The reason for a failure, in the words of the operating system."""
    return getattr(failure, "strerror", None) or str(failure) or type(failure).__name__


def unreadable(path: PathLike, failure: Exception) -> InputFileError:
    """The error to raise if reading a file failed."""
    return InputFileError(*_cannot("read", path, failure))


def _cannot(done: str, path: PathLike, failure: Exception) -> tuple[str, str]:
    """Message and remedy for a path that the system refuses."""
    number = getattr(failure, "errno", None)
    if number in (errno.EACCES, errno.EPERM):
        remedy = "Ask its owner for permission to read it and the folders above it."
    elif number == errno.ENAMETOOLONG:
        remedy = "Use a shorter name or path."
    elif number == errno.ELOOP:
        remedy = "Repair the link: it leads back to itself."
    else:
        remedy = "Check the path, and the disk or network drive that it is on."
    return f"{_shown(path)} cannot be {done}: {reason(failure)}.", remedy


def _shown(path: PathLike) -> str:
    """A path in quotes for a message; bytes that are not UTF-8 become a replacement character."""
    text = os.fspath(path).encode("utf-8", "surrogatepass" if os.name == "nt" else "surrogateescape")
    text = text.decode("utf-8", "replace")
    return f"'{text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + '…'}'"
