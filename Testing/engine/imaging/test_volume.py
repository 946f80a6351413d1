"""Reading and writing volumes: geometry, voxel types, pictures and labels."""

import gzip
import os
import struct
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sam2adapt.imaging.volume import Volume, read_labels, read_volume, same_geometry, write_volume
from sam2adapt.shared.errors import InputFileError
from small_volumes import noise, volume_of

DATA = os.environ.get("SAM2ADAPT_DATA")
needs_data = pytest.mark.skipif(not DATA, reason="SAM2ADAPT_DATA is not set")


@st.composite
def geometries(draw):
    """Axis permutations and flips of a frame turned by any angle, anisotropic spacing, also of one slice."""
    axis = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 3)))
    axis[2] += 1e-3 if axis[2] >= 0 else -1e-3
    angle, axis = draw(st.floats(0, np.pi)), axis / np.linalg.norm(axis)
    cross = np.cross(np.eye(3), axis)
    turn = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    order, signs = draw(st.permutations(range(3))), draw(st.tuples(*[st.sampled_from((-1, 1))] * 3))
    return {
        "origin": draw(st.tuples(*[st.floats(-500, 500)] * 3)),
        "spacing": draw(st.tuples(*[st.floats(0.05, 12)] * 3)),
        "direction": turn[:, order] * signs,
    }


@settings(max_examples=60, deadline=None)
@given(
    geometries(),
    st.tuples(st.integers(1, 5), st.integers(2, 6), st.integers(2, 7)),
    st.sampled_from([".nrrd", ".mha", ".nii.gz", ".nii"]),
    st.sampled_from([np.int16, np.uint8, np.float32]),
)
def test_round_trip(tmp_path_factory, geometry, shape, suffix, kind):
    volume = volume_of(noise(*shape, kind=kind), **geometry)
    path = tmp_path_factory.mktemp("round") / f"a{suffix}"
    write_volume(path, volume)
    back = read_volume(path)
    assert back.array.dtype == kind
    np.testing.assert_array_equal(back.array, volume.array)
    # NIfTI stores 32-bit floats: 1e-7 of the origin, and of the size of the volume
    exact = 1e-6 if not suffix.startswith(".nii") else 5e-7 * (500 + 12 * 7) + 1e-6
    corners = np.array([[i, j, k, 1] for i in (0, shape[2] - 1) for j in (0, shape[1] - 1) for k in (0, shape[0] - 1)])
    np.testing.assert_allclose(corners @ back.affine.T, corners @ volume.affine.T, rtol=0, atol=exact)
    assert same_geometry(volume, back)


def test_world_coordinates_are_itks():
    volume = volume_of(noise(3, 4, 5), direction=[[0, 0, 1], [1, 0, 0], [0, -1, 0]])
    image = sitk.GetImageFromArray(volume.array[0])
    image.SetOrigin(volume.origin)
    image.SetSpacing(volume.spacing)
    image.SetDirection(volume.direction.ravel())
    np.testing.assert_allclose((volume.affine @ (4, 2, 1, 1))[:3], image.TransformIndexToPhysicalPoint((4, 2, 1)))
    assert volume.size == (5, 4, 3) and volume.channels == 1


def test_with_array_keeps_the_place_and_refuses_another_grid():
    volume = volume_of(noise(3, 3, 4, 5), modality="RGB")
    labels = volume.with_array(np.zeros((3, 4, 5), np.uint8))
    assert labels.array.shape == (1, 3, 4, 5) and labels.modality == "" and same_geometry(labels, volume)
    with pytest.raises(ValueError, match="grid"):
        volume.with_array(np.zeros((4, 3, 5), np.uint8))
    with pytest.raises(ValueError, match="C, K, J, I"):
        Volume(np.zeros((2, 3, 4)), np.zeros(3), np.ones(3), np.eye(3))


