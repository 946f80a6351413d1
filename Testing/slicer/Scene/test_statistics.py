"""The table of results, against sums made one voxel after the other and against VTK's own."""

import numpy as np
import pytest
import vtk
from example_nodes import LIVER, OBLIQUE, SPLEEN, twoLabels

SHAPE = (9, 16, 17)


@pytest.fixture
def measured(lib, nodes):
    """An oblique volume of random grey levels, and two touching segments in it."""
    voxels = np.random.default_rng(3).normal(40, 300, SHAPE).astype(np.int16)
    volumeNode = nodes.addVolume(voxels, axes=OBLIQUE, spacing=(0.7, 0.9, 3.0))
    labels = twoLabels(SHAPE)
    return volumeNode, lib.LabelImport.importLabels(volumeNode, labels, [LIVER, SPLEEN]), voxels, labels


def test_against_numpy(lib, nodes, measured):
    volumeNode, node, voxels, labels = measured
    rows = lib.Statistics.measure(volumeNode, node)
    assert [row["structure"] for row in rows] == ["liver", "spleen"]
    assert [row["segmentId"] for row in rows] == nodes.segmentIds(node)
    for row, value in zip(rows, (1, 5), strict=True):
        inside = voxels[labels == value].astype(float)
        assert row["voxels"] == inside.size
        assert row["ml"] == pytest.approx(inside.size * 0.7 * 0.9 * 3 / 1000)
        assert row["mean"] == pytest.approx(inside.mean())
        assert (row["minimum"], row["maximum"]) == (inside.min(), inside.max())


def test_against_vtk(lib, nodes, measured):
    """vtkImageAccumulate with a stencil, which Slicer's Segment Statistics uses."""
    volumeNode, node, _, _ = measured
    for row in lib.Statistics.measure(volumeNode, node):
        mask = nodes.slicer.vtkOrientedImageData()
        reference = nodes.slicer.vtkSlicerSegmentationsModuleLogic.CreateOrientedImageDataFromVolumeNode(volumeNode)
        ids = vtk.vtkStringArray()
        ids.InsertNextValue(row["segmentId"])
        node.GenerateMergedLabelmapForAllSegments(
            mask, nodes.slicer.vtkSegmentation.EXTENT_REFERENCE_GEOMETRY, reference, ids
        )
        plain = vtk.vtkImageData()
        plain.DeepCopy(mask)
        plain.SetSpacing(1, 1, 1)
        plain.SetOrigin(0, 0, 0)
        stencil = vtk.vtkImageToImageStencil()
        stencil.SetInputData(plain)
        stencil.ThresholdByUpper(1)
        accumulate = vtk.vtkImageAccumulate()
        accumulate.SetInputData(volumeNode.GetImageData())
        accumulate.SetStencilData((stencil.Update(), stencil.GetOutput())[1])
        accumulate.Update()
        assert row["voxels"] == accumulate.GetVoxelCount()
        assert row["mean"] == pytest.approx(accumulate.GetMean()[0])
        assert (row["minimum"], row["maximum"]) == (accumulate.GetMin()[0], accumulate.GetMax()[0])


def test_overlapping_segments_are_measured_each_on_its_own(lib, nodes, measured):
    volumeNode, node, voxels, labels = measured
    whole = np.zeros(SHAPE, np.uint8)
    whole[:, 1:8, 1:9] = 1
    lib.LabelImport.importLabels(volumeNode, whole, [{"id": 1, "name": "abdomen"}], node)
    rows = {row["structure"]: row for row in lib.Statistics.measure(volumeNode, node)}
    assert rows["abdomen"]["voxels"] == whole.sum() and rows["liver"]["voxels"] == (labels == 1).sum()
    assert rows["abdomen"]["mean"] == pytest.approx(voxels[whole == 1].astype(float).mean())


def test_chosen_segments_in_the_order_asked_for(lib, nodes, measured):
    volumeNode, node = measured[:2]
    liver, spleen = nodes.segmentIds(node)
    rows = lib.Statistics.measure(volumeNode, node, [spleen, liver])
    assert [row["structure"] for row in rows] == ["spleen", "liver"]
    assert rows[::-1] == lib.Statistics.measure(volumeNode, node)


def test_empty_segment_has_no_intensity(lib, nodes, measured):
    volumeNode = measured[0]
    node = lib.LabelImport.importLabels(volumeNode, (measured[3] == 1).astype(np.uint8), [LIVER, SPLEEN])
    (row,) = lib.Statistics.measure(volumeNode, node, nodes.segmentIds(node)[1:])
    assert (row["voxels"], row["ml"], row["mean"], row["minimum"], row["maximum"]) == (0, 0, None, None, None)


def test_colour_image_has_volumes_only(lib, nodes):
    colours = np.random.default_rng(0).integers(0, 255, (1, 9, 8, 3)).astype(np.uint8)
    volumeNode = nodes.addVolume(colours)
    labels = np.zeros((1, 9, 8), np.uint8)
    labels[0, 2:5, 3:6] = 1
    node = lib.LabelImport.importLabels(volumeNode, labels, [LIVER])
    (row,) = lib.Statistics.measure(volumeNode, node)
    assert (row["voxels"], row["mean"]) == (9, None)


def test_no_segment_gives_no_row(lib, nodes):
    assert lib.Statistics.measure(nodes.addVolume(), nodes.scene.AddNewNodeByClass("vtkMRMLSegmentationNode")) == []


def test_segmentation_is_not_changed(lib, nodes, measured):
    volumeNode, node = measured[:2]
    before = node.GetMTime(), node.GetSegmentation().GetMTime(), nodes.scene.GetNumberOfNodes()
    lib.Statistics.measure(volumeNode, node)
    assert (node.GetMTime(), node.GetSegmentation().GetMTime(), nodes.scene.GetNumberOfNodes()) == before


def test_text_for_the_clipboard(lib):
    rows = [
        {"structure": "left\tlung", "ml": 2786.0649, "mean": -822.26, "minimum": -986, "maximum": 615, "voxels": 30011},
        {"structure": "heart", "ml": 0.0, "mean": None, "minimum": None, "maximum": None, "voxels": 0},
    ]
    assert lib.Statistics.asText(rows).splitlines() == [
        "Structure\tVolume (mL)\tMean\tMinimum\tMaximum\tVoxels",
        "left lung\t2786.06\t-822.3\t-986.0\t615.0\t30011",
        "heart\t0.00\t\t\t\t0",
    ]
