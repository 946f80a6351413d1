"""Lists of volumes for a batch, as spreadsheet programs write them."""

import csv
from collections.abc import Iterator
from pathlib import Path

from . import paths
from .errors import InputFileError, SettingsError

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
