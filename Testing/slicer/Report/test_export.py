"""Segmentations as NIfTI and as surfaces: every voxel and every structure arrives, whatever its name is."""

import numpy as np
import pytest
import SimpleITK as sitk
import vtk
from example_nodes import LIVER, OBLIQUE, SPLEEN, twoLabels
from sam2adapt.shared.labels.label_names import label_table

SHAPE = (9, 16, 17)


@pytest.fixture
def liver(lib, nodes):
    """An oblique volume, and two structures in it."""
    volumeNode = nodes.addVolume(np.zeros(SHAPE, np.int16), axes=OBLIQUE, spacing=(0.7, 0.9, 3.0))
    return volumeNode, lib.LabelImport.importLabels(volumeNode, twoLabels(SHAPE), [LIVER, SPLEEN])


def readSurface(path):
    reader = vtk.vtkSTLReader()
    reader.SetFileName(str(path))
    reader.Update()
    return reader.GetOutput()


def surfaceBounds(path):
    return np.array(readSurface(path).GetBounds())


def surfaceVolume(path):
    properties = vtk.vtkMassProperties()
    properties.SetInputData(readSurface(path))
    return properties.GetVolume()


@pytest.mark.parametrize("name", ["x.nii.gz", "Über 心.NII"])
def test_label_map_has_all_voxels_and_names(lib, liver, tmp_path, name):
    volumeNode, node = liver
    assert lib.Export.labelmap(volumeNode, node, tmp_path / name) == []
    image = sitk.ReadImage(str(tmp_path / name), sitk.sitkUInt8)
    np.testing.assert_array_equal(sitk.GetArrayFromImage(image), np.array([0, 1, 0, 0, 0, 2])[twoLabels(SHAPE)])
    _channels, origin, spacing, direction = lib.VolumeTransfer.volumeToArrays(volumeNode)
    for found, expected in ((image.GetOrigin(), origin), (image.GetSpacing(), spacing)):
        np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_allclose(image.GetDirection(), direction.ravel(), atol=1e-6)
    entries = label_table(tmp_path / name).entries
    assert {value: entry.name for value, entry in entries.items()} == {1: "liver", 2: "spleen"}
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, name.split(".")[0] + ".tsv"])


def test_overlap_is_said(lib, nodes, liver, tmp_path):
    volumeNode, node = liver
    segment = nodes.slicer.vtkSegment()
    segment.DeepCopy(node.GetSegmentation().GetSegment(nodes.segmentIds(node)[0]))
    segment.SetName("whole")
    node.GetSegmentation().AddSegment(segment)
    notes = lib.Export.labelmap(volumeNode, node, tmp_path / "x.nii.gz")
    assert len(notes) == 1 and "'liver' count as 'whole'" in notes[0]


def test_every_structure_has_a_surface_whatever_its_name(lib, nodes, liver, tmp_path):
    """Slicer's own export loses the first two: a slash is a folder, and the second takes the file of the first."""
    _, node = liver
    first, second = (node.GetSegmentation().GetSegment(segmentId) for segmentId in nodes.segmentIds(node))
    first.SetName("a/b: ü <x>")
    second.SetName("A/b: ü <x>")
    node.GetSegmentation().AddEmptySegment("empty", "empty")
    node.SetName("CT/1")
    paths, _notes = lib.Surfaces.surfaces(node, tmp_path, "STL")
    assert [path.name for path in paths] == ["CT_1_A_b_ ü _x_ 2.stl", "CT_1_a_b_ ü _x_.stl"]
    assert [first.GetName(), second.GetName()] == ["a/b: ü <x>", "A/b: ü <x>"]
    assert all((surfaceBounds(path)[1::2] > surfaceBounds(path)[::2]).all() for path in paths)
    assert {path.suffix for path in lib.Surfaces.surfaces(node, tmp_path, "OBJ")[0]} == {".obj", ".mtl"}


def test_surface_lies_where_the_structure_is_shown(lib, nodes, tmp_path):
    volumeNode = nodes.addVolume(np.zeros((10, 20, 20), np.int16), axes=np.eye(3), spacing=(1.0, 1.0, 2.0))
    labels = np.zeros((10, 20, 20), np.uint8)
    labels[2:8, 5:15, 5:15] = 1
    node = lib.LabelImport.importLabels(volumeNode, labels, [LIVER])
    still = surfaceBounds(lib.Surfaces.surfaces(node, tmp_path)[0][0])
    node.SetAndObserveTransformNodeID(nodes.addTransform(np.eye(3), (5.0, -3.0, 2.0)).GetID())
    (tmp_path / "moved").mkdir()
    moved = surfaceBounds(lib.Surfaces.surfaces(node, tmp_path / "moved")[0][0])
    np.testing.assert_allclose(moved - still, [-5, -5, 3, 3, 2, 2], atol=1e-4)  # in LPS


