"""Safe looks at the file system: each gives an answer, or a ``UserError`` with a sentence and a remedy.

``pathlib`` answers "does not exist" to some failures and raises ``OSError`` for others, which ones changes between
versions of Python; and a pipe where a file is expected blocks the whole process. The engine therefore looks at files
and folders only through this module.
"""

import errno
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from .errors import InputFileError, SettingsError, UserError

PathLike = str | os.PathLike

_LONGEST_SHOWN = 500  # characters
_MISSING = (errno.ENOENT, errno.ENOTDIR)
_KINDS = {
    stat.S_IFDIR: "a folder", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
}  # fmt: skip
_NO_HOME = "Set the environment variable SAM2ADAPT_HOME to a folder that you may write to."


def status(path: PathLike, error: type[UserError] = InputFileError) -> os.stat_result | None:
    """What ``os.stat`` says of a path; None if nothing is there.

    :param error: class of the error to raise.
    :raises UserError: the path cannot be examined: no right to search its folder, too long, a circle of links.
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
    """Whether anything is at a path.

    :raises UserError: as :func:`status`.
    """
    return status(path, error) is not None


def is_dir(path: PathLike, error: type[UserError] = InputFileError) -> bool:
    """Whether a folder is at a path.

    :raises UserError: as :func:`status`.
    """
    found = status(path, error)
    return found is not None and stat.S_ISDIR(found.st_mode)


def is_file(path: PathLike, error: type[UserError] = InputFileError) -> bool:
    """Whether a regular file is at a path: not a folder, pipe, socket or device.

    :raises UserError: as :func:`status`.
    """
    found = status(path, error)
    return found is not None and stat.S_ISREG(found.st_mode)


def kind_of(found: os.stat_result) -> str:
    """What a path that is no regular file is, for a sentence: "a folder", "a pipe" …; "" for a regular file."""
    return "" if stat.S_ISREG(found.st_mode) else _KINDS.get(stat.S_IFMT(found.st_mode), "not a file")


def check_file(path: PathLike) -> os.stat_result:
    """Refuse everything but a regular file; reading a pipe or a device may never end.

    :raises InputFileError: nothing is there, it is not a regular file, or it cannot be examined.
    """
    found = status(path)
    if found is None:
        raise InputFileError(f"{_shown(path)} does not exist.", "Check the spelling of its name and folder.")
    if kind := kind_of(found):
        remedy = "Give the file itself." if stat.S_ISDIR(found.st_mode) else "Give a file stored on a disk."
        raise InputFileError(f"{_shown(path)} is {kind}.", remedy)
    return found


def open_file(path: PathLike) -> BinaryIO:
    """Open a regular file for reading.

    :raises InputFileError: as :func:`check_file`, or no right to read it.
    """
    check_file(path)
    try:
        return open(path, "rb")
    except OSError as failure:
        raise InputFileError(*_cannot("opened", path, failure)) from failure


def read_bytes(path: PathLike) -> bytes:
    """All bytes of a regular file.

    :raises InputFileError: as :func:`open_file`, or the disk fails.
    """
    with open_file(path) as file:
        try:
            return file.read()
        except OSError as failure:
            raise unreadable(path, failure) from failure


def read_text(path: PathLike, encoding: str = "utf-8") -> str:
    """The text of a regular file.

    :raises InputFileError: as :func:`read_bytes`.
    :raises UnicodeDecodeError: it is not text in this encoding.
    """
    return read_bytes(path).decode(encoding)


def listing(folder: PathLike) -> list[Path]:
    """What lies in a folder, in the order of names; nothing if there is no such folder.

    :raises InputFileError: the folder cannot be read, or is none.
    """
    if not exists(folder):
        return []
    try:
        names = os.listdir(folder)
    except (OSError, ValueError) as failure:
        raise unreadable(folder, failure) from failure
    return [Path(folder, name) for name in sorted(names)]


def walk(
    folder: PathLike, on_error: Callable[[Path, InputFileError], None] | None = None
) -> Iterator[tuple[Path, list[str], list[str]]]:
    """``os.walk`` with names in order, which does not skip a folder in silence because it cannot be read.

    :param on_error: called with each folder that cannot be read; without it, the first one ends the walk.
    :return: each folder, the names of its folders (remove one to leave it out) and those of its files.
    :raises InputFileError: a folder cannot be read.
    """

    def refuse(failure: OSError) -> None:
        place = Path(failure.filename or folder)
        error = unreadable(place, failure)
        if on_error is None:
            raise error from failure
        on_error(place, error)

    for root, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        yield Path(root), folders, sorted(names)


def expand(path: PathLike) -> Path:
    """A path with ``~`` and ``~name`` replaced by the user's folder.

    :raises InputFileError: there is no such user, or no home folder.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as failure:
        remedy = "Give the whole path, beginning with the top folder."
        raise InputFileError(f"{_shown(path)} names the home folder of a user that this machine does not know.",
                             remedy) from failure  # fmt: skip


def user_home() -> Path:
    """The user's home folder.

    :raises SettingsError: the environment does not name it, and this machine does not know the user.
    """
    try:
        return Path.home()
    except RuntimeError as failure:
        raise SettingsError("This user has no home folder.", _NO_HOME) from failure


def utf8_name(path: PathLike, error: type[UserError] = InputFileError) -> str:
    """A path as C++ libraries (ITK, GDCM) take it: in UTF-8, whatever the locale is.

    SimpleITK ends the whole process when a name is not valid UTF-8.

    :raises UserError: of class ``error``, if the path holds bytes that are not UTF-8.
    """
    try:
        name = os.fspath(path)
        return name.encode().decode() if os.name == "nt" else os.fsencode(name).decode()
    except UnicodeError as failure:
        raise error(f"The name of {_shown(path)} is not valid UTF-8.", "Rename the file or its folder.") from failure


def reason(failure: Exception) -> str:
    """Why the system refused, in the system's words."""
    return getattr(failure, "strerror", None) or str(failure) or type(failure).__name__


def unreadable(path: PathLike, failure: Exception) -> InputFileError:
    """What to raise where reading a file failed."""
    return InputFileError(*_cannot("read", path, failure))


def _cannot(done: str, path: PathLike, failure: Exception) -> tuple[str, str]:
    """Message and remedy for a path that the system refuses."""
    number = getattr(failure, "errno", None)
    if number in (errno.EACCES, errno.EPERM):
        remedy = "Ask its owner for the right to read it and the folders above it."
    elif number == errno.ENAMETOOLONG:
        remedy = "Use a shorter name or path."
    elif number == errno.ELOOP:
        remedy = "Mend the link, it leads back to itself."
    else:
        remedy = "Check the path, and the disk or network drive that it is on."
    return f"{_shown(path)} cannot be {done}: {reason(failure)}.", remedy


def _shown(path: PathLike) -> str:
    """A path in quotes that every message can hold; bytes that are no UTF-8 become a replacement character."""
    text = os.fspath(path).encode("utf-8", "surrogatepass" if os.name == "nt" else "surrogateescape")
    text = text.decode("utf-8", "replace")
    return f"'{text if len(text) <= _LONGEST_SHOWN else text[:_LONGEST_SHOWN] + '…'}'"
