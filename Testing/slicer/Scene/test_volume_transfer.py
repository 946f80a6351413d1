"""Volumes on their way to the engine: voxels, geometry, region of interest, and the folder that holds them."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from example_nodes import AXES_IJK_TO_RAS, OBLIQUE, SHAPE, rotation
from sam2adapt.imaging.volume import read_volume, same_geometry
from sam2adapt.requests.arrays import read_input
from sam2adapt.shared import errors


def asTheEngineReads(lib, volumeNode, tmp_path):
    return read_input(lib.VolumeTransfer.writeVolume(volumeNode, tmp_path / "volume.npy"))


def saved(slicer, volumeNode, path):
    storage = slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(path))
    assert storage.WriteData(volumeNode)
    return read_volume(path)


@pytest.mark.parametrize("axes", AXES_IJK_TO_RAS.values(), ids=AXES_IJK_TO_RAS.keys())
def test_engine_reads_what_it_would_read_from_a_file(lib, nodes, tmp_path, axes):
    volumeNode = nodes.addVolume(axes=axes)
    volumeNode.SetAndObserveTransformNodeID(nodes.addTransform().GetID())  # concerns the result only
    handedOver = asTheEngineReads(lib, volumeNode, tmp_path)
    fromFile = saved(nodes.slicer, volumeNode, tmp_path / "volume.nrrd")
    assert np.array_equal(handedOver.array, fromFile.array) and handedOver.array.dtype == fromFile.array.dtype
    assert same_geometry(handedOver, fromFile, tolerance=1e-9)


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_voxel_types(lib, nodes, tmp_path, dtype):
    voxels = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(dtype)
    handedOver = asTheEngineReads(lib, nodes.addVolume(voxels), tmp_path)
    assert handedOver.array.dtype == (np.float32 if dtype is np.float64 else dtype)
    assert np.array_equal(handedOver.array[0], voxels)


def test_name_and_modality_are_passed_on(lib, nodes, tmp_path):
    given = lib.VolumeTransfer.writeVolume(nodes.addVolume(name="Größe / 2"), tmp_path / "é ü.npy", "MR")
    assert (given["name"], given["modality"]) == ("Größe / 2", "MR")
    assert read_input(given).modality == "MR"


@pytest.mark.parametrize("channels", [3, 4])
def test_colour_volume(lib, nodes, tmp_path, channels):
    colours = np.random.default_rng(0).integers(0, 255, (1, 4, 5, channels)).astype(np.uint8)
    handedOver = asTheEngineReads(lib, nodes.addVolume(colours), tmp_path)
    assert handedOver.modality == "RGB"
    assert np.array_equal(handedOver.array, np.moveaxis(colours[..., :3], -1, 0))


def test_grey_volume_with_transparency(lib, nodes, tmp_path):
    voxels = np.random.default_rng(0).integers(0, 255, (2, 4, 5, 2)).astype(np.uint8)
    assert np.array_equal(asTheEngineReads(lib, nodes.addVolume(voxels), tmp_path).array, voxels[np.newaxis, ..., 0])


@pytest.mark.parametrize(("channels", "dtype"), [(3, np.float32), (6, np.uint8)])
def test_other_values_a_voxel_are_refused(lib, nodes, tmp_path, channels, dtype):
    volumeNode = nodes.addVolume(np.zeros((2, 4, 5, channels), dtype), name="displacements")
    with pytest.raises(errors.VolumeError, match=rf"displacements.*{channels} values"):
        lib.VolumeTransfer.writeVolume(volumeNode, tmp_path / "volume.npy")


def test_label_map_is_refused(lib, nodes, tmp_path):
    labels = np.ones(SHAPE, np.uint8)
    volumeNode = nodes.slicer.util.addVolumeFromArray(labels, name="organs", nodeClassName="vtkMRMLLabelMapVolumeNode")
    with pytest.raises(errors.VolumeError, match="'organs' is a label map"):
        lib.VolumeTransfer.writeVolume(volumeNode, tmp_path / "volume.npy")


def test_sheared_volume_is_refused(lib, nodes, tmp_path):
    shear = np.eye(3)
    shear[0, 2] = 0.2  # as of a tilted gantry
    volumeNode = nodes.addVolume(axes=shear / np.linalg.norm(shear, axis=0), name="tilted")
    with pytest.raises(errors.GeometryError, match=r"'tilted' are not perpendicular"):
        lib.VolumeTransfer.writeVolume(volumeNode, tmp_path / "volume.npy")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs Linux's device that is always full")
def test_full_disk_is_said(lib, nodes):
    with pytest.raises(errors.OutputError, match="No space left on device"):
        lib.VolumeTransfer.writeVolume(nodes.addVolume(np.zeros((64, 64, 64), np.int16)), "/dev/full")


@pytest.fixture
def temporaryFolder(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_folder_is_private_and_removed_with_all_that_is_in_it(lib, temporaryFolder):
    with lib.PrivateFolder.PrivateFolder() as folder:
        assert folder.path.parent == temporaryFolder
        if os.name == "posix":
            assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
        (folder.path / "deep").mkdir()
        (folder.path / "deep" / "a.npy").write_bytes(b"1")
    assert not list(temporaryFolder.iterdir())
    folder.close()


def test_folder_is_removed_when_the_block_fails(lib, temporaryFolder):
    with pytest.raises(ZeroDivisionError), lib.PrivateFolder.PrivateFolder():
        raise ZeroDivisionError
    assert not list(temporaryFolder.iterdir())


def folderOfAnotherProcess(temporaryFolder, ending):
    """Name of the folder that a process made which then ended in this way."""
    sources = str(Path(errors.__file__).parents[3])
    code = (
        f"import sys, types, os; sys.path.insert(0, {sources!r}); import slicer\n"
        "sys.modules['slicer.i18n'] = types.SimpleNamespace(tr=str)\n"
        "from SAM2AdaptLib.Engine.PrivateFolder import PrivateFolder\n"
        "folder = PrivateFolder(); print(folder.path.name)\n"
        f"sys.stdout.flush(); {ending}"
    )
    environment = {**os.environ, "TMPDIR": str(temporaryFolder)}
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", env=environment, check=False
    )
    assert child.stdout, child.stderr
    return child.stdout.strip()


def test_folder_goes_when_slicer_quits(lib, temporaryFolder):
    name = folderOfAnotherProcess(temporaryFolder, "pass")
    assert not (temporaryFolder / name).exists()


def test_folder_of_a_killed_process_goes_next_time(lib, temporaryFolder):
    name = folderOfAnotherProcess(temporaryFolder, "os.kill(os.getpid(), 9)")
    assert (temporaryFolder / name).exists()
    alive = temporaryFolder / f"SAM2Adapt-job-{os.getpid()}-abcdefgh"
    others = [temporaryFolder / "SAM2Adapt-job-notes", temporaryFolder / "SAM2Adapt-job-2026-results-of-mine"]
    for folder in [alive, *others]:
        folder.mkdir()
    with lib.PrivateFolder.PrivateFolder():
        assert not (temporaryFolder / name).exists()
        assert all(folder.exists() for folder in [alive, *others])


def test_temporary_folder_that_is_missing_is_said(lib, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    with pytest.raises(errors.OutputError, match="No temporary folder could be made"):
        lib.PrivateFolder.PrivateFolder()


def centersInside(volumeNode, lib, parent, center, size, axes):
    """Voxels (K, J, I) whose centre lies in a region given in world coordinates, one by one."""
    shape = volumeNode.GetImageData().GetDimensions()[::-1]
    k, j, i = np.meshgrid(*map(np.arange, shape), indexing="ij")
    ijk = np.stack([i, j, k, np.ones_like(i)], axis=-1)
    world = ijk @ (parent @ lib.Geometry.ijkToRAS(volumeNode)).T
    local = (world[..., :3] - center) @ axes
    return (np.abs(local) <= np.array(size) / 2).all(axis=-1)


@pytest.mark.parametrize("axes", AXES_IJK_TO_RAS.values(), ids=AXES_IJK_TO_RAS.keys())
@pytest.mark.parametrize("transformed", [False, True], ids=["untransformed", "transformed"])
@pytest.mark.parametrize("rotated", [False, True], ids=["straight", "rotated"])
def test_region_holds_the_voxels_in_it_and_hardly_more(lib, nodes, axes, transformed, rotated):
    shape, size = (20, 24, 28), (18.0, 14.0, 10.0)
    volumeNode = nodes.addVolume(np.zeros(shape, np.int16), axes=axes, spacing=(1.0, 1.2, 1.5))
    parent = np.eye(4)
    if transformed:
        transform = nodes.addTransform(rotation(30, 1))
        volumeNode.SetAndObserveTransformNodeID(transform.GetID())
        parent = nodes.slicer.util.arrayFromTransformMatrix(transform)
    regionAxes = OBLIQUE if rotated else np.eye(3)
    center = (parent @ lib.Geometry.ijkToRAS(volumeNode) @ (14, 12, 10, 1))[:3]
    region = nodes.addRegion(center, size, regionAxes)
    box = lib.VolumeTransfer.voxelBox(volumeNode, region, volumeNode.GetParentTransformNode())
    inside = np.argwhere(centersInside(volumeNode, lib, parent, center, size, regionAxes))[:, ::-1]
    assert len(inside) > 500
    starts, stops = np.array(box[::2]), np.array(box[1::2])
    assert (starts <= inside.min(axis=0)).all() and (stops > inside.max(axis=0)).all()
    # The corners of the region reach at most one voxel further than the centres in it, and more where they are sharp.
    slack = 3 if not np.allclose(np.abs(parent[:3, :3] @ axes).max(axis=0), 1) or rotated else 1
    assert (starts >= inside.min(axis=0) - slack).all() and (stops <= inside.max(axis=0) + 1 + slack).all()


def test_region_on_voxel_edges_is_exact(lib, nodes):
    volumeNode = nodes.addVolume(np.zeros((9, 9, 9), np.int16), axes=np.eye(3), spacing=(2, 2, 2), origin=(0, 0, 0))
    region = nodes.addRegion(center=(7.0, 9.0, 8.0), size=(4.0, 8.0, 2.0))  # edges at 5..9, 5..13, 7..9 mm
    assert lib.VolumeTransfer.voxelBox(volumeNode, region, None) == [3, 5, 3, 7, 4, 5]


def test_region_is_clipped_to_the_volume(lib, nodes):
    volumeNode = nodes.addVolume(axes=np.eye(3), spacing=(1, 1, 1), origin=(0, 0, 0))
    assert lib.VolumeTransfer.voxelBox(volumeNode, nodes.addRegion((0, 0, 0), (99.0,) * 3), None) == [0, 7, 0, 6, 0, 5]


def test_thin_region_takes_the_slice_that_it_lies_in(lib, nodes):
    volumeNode = nodes.addVolume(axes=np.eye(3), spacing=(1, 1, 5), origin=(0, 0, 0))
    box = lib.VolumeTransfer.voxelBox(volumeNode, nodes.addRegion((3, 3, 11.8), (2.0, 2.0, 0.5)), None)
    assert box[4:] == [2, 3]


@pytest.mark.parametrize(("center", "size", "message"), [((500, 0, 0), (5.0,) * 3, "outside"),
                                                         ((0, 0, 0), (0.0,) * 3, "not been placed")])  # fmt: skip
def test_region_without_voxels_is_refused(lib, nodes, center, size, message):
    with pytest.raises(errors.SettingsError, match=message):
        lib.VolumeTransfer.voxelBox(nodes.addVolume(), nodes.addRegion(center, size), None)
