"""The whole way with the real engine in its own process: node, file, network, file, segmentation."""

import os
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from dicom_samples import write_series
from example_engines import SOURCES
from sam2adapt.imaging.dicom.sop_classes import LABEL_MAP_SEGMENTATION
from sam2adapt.imaging.volume import read_labels, read_volume

slicerio = pytest.importorskip("slicerio")
pytest.importorskip("torch")

MODEL = "torso-ct"
NAMES = ["right lung", "left lung"]
SLICES = slice(12, 20)


@pytest.fixture
def chest(lib, nodes):
    """Eight slices of a real chest CT."""
    storage = nodes.slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(slicerio.get_testdata_file("CTChest4.nrrd"))
    whole = nodes.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    assert storage.ReadData(whole)
    matrix = lib.Geometry.ijkToRAS(whole)
    voxels = nodes.slicer.util.arrayFromVolume(whole)[SLICES].copy()
    matrix[:3, 3] += matrix[:3, 2] * SLICES.start
    nodes.scene.RemoveNode(whole)
    return nodes.slicer.util.addVolumeFromArray(voxels, ijkToRAS=matrix, name="chest")


def segment(lib, engine, volumeNode, segmentationNode=None, **options):
    errors = []
    job = lib.SegmentJob.start(
        engine, volumeNode, MODEL, segmentationNode, device="cpu", onError=lambda job, error: errors.append(error),
        **options,
    )  # fmt: skip
    engine.run(until=lambda: job.isOver)
    assert not errors, errors[0].details
    return job


def labelsOf(lib, volumeNode, job):
    """(K, J, I) values 1 and 2 for the lungs."""
    segmentation = job.segmentationNode.GetSegmentation()
    ids = [segmentation.GetSegmentIdBySegmentName(name) for name in NAMES]
    return lib.LabelExport.exportLabels(volumeNode, job.segmentationNode, ids)


@pytest.fixture(scope="module")
def commandLine(slicerCore, tmp_path_factory):
    """What `sam2adapt segment` finds in a volume that Slicer saved: a function of the node."""

    def run(volumeNode):
        folder = tmp_path_factory.mktemp("command-line")
        storage = slicerCore.vtkMRMLVolumeArchetypeStorageNode()
        storage.SetFileName(str(folder / "volume.nrrd"))
        assert storage.WriteData(volumeNode)
        command = [sys.executable, "-m", "sam2adapt", "segment", folder / "volume.nrrd", "--model", MODEL]
        outputs = ["-o", folder / "labels.seg.nrrd", "--uncertainty", folder / "uncertainty.nrrd"]
        paths = os.pathsep.join([str(SOURCES), *filter(None, [os.environ.get("PYTHONPATH")])])
        environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
        subprocess.run([*command, *outputs, "--device", "cpu"], check=True, capture_output=True, env=environment)
        return read_labels(folder / "labels.seg.nrrd").array[0], read_volume(folder / "uncertainty.nrrd").array[0]

    return run


def test_result_is_that_of_the_command_line(lib, nodes, servedEngine, chest, commandLine):
    chest.SetAndObserveTransformNodeID(nodes.addTransform().GetID())
    job = segment(lib, servedEngine, chest, uncertainty=True)
    labels, uncertainty = commandLine(chest)
    assert np.array_equal(labelsOf(lib, chest, job), labels) and set(np.unique(labels)) == {0, 1, 2}
    assert np.array_equal(nodes.slicer.util.arrayFromVolume(job.uncertaintyNode), uncertainty)
    assert job.result["device"] == "cpu" and job.result["slices"] == 8
    assert {s["name"]: s["voxels"] for s in job.result["structures"]} == {
        name: (labels == value).sum() for value, name in enumerate(NAMES, start=1)
    }


@pytest.mark.parametrize("order", [(1, 2, 0), (0, 2, 1), (2, 1, 0)], ids=["JIK", "KIJ", "IJK"])
def test_same_patient_in_another_axis_order(lib, nodes, servedEngine, chest, order):
    """Axes permuted and one of them reversed; voxels and geometry say the same patient."""
    expected = labelsOf(lib, chest, segment(lib, servedEngine, chest))
    voxels = np.flip(nodes.slicer.util.arrayFromVolume(chest).transpose(order), axis=1).copy()
    matrix = lib.Geometry.ijkToRAS(chest)
    columns = [matrix[:3, 2 - axis] for axis in order]  # directions of K, J, I of the new volume
    other = np.eye(4)
    other[:3, 3] = matrix[:3, 3] + columns[1] * (voxels.shape[1] - 1)
    other[:3, :3] = np.stack([columns[2], -columns[1], columns[0]], axis=1)
    volumeNode = nodes.slicer.util.addVolumeFromArray(voxels, ijkToRAS=other, name="stored otherwise")
    found = labelsOf(lib, volumeNode, segment(lib, servedEngine, volumeNode))
    assert np.array_equal(np.flip(found, axis=1).transpose(np.argsort(order)), expected)


