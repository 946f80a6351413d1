"""An array in a ``.npy`` file, of which each access reads what it needs.

It is not memory-mapped: a file that becomes shorter while it is mapped, on a network drive for instance, would kill the
process.
"""

import os
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import InputFileError


def read_array_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Shape of a ``.npy`` file, whether its first index changes fastest, and its type; its values are next to be read.

    :raises ValueError: it is no such file.
    """
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


class StoredArray:
    """An array in C order, indexed like one of NumPy; what it gives is in memory.

    :param path: of the ``.npy`` file. Other processes get the path, and read it themselves.
    :raises InputFileError: it cannot be read, or is shorter than its header says; so do all accesses.
    """

    def __init__(self, path: Path | str):
        self.path = Path(path)
        try:
            with open(self.path, "rb") as file:
                self.shape, fortran, self.dtype = read_array_header(file)
                self._start = file.tell()
                size = os.fstat(file.fileno()).st_size
        except (OSError, ValueError) as error:
            raise self._error(str(error)) from error
        self._row = int(np.prod(self.shape[1:], dtype=np.int64)) * self.dtype.itemsize
        if fortran or not self.shape:
            raise self._error("it is not an array in rows")
        if size < self._start + self.nbytes:
            raise self._error("it is shorter than its header says")

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of all values."""
        return self.shape[0] * self._row

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> np.ndarray:
        first, rest = (key[0], key[1:]) if isinstance(key, tuple) else (key, ())
        if isinstance(first, int | np.integer):
            number = range(len(self))[first]
            return self._rows(number, number + 1)[0][rest]
        numbers = np.arange(len(self))[first]
        if len(numbers) and (np.diff(numbers) == 1).all():
            rows = self._rows(int(numbers[0]), int(numbers[-1]) + 1)
        else:
            rows = np.empty((len(numbers), *self.shape[1:]), self.dtype)
            for place, number in enumerate(numbers.tolist()):
                rows[place] = self._rows(number, number + 1)[0]
        return rows[(slice(None), *rest)] if rest else rows

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        array = self._rows(0, len(self))
        return array if dtype is None else array.astype(dtype, copy=False)

    def __reduce__(self) -> tuple:
        return StoredArray, (self.path,)

    def _rows(self, first: int, last: int) -> np.ndarray:
        rows = np.empty((last - first, *self.shape[1:]), self.dtype)
        try:
            with open(self.path, "rb", buffering=0) as file:
                file.seek(self._start + first * self._row)
                count = 0
                while count < rows.nbytes and (more := file.readinto(memoryview(rows).cast("B")[count:])):
                    count += more
        except OSError as error:
            raise self._error(str(error)) from error
        if count < rows.nbytes:
            raise self._error("it is shorter than it was")
        return rows

    def _error(self, reason: str) -> InputFileError:
        return InputFileError(
            f"'{self.path}' cannot be read: {reason}.", "Leave the files of a run alone while it works; start it again."
        )
