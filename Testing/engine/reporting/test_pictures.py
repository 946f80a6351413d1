"""Slices of a case as pictures: the right slice, the right way round, with the right colours."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from sam2adapt.imaging.terminology import Structure
from sam2adapt.imaging.volume import Volume
from sam2adapt.reporting.case import Case, case_of_masks
from sam2adapt.reporting.pictures import Views

RED, GREEN = Structure(1, "red", color=(1.0, 0.0, 0.0)), Structure(2, "green", color=(0.0, 1.0, 0.0))
# Voxel axes I, J, K by the ends to which they run; the first is the usual LPS.
ORIENTATIONS = ("LPS", "RAS", "PSL", "IRA", "SLP")
_VECTORS = {"L": (1, 0, 0), "R": (-1, 0, 0), "P": (0, 1, 0), "A": (0, -1, 0), "S": (0, 0, 1), "I": (0, 0, -1)}
_LPS = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}


def pixels(picture):
    data = base64.b64decode(picture.data.removeprefix("data:image/jpeg;base64,"))
    return np.asarray(Image.open(io.BytesIO(data))).astype(int)


def stored(lps: np.ndarray, ends: str) -> tuple[np.ndarray, np.ndarray]:
    """An array indexed [l, p, s] as (K, J, I) of a volume whose I, J, K run to ``ends``; and its direction."""
    axes = [_LPS[end][0] for end in ends]
    out = lps.transpose(axes)[tuple(slice(None, None, _LPS[end][1]) for end in ends)]
    return np.ascontiguousarray(out.transpose(2, 1, 0)), np.array([_VECTORS[end] for end in ends], float).T


@pytest.mark.parametrize("ends", ORIENTATIONS)
def test_patient_lies_as_radiologists_expect(ends):
    """Red marks left, front and head of the patient; green is at the other corner."""
    image, labels = np.zeros((12, 14, 16), np.int16), np.zeros((12, 14, 16), np.uint8)
    labels[8:, :5, 11:] = 1  # left, anterior, superior
    labels[:3, 10:, :4] = 2
    array, direction = stored(image, ends)
    marks, _ = stored(labels, ends)
    spacing = np.ones(3)
    case = Case(Volume(array[np.newaxis], np.zeros(3), spacing, direction), [marks], [RED, GREEN])
    pictures = {picture.plane: picture for picture in Views(case).planes(160)}
    assert list(pictures) == ["axial", "coronal", "sagittal"]
    for plane, on_the_right in (("axial", True), ("coronal", True), ("sagittal", False)):
        shown = pixels(pictures[plane])
        reddish = np.argwhere(shown[..., 0] > shown[..., 1] + 30)
        assert len(reddish), plane
        row, column = reddish.mean(axis=0) / shown.shape[:2]
        assert row < 0.5, plane
        assert bool(column > 0.5) is on_the_right, plane


def test_slice_with_most_of_the_structures_is_shown_and_counted_as_in_the_file():
    image, labels = np.zeros((1, 10, 20, 20), np.int16), np.zeros((10, 20, 20), np.uint8)
    labels[3, 2:9, 2:9] = 1
    labels[7, 2:4, 2:4] = 1
    case = Case(Volume(image, np.zeros(3), np.ones(3), np.eye(3)), [labels], [RED])
    assert next(picture.caption for picture in Views(case).planes(64)) == "axial 4 of 10"
    assert [picture.number for picture in Views(case).strip(3, 32)] == [8, 6, 4]  # from the head to the feet


def test_pixels_have_the_shape_of_the_patient():
    image = np.zeros((1, 10, 40, 20), np.int16)
    case = Case(
        Volume(image, np.zeros(3), np.array([2.0, 1.0, 8.0]), np.eye(3)), [np.zeros((10, 40, 20), np.uint8)], []
    )
    sizes = {picture.plane: (picture.width, picture.height) for picture in Views(case).planes(80)}
    assert sizes == {"axial": (80, 80), "coronal": (40, 80), "sagittal": (40, 80)}


def test_photograph_is_one_picture_in_its_colours():
    image = np.zeros((3, 1, 30, 90), np.uint8)
    image[2] = 200
    labels = np.zeros((1, 30, 90), np.uint8)
    labels[0, 5:25, 5:45] = 1
    case = Case(Volume(image, np.zeros(3), np.ones(3), np.eye(3), physical=False, modality="RGB"), [labels], [RED])
    (picture,) = Views(case).planes(100)
    assert (picture.caption, picture.width, picture.height) == ("picture", 160, 53)
    shown = pixels(picture)
    assert np.abs(shown[25, 140] - (0, 0, 200)).max() < 12
    assert np.abs(shown[25, 40] - (64, 0, 150)).max() < 12  # a quarter of it is the structure's colour
    assert case.sizes[0].ml is None
    assert case.sizes[0].voxels == 800


def test_overlapping_structures_keep_their_whole_volumes():
    masks = np.zeros((2, 4, 10, 10), bool)
    masks[0, 1:3, 2:8, 2:8] = masks[1, 2:4, 4:9, 4:9] = True
    volume = Volume(np.zeros((1, 4, 10, 10), np.int16), np.zeros(3), np.array([1.0, 1.0, 5.0]), np.eye(3))
    case = case_of_masks(volume, list(zip((RED, GREEN), masks, strict=True)))
    assert [(size.voxels, round(size.ml, 4), size.cut) for size in case.sizes] == [(72, 0.36, False), (50, 0.25, True)]


def test_damaged_grey_levels_are_drawn():
    """NaN, infinity, one value only, a single voxel."""
    damaged = np.full((3, 4, 5), np.nan, np.float32)
    damaged[0, 0, :2] = np.inf, 3
    for array in (damaged, np.full((3, 4, 5), 7, np.uint16), np.zeros((1, 1, 1), np.int8)):
        volume = Volume(array[np.newaxis], np.zeros(3), np.ones(3), np.eye(3))
        assert all(picture.width for picture in Views(Case(volume, [], [])).planes(40))
