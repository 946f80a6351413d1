"""The console's way to the answer that the engine's own entrances give (``Testing/engine/test_same_answer.py``)."""

import numpy as np
import pytest
import sample

pytest.importorskip("slicerio")
pytest.importorskip("torch")


@pytest.fixture
def chest(nodes):
    """The sample CT as Slicer reads it."""
    storage = nodes.slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(str(sample.volumePath()))
    volumeNode = nodes.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "CTChest4")
    assert storage.ReadData(volumeNode)
    return volumeNode


def segment(lib, engine, volumeNode, **options):
    """What ``SAM2AdaptLogic.segment`` does, with the tests' event loop: a job that ended, and its errors."""
    errors = []
    job = lib.SegmentJob.start(
        engine, volumeNode, "torso-ct", device="cpu", onError=lambda job, error: errors.append(error), **options
    )
    engine.run(until=lambda: job.isOver)
    return job, errors


def test_sizes_are_those_of_the_command_line(lib, nodes, servedEngine, chest):
    job, errors = segment(lib, servedEngine, chest)
    assert not errors
    sample.assertTorsoSizes([(s["name"], s["voxels"], s["ml"]) for s in job.result["structures"]])
    rows = lib.Statistics.measure(chest, job.segmentationNode)
    assert [(row["structure"], row["voxels"]) for row in rows] == [
        (s["name"], s["voxels"]) for s in job.result["structures"]
    ]
    assert [row["ml"] for row in rows] == pytest.approx([s["ml"] for s in job.result["structures"]], abs=1e-3)


def test_what_was_asked_for_is_what_is_listed_and_made(lib, nodes, servedEngine, chest):
    job, errors = segment(lib, servedEngine, chest, structures=["  Left   LUNG "])
    assert not errors and [s["name"] for s in job.result["structures"]] == ["left lung"]
    assert nodes.segmentNames(job.segmentationNode) == ["left lung"]


def test_refusals_are_those_of_the_command_line(lib, nodes, servedEngine, chest):
    magnitude = nodes.slicer.util.addVolumeFromArray(
        np.abs(nodes.slicer.util.arrayFromVolume(chest)),
        ijkToRAS=lib.Geometry.ijkToRAS(chest),
        name="magnitude",
    )
    for name, options in (("unknown structure", {"structures": ["left lung", "Spleen "]}), ("MR", {})):
        volumeNode = magnitude if name == "MR" else chest
        _, errors = segment(lib, servedEngine, volumeNode, **options)
        assert f"{errors[0].message} {errors[0].remedy}" == sample.TORSO_REFUSALS[name]
