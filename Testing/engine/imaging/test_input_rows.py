"""Reports of users as files: results carry the place of what was read, and labels are read as they are meant."""

import re
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

sys.path.insert(0, str(Path(__file__).parent))
from file_samples import AFFINE, RAS, SIZE, SPACING, chest, nifti, nrrd
from input_cells import DICOM, FILES
from input_rows import ROWS, named
from sam2adapt.evaluation.cases import Case
from sam2adapt.evaluation.load_case import load_case
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import read_labels, read_volume, same_geometry, write_labels, write_volume
from sam2adapt.shared.errors import GeometryError, InputFileError


@pytest.mark.parametrize("row", [row for row in ROWS if row.run], ids=lambda row: row.what)
def test_a_row_gives_what_is_right(row):
    assert re.search(row.says, row.now(), re.DOTALL), row.now()


def test_every_row_is_a_cell_or_is_run():
    cells = {named(cell) for cell in (*DICOM, *FILES)}
    assert all(row.run or (row.cells and cells.issuperset(row.cells)) for row in ROWS)


LUNG = [describe(1, "lung")]
MOVED = AFFINE + np.pad([[0.0], [47.0], [0.0]], ((0, 1), (3, 0)))


def labels_of(volume):
    return volume.with_array((volume.array[0] < -500).astype(np.uint8))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize(
    ("sform", "qform", "codes"),
    [(AFFINE, AFFINE, (1, 1)), (MOVED, AFFINE, (2, 1)), (AFFINE, MOVED, (1, 2)), (None, None, (0, 0)),
     (None, AFFINE, (0, 1)), (AFFINE, None, (4, 0))],
)  # fmt: skip
def test_results_carry_sform_qform_and_codes_of_the_input(tmp_path, version, suffix, sform, qform, codes):
    """MONAI, FSL and nibabel lay the result over the image by these, whichever of them they prefer."""
    volume = read_volume(nifti(tmp_path / "a.nii.gz", version=version, sform=sform, qform=qform, codes=codes))
    write_labels(tmp_path / f"labels{suffix}", labels_of(volume), LUNG, volume)
    image, result = nib.load(tmp_path / "a.nii.gz"), nib.load(tmp_path / f"labels{suffix}")
    np.testing.assert_array_equal(result.affine, image.affine)
    for name in ("sform_code", "qform_code", "srow_x", "srow_y", "quatern_b", "qoffset_x", "qoffset_y"):
        np.testing.assert_array_equal(result.header[name], image.header[name])
    np.testing.assert_array_equal(result.header["pixdim"][:4], image.header["pixdim"][:4])
    np.testing.assert_array_equal(np.asarray(result.dataobj), np.asarray(image.dataobj) < -500)
    millilitres = np.asarray(result.dataobj).sum() * abs(np.linalg.det(result.affine[:3, :3])) / 1000
    assert millilitres == pytest.approx((chest() < -500).sum() * np.prod(SPACING) / 1000, rel=1e-4)
    assert same_geometry(read_labels(tmp_path / f"labels{suffix}"), volume, 1e-3)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha"])
def test_other_libraries_see_the_place_that_was_written(tmp_path, suffix):
    volume = read_volume(nrrd(tmp_path / "a.nrrd"))
    write_labels(tmp_path / f"labels{suffix}", labels_of(volume), LUNG, volume)
    image = sitk.ReadImage(str(tmp_path / f"labels{suffix}"))
    np.testing.assert_allclose(image.GetOrigin(), AFFINE[:3, 3], atol=1e-3)
    np.testing.assert_allclose(image.GetSpacing(), SPACING, rtol=1e-6)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), chest() < -500)
    if suffix.startswith(".nii"):
        result = nib.load(tmp_path / f"labels{suffix}")
        np.testing.assert_allclose(result.affine, RAS @ AFFINE, atol=1e-4)
        np.testing.assert_allclose(result.get_qform(), RAS @ AFFINE, atol=1e-4)
        assert (result.header["sform_code"], result.header["qform_code"]) == (1, 1)


def test_a_volume_that_was_moved_is_not_written_with_the_old_forms(tmp_path):
    volume = read_volume(nifti(tmp_path / "a.nii"))
    volume.origin = volume.origin + np.array([0, 47, 0])
    write_volume(tmp_path / "b.nii", volume)
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii").affine, RAS @ MOVED, atol=1e-4)


