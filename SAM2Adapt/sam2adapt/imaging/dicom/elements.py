"""Elements of a DICOM file as numbers and text, with one sentence where they are damaged."""

import contextlib
import struct
import zlib
from collections.abc import Iterator

import numpy as np
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.multival import MultiValue

from ...shared.errors import InputFileError

COPY_AGAIN = "Copy the file again from where it came."
# What pydicom raises on files that are cut, overwritten or made to do harm
DAMAGE = (InvalidDicomError, BytesLengthException, EOFError, ValueError, TypeError, KeyError, AttributeError,
          NotImplementedError, IndexError, OverflowError, MemoryError, RecursionError,
          struct.error, zlib.error)  # fmt: skip


@contextlib.contextmanager
def damage_reported(path: str, what: str) -> Iterator[None]:
    """Turn what pydicom raises about a damaged file into one sentence.

    :raises InputFileError: ``what`` cannot be read.
    """
    try:
        yield
    except DAMAGE as error:
        raise InputFileError(f"{path} is damaged: {what} cannot be read.", COPY_AGAIN) from error


def numbers_of(path: str, dataset: Dataset, keyword: str, count: int) -> tuple[float, ...]:
    """The values of an element, () where it is missing or empty.

    :raises InputFileError: other than ``count`` values, or some that are no numbers.
    """
    try:
        value = dataset.get(keyword)
        if value is None or value == "":
            return ()
        numbers = tuple(float(part) for part in (value if isinstance(value, MultiValue | list) else (value,)))
    except (ValueError, TypeError, OverflowError):
        numbers = ()
    else:
        if not numbers:
            return ()
    if len(numbers) != count or not np.isfinite(numbers).all():
        raw = dataset.get_item(keyword).value
        shown = raw.decode("ascii", "replace") if isinstance(raw, bytes) else raw
        raise InputFileError(f"{path} is damaged: its {keyword} is '{shown}', not {count} numbers.", COPY_AGAIN)
    return numbers


def whole_of(path: str, dataset: Dataset, keyword: str, missing: int | None = None) -> int:
    """The whole number that an element holds, or ``missing``.

    :raises InputFileError: it is missing and nothing stands in for it, or is no whole number.
    """
    numbers = numbers_of(path, dataset, keyword, 1)
    if not numbers and missing is not None:
        return missing
    if not numbers or numbers[0] != int(numbers[0]):
        raise InputFileError(f"{path} is damaged: it does not say its {keyword}.", COPY_AGAIN)
    return int(numbers[0])


def text_of(dataset: Dataset, keyword: str) -> str:
    """The text of an element, "" where it is missing."""
    value = dataset.get(keyword)
    return "" if value is None else str(value).strip(" \0")
