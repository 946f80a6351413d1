"""Inputs that are refused: damaged and foreign files, volumes that cannot be segmented, disks that fail."""

import io
import os
import re
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image
from sam2adapt.imaging.volume import check_voxels, read_labels, read_volume, write_volume
from sam2adapt.shared import paths
from sam2adapt.shared.errors import CancelledError, InputFileError, SeriesError, UserError, VolumeError
from small_volumes import noise, volume_of


def test_missing_empty_and_foreign_files(tmp_path):
    (tmp_path / "empty.nii.gz").write_bytes(b"")
    for name in ("text.nii.gz", "text.nrrd", "text.png", "text.jpg", "text.tif", "text.xyz"):
        (tmp_path / name).write_text("no image at all, " * 40)
        with pytest.raises(InputFileError, match=f"{name} cannot be read") as caught:
            read_volume(tmp_path / name)
        assert caught.value.remedy
    with pytest.raises(InputFileError, match=r"none\.nii' does not exist"):
        read_volume(tmp_path / "none.nii")
    with pytest.raises(InputFileError, match="is empty"):
        read_volume(tmp_path / "empty.nii.gz")
    with pytest.raises(SeriesError, match="is a file"):
        read_volume(tmp_path / "text.nrrd", series="1.2.3")


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".png", ".jpg", ".tif"])
def test_truncated_files(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    if suffix in (".png", ".jpg", ".tif"):
        Image.fromarray(noise(64, 64, kind=np.uint8)).save(path)
    else:
        write_volume(path, volume_of(noise(9, 20, 20)))
    data = path.read_bytes()
    for kept in (len(data) // 2, len(data) - 20):
        path.write_bytes(data[:kept])
        with pytest.raises(InputFileError):
            read_volume(path)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_damaged_compressed_files(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    write_volume(path, volume_of(noise(9, 40, 40)))
    data = bytearray(path.read_bytes())
    for place in range(len(data) * 2 // 3, len(data) * 2 // 3 + 40):
        data[place] ^= 0xFF
    path.write_bytes(data)
    with pytest.raises(InputFileError):
        read_volume(path)


def test_4d_volumes(tmp_path):
    sitk.WriteImage(sitk.Image([5, 6, 7, 3], sitk.sitkInt16), str(tmp_path / "four.nii.gz"))
    with pytest.raises(VolumeError, match="3 time points") as caught:
        read_volume(tmp_path / "four.nii.gz")
    assert "one time point" in caught.value.remedy
    for suffix in (".nii.gz", ".nrrd"):
        sitk.WriteImage(sitk.Image([5, 6, 7, 1], sitk.sitkInt16), str(tmp_path / f"one{suffix}"))
        assert read_volume(tmp_path / f"one{suffix}").size == (5, 6, 7)


def test_vector_fields_and_complex_voxels(tmp_path):
    sitk.WriteImage(sitk.Image([5, 6, 7], sitk.sitkVectorFloat32, 3), str(tmp_path / "field.nrrd"))
    with pytest.raises(VolumeError, match="3 values a voxel"):
        read_volume(tmp_path / "field.nrrd")
    sitk.WriteImage(sitk.Image([5, 6, 7], sitk.sitkComplexFloat32), str(tmp_path / "complex.nii"))
    with pytest.raises(VolumeError, match="complex"):
        read_volume(tmp_path / "complex.nii")


def test_sheared_axes(tmp_path):
    write_volume(tmp_path / "a.nii", volume_of(noise(4, 5, 6)))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<hh", data, 252, 0, 1)  # qform_code, sform_code
    struct.pack_into("<12f", data, 280, 1, 0.4, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0)
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(VolumeError, match="right angles"):
        read_volume(tmp_path / "a.nii")


def test_axis_of_size_zero_in_a_file(tmp_path):
    write_volume(tmp_path / "a.nii", volume_of(noise(4, 5, 6)))
    data = bytearray((tmp_path / "a.nii").read_bytes())
    struct.pack_into("<h", data, 42, 0)
    (tmp_path / "a.nii").write_bytes(data)
    (tmp_path / "a.nrrd").write_text("NRRD0004\ntype: short\ndimension: 3\nsizes: 0 3 3\nencoding: raw\n\n")
    (tmp_path / "a.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nDimSize = 0 3 3\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    )
    for name in ("a.nii", "a.nrrd", "a.mha"):
        with pytest.raises((InputFileError, VolumeError)):
            read_volume(tmp_path / name)


@pytest.mark.parametrize(
    ("shape", "said"), [((2, 3, 4, 5), "2 time points or channels"), ((2, 1, 3, 4, 5), "holds 2 values a voxel")]
)
def test_labels_of_one_channel_for_each_structure_are_refused(tmp_path, shape, said):
    nib.save(nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.uint8).reshape(shape).T, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(UserError, match=said) as caught:
        read_labels(tmp_path / "a.nii")
    assert str(tmp_path) in caught.value.message
    assert re.search("with the values 1, 2, 3|class numbers 0, 1, 2", caught.value.remedy)


class FailingDisk(io.FileIO):
    """A file that can be opened and not read."""

    def readinto(self, buffer):
        raise OSError(5, "Input/output error")

    readall = readinto


@pytest.mark.parametrize("suffix", [".dcm", ".nii", ".nii.gz", ".mgz", ".nrrd", ".mha", ".png", ".jpg", ".tif"])
def test_a_disk_that_fails_while_it_is_read_is_said(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(bytes(1000))
    monkeypatch.setattr(paths, "_Disk", type("Disk", (paths._Disk, FailingDisk), {}))
    for read in (read_volume, read_labels):
        with pytest.raises(InputFileError, match="cannot be read: Input/output error"):
            read(path)
    with pytest.raises(UserError):
        read_volume(tmp_path)


@pytest.mark.skipif(not os.path.exists("/proc/kmsg"), reason="a file of Linux")
def test_files_of_the_system_whose_reading_never_ends_are_empty(tmp_path):
    (tmp_path / "a.nii").symlink_to("/proc/kmsg")
    with pytest.raises(UserError):
        read_volume(tmp_path / "a.nii")
    with pytest.raises(SeriesError, match="no DICOM image"):
        read_volume(tmp_path)


def test_the_search_of_a_folder_can_be_ended(tmp_path):
    for number in range(5):
        (tmp_path / str(number)).mkdir()
    calls = []

    def check():
        calls.append(1)
        if len(calls) == 3:
            raise CancelledError("The request was cancelled.", "Nothing was changed.")

    with pytest.raises(CancelledError), paths.interruptible(check):
        read_volume(tmp_path)
    with pytest.raises(SeriesError):
        read_volume(tmp_path)


@pytest.mark.parametrize(
    ("name", "header", "words"),
    [
        ("x.nrrd", "NRRD0004\ntype: short\nencoding: raw\n\n", "does not say dimension and sizes"),
        ("x.nrrd", "NRRD0004\ndimension: 3\n\n", "does not say sizes"),
        ("x.nrrd", "NRRD0004\ndimension: 3\nsizes: 4 5\n\n", "gives 2 sizes for 3 axes"),
        ("x.mha", "ObjectType = Image\nDimSize = 4 5 6\nElementDataFile = LOCAL\n", "does not say NDims"),
    ],
)
def test_a_header_without_sizes_names_what_is_missing(tmp_path, name, header, words):
    (tmp_path / name).write_bytes(header.encode())
    with pytest.raises(InputFileError, match=words):
        read_volume(tmp_path / name)


# what is refused before segmenting


def bad(array, **changes):
    return volume_of(array, name="case", **changes)


def test_voxels_that_cannot_be_segmented():
    nan = noise(3, 4, 5, kind=np.float32)
    nan[0, 0, :2], nan[1, 1, 1] = np.nan, -np.inf
    for volume, reason in (
        (bad(nan), "2 NaN and 1 infinite voxels of 60"),
        (bad(np.zeros((3, 0, 5))), "size zero"),
        (bad(np.full((3, 4, 5), 7)), "constant: all its voxels are 7"),
        (bad(noise(5, 1, 1)), "1 x 1"),
        (bad(noise(1, 1, 5)), "1 x 1"),
        (bad(noise(1, 1, 1)), "1 x 1"),
    ):
        with pytest.raises(VolumeError, match=reason) as caught:
            check_voxels(volume)
        assert "case" in caught.value.message and caught.value.remedy


def test_good_voxels_pass():
    check_voxels(bad(noise(3, 4, 5)))
    check_voxels(bad(noise(1, 4, 5, kind=np.float32)))
    check_voxels(bad(noise(3, 1, 4, 5, kind=np.uint8), physical=False))