def test_same_geometry_sees_each_difference():
    volume = volume_of(noise(3, 4, 5))
    assert not same_geometry(volume, volume_of(noise(3, 4, 6)))
    assert not same_geometry(volume, volume_of(noise(3, 4, 5), origin=(10.5, -20.25, 0.7)))
    assert not same_geometry(volume, volume_of(noise(3, 4, 5), spacing=(0.7, 0.9, 3.1)))
    assert not same_geometry(volume, volume_of(noise(3, 4, 5), direction=np.diag([-1, 1, 1])))
    assert same_geometry(volume, volume_of(noise(3, 4, 5), origin=(10.5005, -20.25, 1 / 3)))
    assert same_geometry(volume, volume_of(noise(3, 4, 5), spacing=(1, 1, 1), physical=False))


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_2d_files_get_one_slice(tmp_path, suffix):
    sitk.WriteImage(sitk.GetImageFromArray(noise(6, 7)), str(tmp_path / f"flat{suffix}"))
    assert read_volume(tmp_path / f"flat{suffix}").size == (7, 6, 1)


@pytest.mark.parametrize("name", ["Größe 体积 ñ.nii.gz", "Größe 体积 ñ.nrrd", "ü.png", "ü.jpg"])
def test_paths_outside_ascii(tmp_path, name):
    folder = tmp_path / "Überführung µ"
    folder.mkdir()
    if name.endswith(".jpg"):
        Image.fromarray(noise(6, 7, kind=np.uint8)).save(folder / name)
    else:
        write_volume(folder / name, volume_of(noise(1, 6, 7, kind=np.uint8)))
    volume = read_volume(folder / name)
    assert volume.size == (7, 6, 1) and volume.name == Path(name).name.split(".")[0]


def test_float64_becomes_float32_and_scaled_integers_are_scaled(tmp_path):
    write_volume(tmp_path / "a.nrrd", volume_of(noise(2, 3, 4, kind=np.float64)))
    assert read_volume(tmp_path / "a.nrrd").array.dtype == np.float32
    write_volume(tmp_path / "b.nii", volume_of(noise(2, 3, 4)))
    data = bytearray((tmp_path / "b.nii").read_bytes())
    struct.pack_into("<ff", data, 112, 2.0, -5.0)  # scl_slope, scl_inter
    (tmp_path / "b.nii").write_bytes(data)
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii").array[0], noise(2, 3, 4) * 2.0 - 5)
    (tmp_path / "b.nii.gz").write_bytes(gzip.compress(data))
    np.testing.assert_array_equal(read_volume(tmp_path / "b.nii.gz").array[0], noise(2, 3, 4) * 2.0 - 5)


def test_gzip_files_of_several_members_are_read(tmp_path):
    write_volume(tmp_path / "a.nii", volume_of(noise(9, 20, 20)))
    data = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data[:1000]) + gzip.compress(data[1000:]))
    np.testing.assert_array_equal(read_volume(tmp_path / "a.nii.gz").array[0], noise(9, 20, 20))


# pictures


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
@pytest.mark.parametrize("colour", [False, True])
def test_pictures(tmp_path, suffix, kind, colour):
    array = (noise(6, 7, 3, kind=kind) if colour else noise(6, 7, kind=kind)) * (100 if kind == np.uint16 else 1)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=colour), str(tmp_path / f"a{suffix}"))
    volume = read_volume(tmp_path / f"a{suffix}")
    assert volume.array.dtype == kind and not volume.physical
    assert volume.modality == ("RGB" if colour else "")
    np.testing.assert_array_equal(volume.array[:, 0], np.moveaxis(array, -1, 0) if colour else array[np.newaxis])
    np.testing.assert_array_equal(volume.affine, np.eye(4))


@pytest.mark.parametrize(
    ("mode", "suffix", "channels"),
    [
        ("RGBA", ".png", 3),
        ("RGBA", ".tif", 3),
        ("LA", ".png", 1),
        ("P", ".png", 3),
        ("CMYK", ".jpg", 3),
        ("RGB", ".jpg", 3),
        ("L", ".jpg", 1),
        ("RGB", ".bmp", 3),
        ("1", ".png", 1),
    ],
)
def test_colour_models(tmp_path, mode, suffix, channels):
    picture = Image.fromarray(noise(16, 18, 3, kind=np.uint8)).convert("L" if mode == "LA" else mode).convert(mode)
    picture.save(tmp_path / f"a{suffix}")
    volume = read_volume(tmp_path / f"a{suffix}")
    assert volume.array.shape == (channels, 1, 16, 18)
    if suffix != ".jpg":
        wanted = np.asarray(picture.convert("RGB" if channels == 3 else "L")).reshape(16, 18, channels)
        np.testing.assert_array_equal(volume.array[:, 0], np.moveaxis(wanted, -1, 0))


