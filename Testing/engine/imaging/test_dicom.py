"""DICOM folders as they come: shuffled names, several series, oblique slices, compression, and what is refused."""

import os
import random
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid
from sam2adapt.imaging.volume import list_series, read_labels, read_volume, same_geometry
from sam2adapt.shared.errors import InputFileError, SeriesError

DATA = os.environ.get("SAM2ADAPT_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="SAM2ADAPT_DATA is not set")


def write_slice(path, pixels, position, axes=None, spacing=(0.9, 0.7), **tags):
    """One CT slice; ``pixels`` (rows, columns) are HU, ``axes`` has row, column and normal as columns."""
    axes = np.eye(3) if axes is None else axes
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = CTImageStorage, ExplicitVRLittleEndian
    meta.MediaStorageSOPInstanceUID = tags.pop("SOPInstanceUID", generate_uid())
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
    data.SeriesInstanceUID, data.StudyInstanceUID, data.Modality, data.SeriesDescription = "1.2.3", "1.2", "CT", "Body"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
    data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 0
    data.PixelSpacing = [f"{value:.9g}" for value in spacing]
    data.ImagePositionPatient = [f"{value:.9g}" for value in position]
    data.ImageOrientationPatient = [f"{value:.9g}" for value in axes[:, :2].T.ravel()]
    data.RescaleSlope, data.RescaleIntercept, data.SliceThickness = 1, -1024, 5
    for name, value in tags.items():
        if value is None:
            delattr(data, name)
        else:
            setattr(data, name, value)
    data.PixelData = (pixels + 1024).astype("<u2").tobytes()
    data.save_as(path, enforce_file_format=True)


def write_stack(folder, count=6, axes=None, step=2.5, origin=(10, -20, 30), skip=(), seed=0, shape=(5, 7), **tags):
    """A series with shuffled file names; returns its voxels (K, J, I) in the order of the normal."""
    axes = np.eye(3) if axes is None else axes
    voxels = np.random.default_rng(seed).integers(-1000, 1000, (count, *shape))
    names = random.Random(seed).sample(range(1000), count)
    folder.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(names):
        if index not in skip:
            write_slice(
                folder / f"{name}",
                voxels[index],
                np.add(origin, axes[:, 2] * step * index),
                axes,
                InstanceNumber=name,
                **tags,
            )
    return voxels


def frame(angle, tilt=0.3):
    """An oblique right-handed frame."""
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    lean = np.array([[1, 0, 0], [0, np.cos(tilt), -np.sin(tilt)], [0, np.sin(tilt), np.cos(tilt)]])
    return turn @ lean


@settings(max_examples=20, deadline=None)
@given(st.floats(-3, 3), st.floats(-1.5, 1.5), st.floats(0.2, 8), st.integers(2, 9), st.integers(0, 100))
def test_any_orientation_in_any_file_order(tmp_path_factory, angle, tilt, step, count, seed):
    folder, axes = tmp_path_factory.mktemp("series"), frame(angle, tilt)
    voxels = write_stack(folder, count, axes, step, seed=seed)
    volume = read_volume(folder)
    np.testing.assert_array_equal(volume.array[0], voxels)
    np.testing.assert_allclose(volume.origin, (10, -20, 30), atol=1e-6)
    np.testing.assert_allclose(volume.spacing, (0.7, 0.9, step), atol=1e-6)
    np.testing.assert_allclose(volume.direction, axes, atol=1e-6)
    assert volume.modality == "CT" and volume.name == "Body" and volume.physical
    assert volume.array.dtype == np.int16


def test_slice_thickness_is_not_the_spacing(tmp_path):
    write_stack(tmp_path, step=2)
    assert read_volume(tmp_path).spacing[2] == pytest.approx(2)


def test_several_series_are_told_apart(tmp_path):
    head = write_stack(tmp_path / "a", 4, SeriesInstanceUID="1.2.40", SeriesDescription="Head", Modality="MR")
    body = write_stack(tmp_path / "b" / "deep", 6, seed=1, SeriesInstanceUID="1.2.50", SeriesDescription="Body")
    (tmp_path / "readme.txt").write_text("not DICOM " * 30)
    found = list_series(tmp_path)
    assert [(info.uid, info.description, info.modality, info.size) for info in found] == [
        ("1.2.40", "Head", "MR", (7, 5, 4)),
        ("1.2.50", "Body", "CT", (7, 5, 6)),
    ]
    with pytest.raises(SeriesError, match=r"2 series: 1\.2\.40 \(MR 'Head', 7 x 5 x 4\); 1\.2\.50") as caught:
        read_volume(tmp_path)
    assert (caught.value.setting, caught.value.value) == (("series",), "1.2.40")
    np.testing.assert_array_equal(read_volume(tmp_path, series="1.2.40").array[0], head)
    np.testing.assert_array_equal(read_volume(tmp_path, series="Body").array[0], body)
    with pytest.raises(SeriesError, match=r"no series '1\.2\.4'"):
        read_volume(tmp_path, series="1.2.4")


def test_series_without_uid_are_told_apart_by_number(tmp_path):
    for number in (3, 4):
        write_stack(tmp_path / str(number), 3, seed=number, SeriesInstanceUID="", SeriesNumber=number)
    assert [info.uid for info in list_series(tmp_path)] == ["unnamed", "unnamed#2"]


def test_a_localizer_within_the_series_is_set_apart(tmp_path):
    voxels = write_stack(tmp_path, 5)
    sagittal = np.array([[0.0, 0, -1], [1, 0, 0], [0, -1, 0]])
    write_slice(tmp_path / "scout", np.zeros((5, 7), int), (0, 0, 0), sagittal)
    assert [info.size for info in list_series(tmp_path)] == [(7, 5, 5), (7, 5, 1)]
    np.testing.assert_array_equal(read_volume(tmp_path, series="1.2.3").array[0], voxels)


def test_copies_of_an_image_count_once(tmp_path):
    voxels = write_stack(tmp_path, 4)
    for path in list(tmp_path.iterdir()):
        (tmp_path / f"copy of {path.name}").write_bytes(path.read_bytes())
    np.testing.assert_array_equal(read_volume(tmp_path).array[0], voxels)


def test_paths_and_descriptions_outside_ascii(tmp_path):
    folder = tmp_path / "Schädel-Hirn µ 体"
    write_stack(folder, 3, SpecificCharacterSet="ISO_IR 192", SeriesDescription="Schädel nativ")
    assert read_volume(folder).name == "Schädel nativ"
    latin = tmp_path / "latin"
    write_stack(latin, 3, SpecificCharacterSet="ISO_IR 100", SeriesDescription="Schädel")
    assert read_volume(latin).name.startswith("Sch")


def test_one_file(tmp_path):
    voxels = write_stack(tmp_path, 3, axes=frame(0.4))
    for path in tmp_path.iterdir():
        volume = read_volume(path)
        assert volume.size == (7, 5, 1) and volume.modality == "CT"
        assert any(np.array_equal(volume.array[0, 0], pixels) for pixels in voxels)
    with pytest.raises(InputFileError, match="DICOM"):
        read_labels(path)


def test_slopes_that_differ_between_slices(tmp_path):
    pixels = np.arange(35).reshape(5, 7)
    for index in range(3):
        write_slice(
            tmp_path / f"{9 - index}", pixels - 1024, (0, 0, index), RescaleSlope=1 + index / 4, RescaleIntercept=0
        )
    volume = read_volume(tmp_path)
    assert volume.array.dtype == np.float32
    for index in range(3):
        np.testing.assert_allclose(volume.array[0, index], pixels * (1 + index / 4))


@pytest.mark.parametrize("compressor", ["JPEG2000", "JPEG"])
def test_compressed_slices(tmp_path, compressor):
    voxels, compressed = write_stack(tmp_path / "plain", 4, shape=(64, 48)), tmp_path / "compressed"
    compressed.mkdir()
    for path in (tmp_path / "plain").iterdir():
        reader = sitk.ImageFileReader()
        reader.SetFileName(str(path))
        image = sitk.Cast(reader.Execute(), sitk.sitkInt16)
        for key in reader.GetMetaDataKeys():
            image.SetMetaData(key, reader.GetMetaData(key))
        writer = sitk.ImageFileWriter()
        writer.SetImageIO("GDCMImageIO")
        writer.KeepOriginalImageUIDOn()
        writer.UseCompressionOn()
        writer.SetCompressor(compressor)
        writer.SetFileName(str(compressed / f"{path.name}.dcm"))
        writer.Execute(image)
    syntaxes = {pydicom.dcmread(path).file_meta.TransferSyntaxUID for path in compressed.iterdir()}
    assert all(syntax.is_compressed for syntax in syntaxes)
    np.testing.assert_array_equal(read_volume(compressed).array[0], voxels)


def write_frames(path, pixels, places):
    """An enhanced CT: all slices in one file, in the order of ``places`` (mm along z)."""

    def item(**tags):
        data = Dataset()
        for name, value in tags.items():
            setattr(data, name, [value] if isinstance(value, Dataset) else value)
        return data

    write_slice(path, pixels[0], (0, 0, 0))
    data = pydicom.dcmread(path)
    for name in ("PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "RescaleSlope", "RescaleIntercept"):
        delattr(data, name)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
    data.NumberOfFrames = len(places)
    data.SharedFunctionalGroupsSequence = [
        item(
            PixelMeasuresSequence=item(PixelSpacing=[0.9, 0.7], SliceThickness=2),
            PlaneOrientationSequence=item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0]),
            PixelValueTransformationSequence=item(RescaleIntercept=-1024, RescaleSlope=1, RescaleType="HU"),
        )
    ]
    data.PerFrameFunctionalGroupsSequence = [
        item(PlanePositionSequence=item(ImagePositionPatient=[10, 20, place])) for place in places
    ]
    data.PixelData = (pixels + 1024).astype("<u2").tobytes()
    data.save_as(path)


