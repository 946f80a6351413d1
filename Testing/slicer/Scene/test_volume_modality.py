"""Kind of a volume node: DICOM tag first, grey levels else."""

from types import SimpleNamespace

import numpy as np
import pytest

CT = np.full((6, 7, 8), -1000, np.int16)
CT[2:4] = 40
MR = np.full((6, 7, 8), 30, np.int16)


@pytest.fixture
def database(slicerCore, monkeypatch):
    """Slicer's DICOM database with one MR instance, as far as it is asked."""
    values = {("1.2.3", "0008,0060"): "MR", ("1.2.4", "0008,0060"): "PT"}
    fake = SimpleNamespace(instanceValue=lambda uid, tag: values.get((uid, tag), ""))
    monkeypatch.setattr(slicerCore, "dicomDatabase", fake, raising=False)


def test_grey_levels_tell_ct_from_mr(lib, nodes):
    assert [lib.VolumeModality.volumeModality(nodes.addVolume(voxels)) for voxels in (CT, MR)] == ["CT", "MR"]
    assert lib.VolumeModality.dicomModality(nodes.addVolume(CT)) == ""


def test_colour_and_hollow_volumes(lib, nodes):
    assert lib.VolumeModality.volumeModality(nodes.addVolume(np.zeros((1, 4, 5, 3), np.uint8))) == "RGB"
    assert lib.VolumeModality.volumeModality(nodes.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")) == ""


def test_tag_in_the_database_counts_more_than_grey_levels(lib, nodes, database):
    volumeNode = nodes.addVolume(CT)
    volumeNode.SetAttribute("DICOM.instanceUIDs", "1.2.3 1.2.5")
    assert lib.VolumeModality.volumeModality(volumeNode) == lib.VolumeModality.dicomModality(volumeNode) == "MR"


def test_other_modalities_are_neither_ct_nor_mr(lib, nodes, database):
    volumeNode = nodes.addVolume(MR)
    volumeNode.SetAttribute("DICOM.instanceUIDs", "1.2.4")
    assert lib.VolumeModality.volumeModality(volumeNode) == lib.VolumeModality.dicomModality(volumeNode) == ""


def test_series_that_left_the_database(lib, nodes, database):
    volumeNode = nodes.addVolume(CT)
    volumeNode.SetAttribute("DICOM.instanceUIDs", "9.9.9")
    assert lib.VolumeModality.volumeModality(volumeNode) == "CT"


def test_tag_in_the_subject_hierarchy_of_a_saved_scene(lib, nodes):
    volumeNode = nodes.addVolume(CT)
    hierarchy = nodes.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(nodes.scene)
    item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), volumeNode)
    hierarchy.SetItemAttribute(item, "DICOM.Modality", "MR")
    assert lib.VolumeModality.volumeModality(volumeNode) == "MR"


def test_large_volume_is_sampled(lib, nodes):
    voxels = np.full((3, 200, 200), 100, np.int16)
    voxels[1, 40:60, 40:60] = -900
    assert lib.VolumeModality.volumeModality(nodes.addVolume(voxels)) == "CT"
