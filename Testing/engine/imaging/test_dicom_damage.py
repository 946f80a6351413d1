"""DICOM whose bytes are overwritten or cut at random: read, or refused with two sentences; nothing else is raised."""

import random

import numpy as np
import pytest
from dicom_samples import (
    enhanced_dataset,
    save,
    segmentation_dataset,
    slice_dataset,
    structure_set_dataset,
    write_series,
)
from pydicom import dcmread, uid
from sam2adapt.imaging.volume import read_labels, read_structures, read_volume
from sam2adapt.shared.errors import InputFileError, UserError

HEADER = 3000  # bytes, in which most of the damage is done


@pytest.fixture(scope="module")
def series(tmp_path_factory):
    return write_series(tmp_path_factory.mktemp("study") / "ct")


def packed(syntax: str):
    dataset = slice_dataset(9)
    if syntax == uid.DeflatedExplicitVRLittleEndian:
        dataset.file_meta.TransferSyntaxUID = syntax
    else:
        dataset.compress(syntax)
    return dataset


def damaged(data: bytes, chance: random.Random) -> bytes:
    """Some bytes overwritten, sometimes the end cut off."""
    changed = bytearray(data)
    for _ in range(chance.choice((1, 2, 5, 20))):
        end = min(len(data), HEADER) if chance.random() < 0.85 else len(data)
        changed[chance.randrange(132, end)] = chance.choice((0, 255, chance.randrange(256)))
    return bytes(changed[: chance.randrange(140, len(data))] if chance.random() < 0.2 else changed)


IMAGES = {
    "slice": lambda: slice_dataset(3),
    "enhanced": enhanced_dataset,
    "JPEG-LS": lambda: packed(uid.JPEGLSLossless),
    "RLE": lambda: packed(uid.RLELossless),
    "deflated": lambda: packed(uid.DeflatedExplicitVRLittleEndian),
}


@pytest.mark.parametrize("form", IMAGES)
def test_images(tmp_path, form):
    path = save(IMAGES[form](), tmp_path / "x.dcm")
    whole, chance, refused = path.read_bytes(), random.Random(form), 0
    for _ in range(25):
        path.write_bytes(damaged(whole, chance))
        for source in (path, tmp_path):
            try:
                volume = read_volume(source)
            except UserError as error:
                refused += 1
                assert error.message.endswith(".") and error.remedy
            else:
                assert volume.array.size  # what was overwritten was a name, or a voxel
    assert refused


@pytest.mark.parametrize("form", ["BINARY", "LABELMAP", "RTSTRUCT"])
def test_labels(series, tmp_path, form):
    images = sorted((dcmread(path) for path in series.iterdir()), key=lambda d: float(d.ImagePositionPatient[2]))
    labels = np.zeros((34, 128, 128), np.uint8)
    labels[8:20, 30:60, 40:70] = 1
    dataset = structure_set_dataset() if form == "RTSTRUCT" else segmentation_dataset(images, labels, form, ("Lung",))
    path = save(dataset, tmp_path / "x.dcm")
    whole, chance, refused = path.read_bytes(), random.Random(form), 0
    for _ in range(25):
        path.write_bytes(damaged(whole, chance))
        for read in (read_structures, lambda file: read_labels(file, series)):
            try:
                read(path)
            except UserError as error:
                refused += 1
                assert error.message.endswith(".") and error.remedy
    assert refused


@pytest.mark.parametrize("form", ["slice", "JPEG-LS", "deflated"])
def test_frames_that_no_file_of_this_size_can_hold_are_refused_before_they_are_counted(tmp_path, form):
    """Found by the fault campaign: a list of two billion frames."""
    dataset = IMAGES[form]()
    dataset.NumberOfFrames = 2_000_000_000
    path = save(dataset, tmp_path / "x.dcm")
    for source in (path, tmp_path):
        with pytest.raises(InputFileError, match=r"2000000000 frames .* cannot hold"):
            read_volume(source)
