"""CT and MR told apart by grey levels, on real images and at the limits, with nothing but NumPy."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import slicerio
from sam2adapt.imaging.volume import read_volume
from sam2adapt.shared.modality import looks_like, modality_of

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


@pytest.mark.parametrize(
    ("tag", "colour", "expected"), [("", False, "CT"), ("MR", False, "MR"), ("CT", False, "CT"), ("", True, "RGB")]
)
def test_colour_and_dicom_tag_come_before_grey_levels(tag, colour, expected):
    assert modality_of(np.array([-1000, 40]), tag, colour) == expected


REAL = {
    "acdc/images/*_frame01.nii.gz": "MR",
    "la/images/*.nii.gz": "MR",
    "hippocampus/images/*.nii.gz": "MR",
    "ct_sample/ts_mr_3mm/image.nii.gz": "MR",  # -47 to 833: resampling a magnitude image makes negative values
    "ct_sample/ts_ct_3mm/image*.nii.gz": "CT",
    "ct_sample/chaos_ct/image.nii.gz": "CT",
    "ct_sample/ts_dicom/series": "CT",
    "curvas2d/images/*.png": "",  # CT, windowed to eight bits
    "spider2d/images/*.png": "",
    "cvc_clinicdb/images/*": "RGB",
}


@pytest.mark.parametrize("pattern", REAL)
def test_real_images(pattern, data_path):
    """The same of all voxels (training, segmenting) and of a sample of them (panel), without a DICOM tag."""
    paths = sorted(data_path.glob(pattern))
    assert paths, "the data set was not found"
    for path in paths[:10]:
        volume = read_volume(path)
        colour = volume.channels == 3
        sample = volume.array[0][tuple(slice(None, None, 1 + n // 64) for n in volume.array.shape[1:])]
        found = [modality_of(voxels, "", colour, volume.physical) for voxels in (volume.array, sample)]
        assert found == [REAL[pattern]] * 2, path


def test_needs_numpy_only():
    code = (
        "import sys, sam2adapt.shared.modality\n"
        "print(sorted({'torch', 'SimpleITK', 'jsonschema', 'safetensors', 'skimage', 'monai'} & sys.modules.keys()))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert result.stdout.strip() == "[]"
