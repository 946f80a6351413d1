"""Writing labels and maps: every format, the reference's geometry, and what cannot be written leaves nothing behind."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import read_labels, read_volume, same_geometry, write_labels, write_volume
from sam2adapt.shared.errors import GeometryError, OutputError
from small_volumes import noise, volume_of

LUNGS = [describe(1, "right lung"), describe(2, "left lung")]


@pytest.mark.parametrize("suffix", [".seg.nrrd", ".nii.gz", ".nii", ".nrrd", ".mha", ".png"])
def test_write_labels(tmp_path, suffix):
    labels = volume_of(noise(1, 4, 5, kind=np.uint8) % 3)
    path = tmp_path / f"labels{suffix}"
    write_labels(path, labels, LUNGS)
    found = read_labels(path)
    np.testing.assert_array_equal(found.array, labels.array)
    assert same_geometry(found, labels) and found.name == "labels"
    assert [item.name for item in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_labels_take_the_geometry_of_the_reference(tmp_path):
    labels = volume_of(noise(3, 4, 5, kind=np.uint8) % 3, origin=(10.5004, -20.25, 1 / 3))
    write_labels(tmp_path / "a.nrrd", labels, LUNGS, reference=volume_of(noise(3, 4, 5)))
    assert read_labels(tmp_path / "a.nrrd").origin[0] == 10.5
    with pytest.raises(GeometryError):
        write_labels(tmp_path / "b.nrrd", labels, LUNGS, reference=volume_of(noise(3, 4, 5), origin=(0, 0, 0)))
    assert not (tmp_path / "b.nrrd").exists()


def test_labels_that_are_none(tmp_path):
    with pytest.raises(ValueError, match="no structure"):
        write_labels(tmp_path / "a.nrrd", volume_of(np.full((2, 3, 4), 9, np.uint8)), LUNGS)
    with pytest.raises(ValueError, match="uint8"):
        write_labels(tmp_path / "a.nrrd", volume_of(noise(2, 3, 4)), LUNGS)
    assert not list(tmp_path.iterdir())


def test_outputs_that_cannot_be_written(tmp_path):
    labels, several = volume_of(noise(1, 4, 5, kind=np.uint8) % 3), volume_of(noise(2, 4, 5, kind=np.uint8) % 3)
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.nrrd").mkdir()
    for path, volume, reason in (
        (tmp_path / "missing" / "a.nrrd", labels, "No such file"),
        (tmp_path / "file" / "a.nrrd", labels, "director"),
        (tmp_path / "a.xyz", labels, "unknown format"),
        (tmp_path / "a.jpg", labels, "unknown format"),
        (tmp_path / "a", labels, "unknown format"),
        (tmp_path / "a.png", several, "one slice"),
        (tmp_path / "folder.nrrd", labels, "is a folder"),
    ):
        with pytest.raises(OutputError, match=reason) as caught:
            write_labels(path, volume, LUNGS)
        assert caught.value.remedy
    assert sorted(item.name for item in tmp_path.iterdir()) == ["file", "folder.nrrd"]


@pytest.mark.skipif(sys.platform != "linux", reason="needs a folder that not even root may write to")
def test_folder_that_is_not_writable(tmp_path):
    folder = Path("/proc") if os.geteuid() == 0 else tmp_path
    if folder is tmp_path:
        tmp_path.chmod(0o500)
    with pytest.raises(OutputError, match="cannot be written"):
        write_labels(folder / "a.nrrd", volume_of(noise(1, 4, 5, kind=np.uint8) % 3), LUNGS)


def test_a_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.nrrd"
    write_volume(path, volume_of(noise(3, 4, 5)))
    before = path.read_bytes()

    def fail(image, name, *_):
        Path(name).write_bytes(b"half")
        raise RuntimeError("ITK")

    monkeypatch.setattr(sitk, "WriteImage", fail)
    with pytest.raises(OutputError):
        write_volume(path, volume_of(noise(3, 4, 5, seed=1)))
    assert path.read_bytes() == before and len(list(tmp_path.iterdir())) == 1


FULL_DISK = """
import resource, sys
import numpy as np
from sam2adapt.shared.errors import OutputError
from sam2adapt.imaging.volume import Volume, write_volume
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))
shape = (1, 1, 300, 300) if sys.argv[1].endswith("png") else (1, 9, 100, 100)
noise = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
try:
    write_volume(sys.argv[1], Volume(noise, np.zeros(3), np.ones(3), np.eye(3)))
except OutputError as error:
    print(error)
    sys.exit(2)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha", ".png"])
def test_full_disk(tmp_path, suffix):
    done = subprocess.run(
        [sys.executable, "-c", FULL_DISK, str(tmp_path / f"a{suffix}")],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert "cannot be written" in done.stdout
    assert not list(tmp_path.iterdir())


def test_maps_with_nan_are_written(tmp_path):
    array = noise(3, 4, 5, kind=np.float32)
    array[0, 0, 0] = np.nan
    write_volume(tmp_path / "a.nrrd", volume_of(array))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nrrd").array[0], array)


@pytest.mark.parametrize("damage", [(b"note", b"n\xffte"), (b"some text", b"s\xffme t\xfext")])
def test_texts_of_a_header_that_are_not_utf8_do_not_matter(damage, tmp_path):
    """Found by the fault campaign: a key of other bytes cannot be looked up."""
    image = sitk.GetImageFromArray(np.arange(60, dtype=np.int16).reshape(3, 4, 5))
    image.SetMetaData("note", "some text")
    path = tmp_path / "image.nrrd"
    sitk.WriteImage(image, str(path))
    path.write_bytes(path.read_bytes().replace(*damage))
    assert np.array_equal(read_volume(path).array[0].ravel(), np.arange(60))
