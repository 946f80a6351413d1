"""TIFF files: known to be whole, and read from a copy.

libtiff, which reads them for ITK and Pillow, maps a file into memory: one that its owner cuts short meanwhile would end
the process by a signal. Of a stack that was cut short it gives the pictures that are left, without a word.

Layout: TIFF 6.0, section 2; BigTIFF: https://www.awaresystems.be/imaging/tiff/bigtiff.html
"""

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from ...shared import paths
from ...shared.errors import InputFileError
from ...shared.files import output_error
from ...shared.safety.private import temporary_folder

_ORDERS = {b"II": "little", b"MM": "big"}
#: Of TIFF and BigTIFF, by the number after the order of bytes: where the place of the first picture stands, bytes of a
#: place, bytes of the number of entries, bytes of an entry.
_FORMS = {42: (4, 4, 2, 12), 43: (8, 8, 8, 20)}


@contextlib.contextmanager
def unmapped(path: Path) -> Iterator[Path]:
    """A file to read in the place of another: of a TIFF file a private copy for the block, else the file itself.

    :raises InputFileError: a TIFF file is truncated, or its list of pictures leads in a circle.
    :raises OutputError: the disk has no room for the copy.
    """
    with paths.open_file(path) as file, contextlib.ExitStack() as stack:
        place = path
        if _form(file.read(4)):
            place = stack.enter_context(temporary_folder()) / f"copy{path.suffix}"
            _copy(file, place, path)
            _check_pictures(place, path)
        yield place


def _form(start: bytes) -> tuple[str, tuple[int, int, int, int]] | None:
    """Order of bytes and layout of a file that begins so; None if it is no TIFF file."""
    order = _ORDERS.get(start[:2])
    form = _FORMS.get(int.from_bytes(start[2:4], order)) if order else None
    return (order, form) if form else None


def _copy(file: BinaryIO, target: Path, path: Path) -> None:
    file.seek(0)
    try:
        with open(target, "wb") as copy:
            shutil.copyfileobj(file, copy, 1 << 20)
    except OSError as error:
        raise output_error(target, error) from error


def _check_pictures(copy: Path, path: Path) -> None:
    """Follow the list of pictures to its end.

    :param path: for messages.
    """
    size, seen = os.path.getsize(copy), set()
    with open(copy, "rb") as file:
        order, (place, width, count_width, entry_width) = _form(file.read(4))

        def number(start: int, length: int) -> int:
            file.seek(start)
            if len(data := file.read(length)) < length:
                raise InputFileError(
                    f"{path} is truncated or damaged: the description of its picture {len(seen) + 1} should lie at byte"
                    f" {start}, and the file has {size} bytes.", "Copy or download the file again.",
                )  # fmt: skip
            return int.from_bytes(data, order)

        while start := number(place, width):
            if start in seen:
                raise InputFileError(
                    f"{path} is damaged: its picture {len(seen) + 1} is described at the same place as another, byte"
                    f" {start}.", "Save it again from the program that wrote it.",
                )  # fmt: skip
            seen.add(start)
            place = start + count_width + entry_width * number(start, count_width)
