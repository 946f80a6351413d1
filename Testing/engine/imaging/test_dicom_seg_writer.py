"""Results as DICOM SEG: read back by dcmqi, which did not write them, and by pydicom."""

import json
import subprocess
from pathlib import Path

import dcmqi
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_samples import chest, enhanced_dataset, save, slice_dataset, write_series
from sam2adapt.imaging.terminology import Structure, describe
from sam2adapt.imaging.volume import DicomOutput, Volume, read_labels, read_structures, read_volume, write_labels
from sam2adapt.shared.errors import GeometryError, OutputError

DCMQI = Path(dcmqi.__file__).parent / "bin" / "segimage2itkimage"
STRUCTURES = [describe(3, "right lung"), describe(5, "left lung"), Structure(7, "nothing here", "", (0, 1, 0))]
LABELS = np.zeros((34, 128, 128), np.uint8)
LABELS[8:20, 30:60, 40:70] = 3
LABELS[15:22, 80:90, 20:50] = 5


def result(volume: Volume) -> Volume:
    return volume.with_array(LABELS)


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    return write_series(tmp_path_factory.mktemp("study") / "ct")


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_what_a_segmentation_says(series, tmp_path, kind):
    volume = read_volume(series)
    path = tmp_path / "result.dcm"
    write_labels(path, result(volume), STRUCTURES, volume, DicomOutput(None, kind, ("torso-ct", "0123")))
    dataset, source = pydicom.dcmread(path), slice_dataset(0)
    assert (dataset.Modality, dataset.SegmentationType) == ("SEG", kind)
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID"):
        assert dataset[keyword].value == source[keyword].value
    assert dataset.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    right, left, nothing = [item for item in dataset.SegmentSequence if item.SegmentLabel != "Background"]
    assert [item.SegmentLabel for item in (right, left, nothing)] == ["right lung", "left lung", "nothing here"]
    assert [item.SegmentNumber for item in (right, left, nothing)] == ([1, 2, 3] if kind == "BINARY" else [3, 5, 7])
    assert right.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Lung"
    assert (
        right.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning == "Right"
    )
    assert right.SegmentAlgorithmType == "AUTOMATIC"
    algorithm = right.SegmentationAlgorithmIdentificationSequence[0]
    assert (algorithm.AlgorithmName, algorithm.AlgorithmVersion) == ("torso-ct", "0123")
    read = read_structures(path)
    assert [s.name for s in read] == [s.name for s in STRUCTURES]
    assert read[0].terminology.split("~")[1:4] == STRUCTURES[0].terminology.split("~")[1:4]
    assert read[0].color == pytest.approx(STRUCTURES[0].color, abs=0.02)
    values = {0: 0, 3: 1, 5: 2} if kind == "BINARY" else {0: 0, 3: 3, 5: 5}
    np.testing.assert_array_equal(read_labels(path, series).array[0], np.vectorize(values.get)(LABELS))


def test_dcmqi_reads_the_same_voxels_in_the_same_place(series, tmp_path):
    volume = read_volume(series)
    write_labels(tmp_path / "result.dcm", result(volume), STRUCTURES, volume, DicomOutput(None, "BINARY", ("m", "1")))
    options = ["--outputDirectory", tmp_path, "--outputType", "nrrd", "-p", "q"]
    subprocess.run([DCMQI, "--inputDICOM", tmp_path / "result.dcm", *options], check=True, capture_output=True)
    _, origin, spacing, direction = chest()
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = direction * spacing, origin
    for number, value in ((1, 3), (2, 5)):
        image = sitk.ReadImage(str(tmp_path / f"q-{number}.nrrd"))
        found = np.argwhere(sitk.GetArrayFromImage(image))[:, ::-1]
        here = [image.TransformIndexToPhysicalPoint(index.tolist()) for index in found]
        there = np.argwhere(LABELS == value)[:, ::-1] @ affine[:3, :3].T + affine[:3, 3]
        np.testing.assert_allclose(sorted(map(tuple, np.round(here, 2))), sorted(map(tuple, there.round(2))), atol=0.02)
    meta = json.loads((tmp_path / "q-meta.json").read_text("utf-8"))
    first = meta["segmentAttributes"][0][0]
    assert first["SegmentLabel"] == "right lung"
    assert first["SegmentedPropertyTypeModifierCodeSequence"]["CodeMeaning"] == "Right"
    assert first["recommendedDisplayRGBValue"] == pytest.approx([255 * part for part in STRUCTURES[0].color], abs=4)


@pytest.mark.parametrize("order", [list(range(34)), list(range(34))[::-1], [*range(17, 34), *range(17)]])
def test_a_multi_frame_file_is_referred_to_frame_by_frame(tmp_path, order):
    source = save(enhanced_dataset(order=order), tmp_path / "ct" / "enhanced.dcm")
    volume = read_volume(source)
    labels = LABELS if volume.direction[2, 2] > 0 else LABELS[::-1]
    for kind in ("BINARY", "LABELMAP"):
        write_labels(tmp_path / "result.dcm", volume.with_array(labels), STRUCTURES, volume, DicomOutput(kind=kind))
        found = read_labels(tmp_path / "result.dcm", volume).array[0]
        np.testing.assert_array_equal(found > 0, labels > 0)


def test_input_that_is_no_dicom_needs_a_reference(series, tmp_path):
    voxels, origin, spacing, direction = chest()
    volume = Volume(voxels[None], origin, spacing, direction, "chest")
    with pytest.raises(OutputError, match="chest is no DICOM") as caught:
        write_labels(tmp_path / "result.dcm", result(volume), STRUCTURES, volume)
    assert "reference" in caught.value.remedy
    write_labels(tmp_path / "result.dcm", result(volume), STRUCTURES, volume, DicomOutput(series, "LABELMAP"))
    np.testing.assert_array_equal(read_labels(tmp_path / "result.dcm", series).array[0], LABELS)
    flipped = Volume(voxels[None, ::-1], origin + direction[:, 2] * spacing[2] * 33, spacing, direction * (1, 1, -1))
    write_labels(tmp_path / "flipped.dcm", flipped.with_array(LABELS[::-1]), STRUCTURES, flipped,
                 DicomOutput(series, "LABELMAP"))  # fmt: skip
    np.testing.assert_array_equal(read_labels(tmp_path / "flipped.dcm", series).array[0], LABELS)
    moved = Volume(voxels[None], origin + 1, spacing, direction, "moved")
    with pytest.raises(GeometryError, match="voxels off"):
        write_labels(tmp_path / "moved.dcm", result(moved), STRUCTURES, moved, DicomOutput(series))
    assert not (tmp_path / "moved.dcm").exists()


def test_what_cannot_be_written(series, tmp_path):
    volume = read_volume(series)
    with pytest.raises(OutputError, match="nothing was found"):
        write_labels(tmp_path / "empty.dcm", volume.with_array(LABELS * 0), STRUCTURES, volume)
    with pytest.raises(OutputError, match="holds no DICOM images"):
        write_labels(tmp_path / "a.dcm", result(volume), STRUCTURES, volume, DicomOutput(tmp_path))
    with pytest.raises(OutputError, match="cannot be written"):
        write_labels(tmp_path / "no folder" / "a.dcm", result(volume), STRUCTURES, volume)
    assert not list(tmp_path.glob("*.dcm"))
