"""The inputs and results of a batch as paths: lists that spreadsheet programs write, and folders."""

import csv
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from . import paths
from .errors import InputFileError, SettingsError, UserError

_COLUMN = "input"


def listed(path: Path) -> Iterator[Path]:
    """The paths in a CSV file, relative to its folder; any other path itself.

    :raises InputFileError: the file cannot be read; ``SettingsError``: it has no column "input".
    """
    if path.suffix.lower() != ".csv":
        yield path
        return
    try:
        lines = paths.read_text(path, "utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputFileError(f"The list '{path}' cannot be read: {error}.", "Save it as CSV in UTF-8.") from error
    # Where the decimal sign is a comma, spreadsheet programs separate columns by semicolons.
    separator = ";" if lines and ";" in lines[0] and "," not in lines[0] else ","
    rows = csv.DictReader(lines, delimiter=separator)
    columns = {name.strip().lower(): name for name in rows.fieldnames or () if name}
    if _COLUMN not in columns:
        raise SettingsError(
            f"The list '{path}' has no column '{_COLUMN}'.", "Give this name to the column of files or folders."
        )
    yield from (path.parent / row[columns[_COLUMN]].strip() for row in rows if (row[columns[_COLUMN]] or "").strip())


def inputs_of(items: Iterable[str | Path], output: Path) -> list[Path]:
    """The absolute paths of files and folders, and of those that lists name.

    :raises InputFileError: a list cannot be read.
    :raises SettingsError: an input is in the output folder, or a list has no column "input".
    """
    output = Path(os.path.abspath(output))
    found = [Path(os.path.abspath(path)) for item in items for path in listed(Path(item))]
    if inside := next((path for path in found if path == output or output in path.parents), None):
        raise SettingsError(f"The input '{inside}' is in the output folder.", "Choose another output folder.")
    return found


def shared_folder(inputs: list[Path]) -> Path:
    """The deepest folder that holds all inputs.

    :raises SettingsError: there is none.
    """
    try:
        return Path(os.path.commonpath([path if _is_folder(path) else path.parent for path in inputs]))
    except ValueError as error:
        raise SettingsError("The inputs are on several drives.", "Run one batch for each drive.") from error


def _is_folder(path: Path) -> bool:
    try:
        return paths.is_dir(path)
    except UserError:  # it cannot be examined; reading it gives the error
        return False


def results_in(folder: Path) -> list[Path]:
    """The files of an output folder, without the manifest and the records of the batch.

    :raises InputFileError: it cannot be read.
    """
    found = [Path(root, name) for root, _, names in paths.walk(folder) for name in names]
    found = [path for path in found if path.parent != folder or path.stem != "manifest"]
    return [path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