@pytest.mark.parametrize("places", [[0, 2, 4, 6], [6, 4, 2, 0]])
def test_multi_frame_files(tmp_path, places):
    pixels = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 7))
    write_frames(tmp_path / "a", pixels, places)
    for source in (tmp_path, tmp_path / "a"):
        volume = read_volume(source)
        np.testing.assert_array_equal(volume.array[0], pixels)
        np.testing.assert_allclose(volume.spacing, (0.7, 0.9, 2))
        for frame_number, place in enumerate(places):
            np.testing.assert_allclose((volume.affine @ (0, 0, frame_number, 1))[:3], (10, 20, place))


def test_multi_frame_files_in_disorder(tmp_path):
    pixels = np.random.default_rng(0).integers(-1000, 1000, (4, 5, 7))
    write_frames(tmp_path / "a", pixels, [4, 0, 6, 2])
    volume = read_volume(tmp_path / "a")
    np.testing.assert_array_equal(volume.array[0], pixels[[1, 3, 0, 2]])
    np.testing.assert_allclose(volume.affine[:3, 3], (10, 20, 0))


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ([0, 2, 4, 8], "misses 1 of 5 frames, the first after position 4.0 mm"),
        ([0, 2, 3, 6], "frames .* are unevenly spaced"),
        ([0, 0, 0, 0.5], "4 frames at 2 positions"),
    ],
)
def test_frames_that_are_no_stack(tmp_path, places, message):
    write_frames(tmp_path / "a", np.zeros((4, 5, 7), int), places)
    with pytest.raises(SeriesError, match=message):
        read_volume(tmp_path / "a")