def test_labels_as_nibabel_scales_them(tmp_path):
    """Stored as whole numbers with a slope, 1 comes back as 0.99998 and 2 as 1.99997."""
    labels = (chest() < -500).astype(np.float64) + (chest() < -900)
    image = nib.Nifti1Image(labels.T * 0.99998, RAS @ AFFINE)
    image.header.set_data_dtype(np.uint16)
    nib.save(image, tmp_path / "labels.nii.gz")
    assert 0 < abs(nib.load(tmp_path / "labels.nii.gz").get_fdata().max() - 2) < 1e-3
    found = read_labels(tmp_path / "labels.nii.gz")
    assert found.array.dtype == np.uint8
    np.testing.assert_array_equal(found.array[0], labels)


@pytest.mark.parametrize("name", ["mask.jpg", "mask.png"])
def test_a_jpeg_is_no_label_whatever_its_name(tmp_path, name):
    Image.fromarray(((chest()[16] < -500) * 255).astype(np.uint8)).save(tmp_path / name, format="JPEG")
    with pytest.raises(InputFileError, match="JPEG, a format that cannot keep labels") as caught:
        read_labels(tmp_path / name)
    assert "PNG" in caught.value.remedy


def pair_with(folder, affine) -> Case:
    image = nifti(folder / "image.nii.gz")
    label = nifti(folder / "label.nii.gz", (chest() < -500).astype(np.int16), sform=affine)
    return Case("a", image, label)


def test_labels_a_few_microns_off_are_read(tmp_path):
    near = AFFINE.copy()
    near[:3, 3] += 0.005
    volume, values = load_case(pair_with(tmp_path, near), LUNG)
    assert values.sum() * np.prod(volume.spacing) == pytest.approx((chest() < -500).sum() * np.prod(SPACING), rel=1e-5)


@pytest.mark.parametrize(
    ("affine", "words"),
    [(MOVED, ["origin (193.096 216.396 -340.25) against (193.096 263.396 -340.25)", "15 voxels apart"]),
     (AFFINE @ np.diag([1, 1, 1.2, 1]), ["spacing (3.04688 3.04688 10) against (3.04688 3.04688 12)"]),
     (AFFINE @ np.diag([-1, 1, 1, 1]), ["direction (-1 0 0 0 -1 0 0 0 1) against (1 0 0 0 -1 0 0 0 1)"])],
)  # fmt: skip
def test_labels_on_another_grid_are_refused_with_both_values(tmp_path, affine, words):
    with pytest.raises(GeometryError) as caught:
        load_case(pair_with(tmp_path, affine), LUNG)
    for word in [*words, str(tmp_path / "label.nii.gz"), str(tmp_path / "image.nii.gz")]:
        assert word in caught.value.message


CLAIMS = """
import resource, sys
from sam2adapt.imaging.volume import read_volume
from sam2adapt.shared.errors import InputFileError
limit = 1 << 30
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + limit, used + limit))
for path in sys.argv[1:]:
    try:
        read_volume(path)
    except InputFileError as error:
        print(error.message)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc")
def test_claims_of_10_gb_are_refused_before_memory_is_asked_for(tmp_path):
    small, shape = chest()[:1, :8, :8], (30_000, 30_000, 6)
    paths = [
        nifti(tmp_path / "a.nii", small, shape=shape), nifti(tmp_path / "b.nii.gz", small, shape=shape),
        nrrd(tmp_path / "c.nrrd", sizes="30000 30000 6", data=b"\0" * 999),
        nrrd(tmp_path / "d.nrrd", small, sizes="30000 30000 6", encoding="gzip"),
    ]  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", CLAIMS, *map(str, paths)], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("30000 x 30000 x 6") == len(paths) and done.stdout.count("10.8 GB in all") == len(paths)


def test_freesurfer_volumes_lie_where_nibabel_says(tmp_path):
    image = nib.MGHImage(np.ascontiguousarray(chest().T).astype(np.int32), (RAS @ AFFINE).astype(np.float32))
    nib.save(image, tmp_path / "brain.mgz")
    volume = read_volume(tmp_path / "brain.mgz")
    np.testing.assert_array_equal(volume.array[0], chest())
    np.testing.assert_allclose(volume.affine, AFFINE, atol=1e-3)
    assert volume.size == SIZE


def test_the_remedy_for_a_tilted_scan_works(tmp_path):
    """As the sentence says: nibabel resamples the file onto a right-angled grid, and then it is read."""
    from nibabel.processing import resample_to_output

    tilted = AFFINE.copy()
    tilted[1, 2] = 1.7
    path = nifti(tmp_path / "a.nii.gz", sform=tilted)
    nib.save(resample_to_output(nib.load(path), order=0, cval=-1000), tmp_path / "straight.nii.gz")
    volume = read_volume(tmp_path / "straight.nii.gz")
    found = (volume.array > -500).sum() * np.prod(volume.spacing)
    assert found == pytest.approx((chest() > -500).sum() * np.prod(SPACING), rel=0.06)  # first and last slice lose half