def test_a_tiff_stack_is_a_volume_of_pictures(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(noise(5, 6, 7, kind=np.uint8)), str(tmp_path / "a.tif"))
    volume = read_volume(tmp_path / "a.tif")
    assert volume.size == (7, 6, 5) and not volume.physical


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_colour_volumes(tmp_path, suffix):
    array = noise(4, 5, 6, 3, kind=np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(array, isVector=True), str(tmp_path / f"a{suffix}"))
    volume = read_volume(tmp_path / f"a{suffix}")
    assert volume.modality == "RGB" and volume.physical
    np.testing.assert_array_equal(volume.array, np.moveaxis(array, -1, 0))
    write_volume(tmp_path / f"b{suffix}", volume)
    np.testing.assert_array_equal(read_volume(tmp_path / f"b{suffix}").array, volume.array)


# labels


@pytest.mark.parametrize("kind", [np.uint8, np.int16, np.int32, np.float32, np.float64])
def test_labels_of_any_type(tmp_path, kind):
    labels = noise(3, 4, 5) % 4
    sitk.WriteImage(sitk.GetImageFromArray(labels.astype(kind)), str(tmp_path / "l.nii.gz"))
    found = read_labels(tmp_path / "l.nii.gz")
    assert found.array.dtype == np.uint8
    np.testing.assert_array_equal(found.array[0], labels)


def test_label_values_beyond_255_are_kept(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.array([[[0, 1024]]], np.int32)), str(tmp_path / "l.nrrd"))
    assert read_labels(tmp_path / "l.nrrd").array.max() == 1024


@pytest.mark.parametrize("palette", [False, True])
def test_label_pictures(tmp_path, palette):
    labels = noise(6, 7, kind=np.uint8) % 3
    picture = Image.fromarray(labels)
    if palette:
        picture.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    picture.save(tmp_path / "l.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "l.png").array[0, 0], labels)


def test_bilevel_and_grey_rgb_label_pictures(tmp_path):
    mask = noise(6, 7, kind=np.uint8) % 2
    Image.fromarray(mask.astype(bool)).save(tmp_path / "bit.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "bit.png").array[0, 0], mask)
    Image.fromarray(np.stack([mask] * 3, -1)).save(tmp_path / "rgb.png")
    np.testing.assert_array_equal(read_labels(tmp_path / "rgb.png").array[0, 0], mask)


@pytest.mark.parametrize(
    ("array", "reason"),
    [
        (np.array([[[0, 0.5]]]), "whole"),
        (np.array([[[0, np.nan]]]), "whole"),
        (np.array([[[0, np.inf]]]), "whole"),
        (np.array([[[0, -1]]], np.int16), "-1"),
        (np.array([[[0, 1e12]]]), "no label"),
    ],
)
def test_what_is_no_label_is_refused(tmp_path, array, reason):
    sitk.WriteImage(sitk.GetImageFromArray(array), str(tmp_path / "l.nrrd"))
    with pytest.raises(InputFileError, match=reason):
        read_labels(tmp_path / "l.nrrd")


def test_a_colour_picture_is_no_label(tmp_path):
    Image.fromarray(noise(6, 7, 3, kind=np.uint8)).save(tmp_path / "l.png")
    with pytest.raises(InputFileError, match="colour"):
        read_labels(tmp_path / "l.png")
    with pytest.raises(InputFileError, match="DICOM"):
        read_labels(tmp_path)


@needs_data
def test_a_real_ct_and_its_labels():
    folder = Path(DATA) / "ct_sample" / "chaos_ct"
    image, labels = read_volume(folder / "image.nii.gz"), read_labels(folder / "label.nii.gz")
    assert image.size == (512, 512, 78) and image.array.dtype == np.int16
    assert labels.array.dtype == np.uint8 and same_geometry(image, labels)
    np.testing.assert_allclose(image.spacing, (0.7266, 0.7266, 2), atol=1e-3)
    assert 100 < image.array[labels.array == 1].mean() < 180  # liver in the portal phase