# what is refused


def test_a_folder_without_dicom(tmp_path):
    (tmp_path / "a.txt").write_text("hello " * 50)
    (tmp_path / "b.png").write_bytes(b"\x89PNG")
    for call in (read_volume, list_series):
        with pytest.raises(SeriesError, match="no DICOM image") as caught:
            call(tmp_path)
        assert str(tmp_path) in caught.value.message and caught.value.remedy


def test_objects_without_image_are_passed_over(tmp_path):
    voxels = write_stack(tmp_path, 3)
    report = pydicom.dcmread(next(tmp_path.iterdir()))
    del report.PixelData
    del report.Rows
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    report.save_as(tmp_path / "report")
    np.testing.assert_array_equal(read_volume(tmp_path).array[0], voxels)
    with pytest.raises(InputFileError, match="without an image"):
        read_volume(tmp_path / "report")


@pytest.mark.parametrize(("skip", "count"), [({3}, 1), ({1, 2}, 2), ({2, 5}, 2), ({6}, 1)])
def test_missing_slices(tmp_path, skip, count):
    write_stack(tmp_path, 8, axes=frame(0.2), skip=skip)
    with pytest.raises(SeriesError, match=f"misses {count} of 8 slices") as caught:
        read_volume(tmp_path)
    assert "whole series" in caught.value.remedy


