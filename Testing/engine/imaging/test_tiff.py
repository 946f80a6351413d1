"""TIFF files that are cut short: before they are read, and meanwhile."""

import numpy as np
import pytest
import SimpleITK as sitk
from sam2adapt.imaging import image_files
from sam2adapt.imaging.volume import read_labels, read_volume
from sam2adapt.shared.errors import InputFileError, OutputError

PICTURES = np.random.default_rng(0).integers(0, 250, (5, 12, 9), np.uint8)


@pytest.fixture
def stack(tmp_path):
    path = tmp_path / "stack.tif"
    sitk.WriteImage(sitk.GetImageFromArray(PICTURES), str(path))
    return path


def test_a_stack_that_was_cut_short_never_lacks_pictures_in_silence(stack):
    data, refused = stack.read_bytes(), 0
    for kept in range(8, len(data), len(data) // 60):
        stack.write_bytes(data[:kept])
        try:
            volume = read_volume(stack)
        except InputFileError:
            refused += 1
        else:  # the name of the program that wrote it ends the file
            np.testing.assert_array_equal(volume.array[0], PICTURES)
    assert refused > 50


def test_a_stack_whose_pictures_lead_back_to_the_first_is_refused(stack):
    data = bytearray(stack.read_bytes())
    first = int.from_bytes(data[4:8], "little")
    entries = int.from_bytes(data[first : first + 2], "little")
    place = first + 2 + 12 * entries
    data[place : place + 4] = first.to_bytes(4, "little")
    stack.write_bytes(data)
    with pytest.raises(InputFileError, match=r"picture 2 .* as another"):
        read_volume(stack)


@pytest.mark.parametrize("read", [read_volume, read_labels])
def test_a_file_that_shrinks_while_it_is_read_is_read_as_it_was(stack, monkeypatch, read):
    """libtiff maps files into memory: to shrink one then ends the process by a signal (SIGBUS)."""

    class Reader(sitk.ImageFileReader):
        def Execute(self):
            stack.write_bytes(b"II*\0")
            return super().Execute()

    monkeypatch.setattr(image_files.sitk, "ImageFileReader", Reader)
    np.testing.assert_array_equal(read(stack).array[0], PICTURES)


def test_a_full_disk_is_said(stack, monkeypatch):
    def full(source, target, *length):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_files.tiff.shutil, "copyfileobj", full)
    with pytest.raises(OutputError, match="disk is full"):
        read_volume(stack)
