"""Volumes of requests: an image file or an array of another process comes in, files of the same kind go out.

A request's ``input`` is a path, or a dict that describes an array (see ``arrays.read_input``). In the first case
results are image files whose suffix names the format; in the second they are ``.npy`` files, whatever their names.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeGuard

from ..imaging.volume import Volume, read_volume
from ..shared.errors import OutputError
from ..shared.files import check_output
from ..shared.labels.image_names import suffix_of
from .arrays import read_input

Source = Path | dict[str, Any]


def is_array(source: Source) -> TypeGuard[dict[str, Any]]:
    """Whether a request's input is an array of another process."""
    return isinstance(source, dict)


def name_of(source: Source) -> str:
    """How a report names a request's input."""
    return source.get("name") or source["array"] if is_array(source) else str(source)


def read_source(source: Source, series: str | None = None) -> Volume:
    """Read the volume of a request.

    :param series: SeriesInstanceUID, for a folder with several DICOM series.
    :raises UserError: as ``volume.read_volume`` or ``arrays.read_input``.
    """
    return read_input(source) if is_array(source) else read_volume(source, series)


def check_result(source: Source, path: Path, suffixes: Sequence[str]) -> None:
    """Refuse a result that could not be written, before the work for it begins.

    :param suffixes: those of the formats that are possible if results are image files.
    :raises OutputError: as ``files.check_output``, or the suffix is none of these.
    """
    if is_array(source):
        check_output(path)
        return
    if suffix_of(path) not in suffixes:
        raise OutputError(
            f"'{path.name}' has no suffix of a format that can be written.", f"Use one of {', '.join(suffixes)}."
        )
    check_output(path, libraries=True)
