"""CT and MR told apart by grey levels, on real images and at the limits, with nothing but NumPy."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slicerio
from sam2adapt.modality import looks_like
from sam2adapt.volume import read_volume

CHEST = Path(str(slicerio.get_testdata_file("CTChest4.nrrd")))


@pytest.mark.parametrize(
    ("lowest", "kind", "expected"),
    [
        (-1024, np.int16, "CT"),
        (-501, np.int16, "CT"),
        (-500, np.int16, ""),
        (-50, np.int16, ""),
        (-49, np.int16, "MR"),
        (0, np.uint8, "MR"),
        (-1000.5, np.float64, "CT"),
        (-0.0, np.float32, "MR"),
        (np.nan, np.float32, ""),
    ],
)
def test_lowest_grey_level_decides(lowest, kind, expected):
    array = np.full((3, 4, 5), 200, kind)
    array[1, 2, 3] = lowest
    assert looks_like(array) == expected


def test_pictures_are_never_taken_for_mr():
    assert looks_like(np.arange(12).reshape(1, 3, 4), physical=False) == ""
    assert looks_like(np.array([[-1000, 40]]), physical=False) == "CT"


def test_nothing_is_said_of_an_empty_array():
    assert looks_like(np.empty((0, 4, 4))) == ""


def test_real_ct_also_by_every_tenth_voxel():
    array = read_volume(CHEST).array[0]
    assert looks_like(array) == looks_like(array[::10, ::10, ::10]) == "CT"
    assert looks_like(np.abs(array)) == "MR"


def test_needs_numpy_only():
    code = (
        "import sys, sam2adapt.modality\n"
        "print(sorted({'torch', 'SimpleITK', 'jsonschema', 'safetensors', 'skimage', 'monai'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert result.stdout.strip() == "[]"