def test_smoothing_takes_no_thin_structure_away(lib, nodes, tmp_path):
    """With the default, nearly nothing is left of the first three, and of the fourth no file."""
    volumeNode = nodes.addVolume(np.zeros((32, 32, 32), np.int16), axes=np.eye(3), spacing=(1.0, 2.0, 0.5))
    labels = np.zeros((32, 32, 32), np.uint8)
    for value, (at, size) in enumerate([(1, (3, 3, 3)), (5, (2, 2, 2)), (8, (20, 2, 2)), (30, (1, 1, 1))], start=1):
        labels[at : at + size[0], at : at + size[1], at : at + size[2]] = value
    labels[8:28, 12:30, 12:30] = 5
    structures = [{"id": n, "name": name} for n, name in enumerate(("3", "2", "vessel", "1", "organ"), start=1)]
    node = lib.LabelImport.importLabels(volumeNode, labels, structures)
    paths, notes = lib.Surfaces.surfaces(node, tmp_path)
    shares = {path.stem.split("_")[-1]: surfaceVolume(path) for path in paths}
    shares = {s["name"]: shares[s["name"]] / np.count_nonzero(labels == s["id"]) for s in structures}
    assert shares["organ"] > 0.97 and min(shares["3"], shares["2"], shares["vessel"]) > 0.6 and shares["1"] > 0.1
    assert len(notes) == 4 and "'vessel' is thin" in notes[2] and "organ" not in str(notes)
    assert node.GetSegmentation().GetConversionParameter("Smoothing factor") != "0"


def test_surfaces_that_enclose_nothing_are_written_too(lib, nodes, tmp_path):
    """A segmentation that stores surfaces may hold an open one, such as a plane to cut along."""
    node, plane = nodes.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "plan"), vtk.vtkPlaneSource()
    node.GetSegmentation().SetSourceRepresentationName(lib.LabelMaps.surfaceName())
    plane.Update()
    node.AddSegmentFromClosedSurfaceRepresentation(plane.GetOutput(), "cut", [1.0, 0.0, 0.0], "cut")
    node.GetSegmentation().AddEmptySegment("empty", "empty")
    paths, notes = lib.Surfaces.surfaces(node, tmp_path)
    assert [path.name for path in paths] == ["plan_cut.stl"] and notes == []


def test_bad_input_is_said(lib, nodes, liver, tmp_path):
    volumeNode, node = liver
    empty = nodes.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    undrawn = nodes.scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "undrawn")
    undrawn.GetSegmentation().AddEmptySegment("empty", "empty")
    lib.Surfaces.surfaces(node, tmp_path)

    for call, words in (
        (lambda: lib.Surfaces.surfaces(undrawn, tmp_path), "All segments of 'undrawn' are empty"),
        (lambda: lib.Export.labelmap(volumeNode, empty, tmp_path / "x.nii.gz"), "'nothing' has no segments"),
        (lambda: lib.Surfaces.surfaces(empty, tmp_path), "'nothing' has no segments"),
        (lambda: lib.Surfaces.surfaces(node, tmp_path), "exists already"),
        (lambda: lib.Surfaces.surfaces(node, tmp_path / "missing"), "does not exist"),
        (lambda: lib.Export.labelmap(volumeNode, node, tmp_path / "missing" / "x.nii.gz"), "does not exist"),
        (lambda: lib.Export.labelmap(volumeNode, node, tmp_path / "x.mha"), "not the name of a NIfTI file"),
    ):
        with pytest.raises(lib.Error.EngineError, match=words):
            call()
    assert not [path for path in tmp_path.iterdir() if path.suffix != ".stl"]


def test_hundreds_of_structures(lib, nodes, tmp_path):
    volumeNode = nodes.addVolume(np.zeros((8, 10, 10), np.int16))
    labels = np.zeros((8, 10, 10), np.uint8)
    labels.reshape(-1)[:255] = np.arange(1, 256)
    structures = [{"id": n, "name": f"{n} " + "x" * 200} for n in range(1, 256)]
    node = lib.LabelImport.importLabels(volumeNode, labels, structures)
    lib.Export.labelmap(volumeNode, node, tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "x.nii.gz"))), labels)