def test_uneven_spacing(tmp_path):
    for index, place in enumerate((0, 2, 4, 5.3, 8, 10)):
        write_slice(tmp_path / str(index), np.zeros((5, 7), int), (0, 0, place))
    with pytest.raises(SeriesError, match=r"unevenly spaced, 1\.30 to 2\.70 mm"):
        read_volume(tmp_path)


def test_rounded_positions_pass(tmp_path):
    for index in range(30):
        write_slice(tmp_path / str(index), np.zeros((5, 7), int), (0, 0, round(0.625 * index, 1)))
    assert read_volume(tmp_path).spacing[2] == pytest.approx(0.625, rel=0.01)


def test_tilted_gantry(tmp_path):
    for index in range(6):
        write_slice(tmp_path / str(index), np.zeros((5, 7), int), (0, 0.8 * index, 2.5 * index))
    with pytest.raises(SeriesError, match=r"17\.7 degrees") as caught:
        read_volume(tmp_path)
    assert "Slicer" in caught.value.remedy


def test_several_time_points_in_one_series(tmp_path):
    write_stack(tmp_path / "1", 4)
    write_stack(tmp_path / "2", 4, seed=1)
    with pytest.raises(SeriesError, match="8 images at 4 positions"):
        read_volume(tmp_path)


def test_slices_without_position(tmp_path):
    write_stack(tmp_path, 4, ImagePositionPatient=None)
    with pytest.raises(SeriesError, match="where its slices lie"):
        read_volume(tmp_path)


def test_damaged_files(tmp_path):
    write_stack(tmp_path, 4)
    victim = next(tmp_path.iterdir())
    data = victim.read_bytes()
    victim.write_bytes(data[:-20])  # voxels missing
    with pytest.raises(InputFileError):
        read_volume(tmp_path)
    victim.write_bytes(data[:500])  # header cut
    with pytest.raises(InputFileError, match="damaged"):
        read_volume(tmp_path)


# real series


@needs_data
def test_jpeg_2000_series_lies_on_its_labels():
    folder = Path(DATA) / "ct_sample" / "ts_dicom"
    volume, labels = read_volume(folder / "series"), read_labels(folder / "label.nii.gz")
    assert volume.size == (512, 512, 20) and volume.modality == "CT" and volume.array.dtype == np.int16
    np.testing.assert_allclose(volume.spacing, (0.9765625, 0.9765625, 2))
    # the labels are stored with the other direction of J; flipped, they are on the same grid
    labels.origin = labels.origin + labels.affine[:3, 1] * (labels.size[1] - 1)
    labels.direction = labels.direction * (1, -1, 1)
    labels.array = labels.array[:, :, ::-1]
    assert same_geometry(volume, labels)
    assert 30 < np.median(volume.array[labels.array == 5]) < 180  # liver, in HU
    assert np.median(volume.array[labels.array == 98]) > 100  # a rib


@needs_data
def test_two_real_series_in_one_folder():
    folder = Path(DATA) / "hippocampus" / "dicom_crops"
    found = list_series(folder)
    assert sorted(info.size[2] for info in found) == [32, 35]
    with pytest.raises(SeriesError, match="2 series"):
        read_volume(folder)
    for info in found:
        assert read_volume(folder, series=info.uid).size == info.size
