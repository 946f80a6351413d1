"""Drawings from DICOM segmentations and structure sets: each structure for itself, on the voxels of the image."""

from pathlib import Path

import numpy as np
import pytest
from dicom_samples import chest, group, position, save, segmentation_dataset, structure_set_dataset, write_series
from sam2adapt.filling.drawing_files import read_drawings, write_filling
from sam2adapt.filling.drawings import drawings_from_masks
from sam2adapt.filling.filler import Filling
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import Volume, read_segments, read_volume, write_segments
from sam2adapt.shared.errors import DrawingError
from sam2adapt.shared.labels.slice_tags import FILLED

PLACES = [2, 5, 9]


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    """The first twelve slices of CTChest4."""
    return write_series(tmp_path_factory.mktemp("study") / "ct", indices=range(12))


@pytest.fixture(scope="module")
def volume(series) -> Volume:
    return read_volume(series)


def test_segments_of_a_dicom_segmentation_that_overlap(series, volume, tmp_path):
    import pydicom

    images = sorted(map(pydicom.dcmread, series.iterdir()), key=lambda one: float(one.ImagePositionPatient[2]))
    masks = np.zeros((*volume.array.shape[1:], 2), np.uint8)
    masks[PLACES, 30:80, 30:80, 0] = masks[PLACES[:2], 40:60, 20:50, 1] = 1
    path = save(segmentation_dataset(images, masks, "BINARY"), tmp_path / "seg.dcm")
    for given in (path, path.parent):
        drawings, structures = read_drawings(given, volume)
        assert [one.name for one in structures] == drawings.names == ["Lung", "Spleen"]
        assert np.array_equal(drawings.masks, np.moveaxis(masks, -1, 0) != 0)
        assert [own[0] for own in drawings.slices] == [(2, 5, 9), (2, 5)]
    drawings, _ = read_drawings(path, volume, ["SPLEEN "], empty={"spleen": [9]})
    assert drawings.names == ["Spleen"] and drawings.slices[0][0] == (2, 5, 9)
    with pytest.raises(DrawingError, match="has no segment 'liver'") as caught:
        read_drawings(path, volume, ["liver"])
    assert "Lung, Spleen" in caught.value.remedy


def test_contours_of_a_structure_set(volume, tmp_path):
    _, _, spacing, direction = chest()
    dataset, contours = structure_set_dataset(), []
    for place in PLACES:
        corner = np.array([float(value) for value in position(place)])
        square = [corner + direction @ (spacing * [column, row, 0]) for column, row in
                  ((29.5, 39.5), (59.5, 39.5), (59.5, 79.5), (29.5, 79.5))]  # fmt: skip
        points = [f"{value:.10g}" for value in np.ravel(square)]
        contours.append(group(ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4, ContourData=points))
    dataset.ROIContourSequence[0].ContourSequence = contours
    drawings, _ = read_drawings(save(dataset, tmp_path / "rt.dcm"), volume)
    expected = np.zeros(volume.array.shape[1:], bool)
    expected[PLACES, 40:80, 30:60] = True
    assert drawings.names == ["Lung"] and np.array_equal(drawings.masks[0], expected)
    assert drawings.slices[0] == (tuple(PLACES), (), ())


def test_what_was_filled_is_filled_again_from_the_file_that_it_was_written_to(tmp_path):
    masks = np.zeros((2, 9, 20, 20), bool)
    masks[0, ::4, 4:12, 4:12] = masks[1, :5:4, 8:16, 8:16] = True  # overlapping; the second ends
    volume = Volume(np.zeros((1, 9, 20, 20), np.float32), np.zeros(3), np.ones(3), np.eye(3))
    drawings = drawings_from_masks(masks, ["one", "two"], empty={"two": [8]})
    places = [1, 2, 3, 5, 6, 7]
    filled = masks.copy()
    filled[0, places, 4:12, 5:13] = filled[1, 1:4, 8:16, 9:17] = True
    filling = Filling(["one", "two"], filled, 0, [0.9, 0.9], np.zeros(9), 2, [places, places])
    structures, path = [describe(1, "one"), describe(2, "two")], tmp_path / "case.seg.nrrd"
    write_filling(path, filling, drawings, structures, volume)
    again, _ = read_drawings(path, volume)
    assert np.array_equal(again.masks, masks) and again.slices == drawings.slices
    assert "filled anew" in again.warnings[0]
    tags = list(read_segments(path).tags.values())
    filled[0, 5] = masks[0, 4]  # corrected since
    write_segments(path, filled, structures, volume, [{FILLED: own[FILLED]} for own in tags])
    again, _ = read_drawings(path, volume)
    assert again.slices[0][0] == (0, 4, 5, 8) and again.masks[0, 5].sum() == 64