def test_region_structures_and_other_segments(lib, nodes, servedEngine, chest):
    whole = labelsOf(lib, chest, segment(lib, servedEngine, chest, postProcess=False))
    matrix = lib.Geometry.ijkToRAS(chest)
    low, high = np.array([10, 30, 2]), np.array([90, 100, 7])
    center = (matrix @ [*((low + high - 1) / 2), 1])[:3]
    size = np.abs(matrix[:3, :3] @ (high - low))
    drawing = np.zeros(whole.shape, np.uint8)
    drawing[3:6, 40:60, 40:60] = 1
    node = lib.LabelImport.importLabels(chest, drawing, [{"id": 1, "name": "tumour"}])
    region = nodes.addRegion(center, size)
    job = segment(lib, servedEngine, chest, node, roiNode=region, structures=["left lung"], postProcess=False)
    assert nodes.segmentNames(node) == ["tumour", "left lung"]
    tumour, lung = (lib.LabelExport.exportLabels(chest, node, [i]) for i in nodes.segmentIds(node))
    inside = np.zeros(whole.shape, bool)
    inside[low[2] : high[2], low[1] : high[1], low[0] : high[0]] = True
    assert job.segmentationNode is node and np.array_equal(tumour, drawing)
    assert np.array_equal(lung, (whole == 2) & inside) and lung.any()


def test_all_time_points(lib, nodes, servedEngine, chest):
    voxels = nodes.slicer.util.arrayFromVolume(chest)
    moved = np.roll(voxels, 1, axis=0)
    single = []
    for frame in (voxels, moved):
        volumeNode = nodes.slicer.util.addVolumeFromArray(frame, ijkToRAS=lib.Geometry.ijkToRAS(chest))
        single.append(labelsOf(lib, volumeNode, segment(lib, servedEngine, volumeNode)))
    matrix, spacing = lib.Geometry.ijkToRAS(chest), np.array(chest.GetSpacing())
    beating = nodes.addSequence([voxels, moved], axes=matrix[:3, :3] / spacing, spacing=spacing, origin=matrix[:3, 3])
    browser = lib.Sequences.browserOf(beating)
    job = segment(lib, servedEngine, beating, timePoints="all")
    for item, expected in enumerate(single):
        browser.SetSelectedItemNumber(item)
        nodes.slicer.modules.sequences.logic().UpdateProxyNodesFromSequences(browser)
        assert np.array_equal(labelsOf(lib, beating, job), expected)


def test_wrong_modality_is_refused_in_words(lib, nodes, servedEngine, chest):
    magnitude = np.maximum(nodes.slicer.util.arrayFromVolume(chest) + 1024, 0)
    matrix = lib.Geometry.ijkToRAS(chest)
    volumeNode = nodes.slicer.util.addVolumeFromArray(magnitude, ijkToRAS=matrix, name="T1")
    errors = []
    lib.SegmentJob.start(servedEngine, volumeNode, MODEL, onError=lambda job, error: errors.append(error))
    servedEngine.run()
    assert errors[0].kind == "ModalityError" and "'T1'" in errors[0].message and errors[0].remedy
    assert segment(lib, servedEngine, volumeNode, anyModality=True).state == "done"


def test_cancel_and_run_again(lib, nodes, servedEngine, chest):
    nodes.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(nodes.scene)  # exists in each application scene
    before = nodes.scene.GetNumberOfNodes()
    errors = []
    job = lib.SegmentJob.start(
        servedEngine, chest, MODEL, tta=True, device="cpu", onError=lambda job, error: errors.append(error)
    )
    servedEngine.run(until=lambda: job.state == "running")
    job.cancel()
    servedEngine.run()
    assert [error.kind for error in errors] == ["CancelledError"] and nodes.scene.GetNumberOfNodes() == before
    assert segment(lib, servedEngine, chest).message == "Found: right lung, left lung."


def test_folder_of_a_dicom_series_into_a_dicom_segmentation(lib, servedEngine, tmp_path):
    """highdicom, which the engine writes it with, is not what reads it: pydicom is."""
    write_series(tmp_path / "series", lambda dataset, index: dataset if index in range(12, 20) else None)
    job = lib.FolderBatch.start(
        servedEngine, tmp_path / "series", tmp_path / "out", MODEL, device="cpu", format=".dcm", dicomSeg="LABELMAP"
    )
    servedEngine.run(until=lambda: job.isOver)
    (row,) = job.rows
    assert row["status"] == "done", row["message"]
    written = pydicom.dcmread(tmp_path / "out" / row["output"])
    assert written.SOPClassUID == LABEL_MAP_SEGMENTATION and written.FrameOfReferenceUID.endswith(".3")
    assert [str(segment.SegmentLabel) for segment in written.SegmentSequence] == ["Background", *NAMES]
    voxels = {one["name"]: one["voxels"] for one in row["structures"]}
    assert [int((written.pixel_array == value).sum()) for value in (1, 2)] == [voxels[name] for name in NAMES]
