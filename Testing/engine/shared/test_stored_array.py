"""Arrays in files are indexed like those in memory, and a file that becomes shorter is an error in a sentence."""

import os
import pickle

import numpy as np
import pytest
from sam2adapt.shared.errors import InputFileError
from sam2adapt.shared.safety.stored_array import StoredArray

KEYS = (
    0, -1, np.int64(2), slice(None), slice(1, 3), slice(None, None, -2), [1, 2], [3, 0, 0], np.array([0, 2]), (2, 1),
    ([0, 3], 1), (slice(1, 3), slice(None), 0), np.array([True, False, True, False]), np.array([], int),
)  # fmt: skip


@pytest.fixture
def array(tmp_path):
    array = np.random.default_rng(0).random((4, 3, 5), np.float32).astype(np.float16)
    np.save(tmp_path / "array.npy", array)
    return array, StoredArray(tmp_path / "array.npy")


def test_it_gives_what_the_array_gives(array):
    array, stored = array
    assert (stored.shape, stored.ndim, stored.dtype, len(stored), stored.nbytes) == ((4, 3, 5), 3, np.float16, 4, 120)
    for key in KEYS:
        np.testing.assert_array_equal(stored[key], array[key], str(key))
    np.testing.assert_array_equal(np.ascontiguousarray(stored), array)
    assert np.asarray(stored, np.float32).dtype == np.float32
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(stored))[1], array[1])
    with pytest.raises(IndexError):
        stored[4]


def test_a_file_that_becomes_shorter_is_an_error(array):
    _, stored = array
    os.truncate(stored.path, 200)
    assert stored[0].shape == (3, 5)
    for work in (lambda: stored[3], lambda: np.asarray(stored), lambda: StoredArray(stored.path)):
        with pytest.raises(InputFileError, match="shorter"):
            work()
    stored.path.unlink()
    with pytest.raises(InputFileError, match="No such file"):
        stored[0]
