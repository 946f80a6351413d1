"""The whole way with the real engine: three slices of a chest CT drawn in Slicer, trained, and the rest segmented."""

import numpy as np
import pytest
from example_engines import EventLoop, ServedEngine

slicerio = pytest.importorskip("slicerio")
pytest.importorskip("torch")

AIR = -500
DRAWN = [13, 17, 21]
TINY = {"base": "nano", "method": "head", "steps": 40, "crop": 64, "size": 64, "batchSize": 3, "device": "cpu",
        "allForTraining": True, "learningRate": 0.01, "seed": 1}  # fmt: skip
SIDES = [{"id": 1, "name": "right lung", "color": (0.8, 0.3, 0.3)}, {"id": 2, "name": "left lung"}]


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def chest(nodes):
    storage = nodes.slicer.vtkMRMLVolumeArchetypeStorageNode()
    storage.SetFileName(slicerio.get_testdata_file("CTChest4.nrrd"))
    volumeNode = nodes.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "chest")
    assert storage.ReadData(volumeNode)
    return volumeNode


@pytest.fixture
def drawnChest(lib, nodes, chest):
    """The segmentation of the chest, drawn on three slices."""
    truth = lungs(nodes.slicer.util.arrayFromVolume(chest))
    drawn = np.zeros_like(truth)
    drawn[DRAWN] = truth[DRAWN]
    return lib.LabelImport.importLabels(chest, drawn, SIDES)


def lungs(voxels):
    """Air inside the body (K, J, I): 1 on the right of the patient, 2 on the left."""
    from scipy import ndimage

    labels = np.zeros(voxels.shape, np.uint8)
    for plane, drawn in zip(voxels, labels, strict=True):
        pieces, _count = ndimage.label(plane < AIR)
        outside = np.unique(np.concatenate([pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]]))
        inside = ~np.isin(pieces, [0, *outside])
        drawn[inside] = np.where(np.nonzero(inside)[1] < plane.shape[1] // 2, 1, 2)
    return labels


def test_three_drawn_slices_become_a_model_that_segments_the_others(lib, nodes, servedEngine, chest, drawnChest, home):
    truth = lungs(nodes.slicer.util.arrayFromVolume(chest))
    cases = lib.Cases.fromScene()
    assert [case.annotatedSlices for case in cases] == [DRAWN]
    loop, progress, errors = EventLoop(), [], []
    job = lib.TrainingJob.start(
        servedEngine, cases, lib.Classes.match(cases), "two lungs", TINY, later=loop,
        onProgress=progress.append, onError=lambda job, error: errors.append(error),
    )  # fmt: skip
    loop.run()
    servedEngine.run(until=lambda: job.isOver)
    assert not errors, errors[0].details
    assert job.state == "done" and job.result["bundle"].startswith(str(home / "runs" / "two_lungs-"))
    assert "Training" in progress[-1]["text"] and progress[-1]["fraction"] == 1
    classes = job.result["card"]["classes"]
    assert [entry["name"] for entry in classes] == ["right lung", "left lung"]
    assert classes[0]["color"] == pytest.approx([0.8, 0.3, 0.3]) and "39607008" in classes[0]["terminology"]
    # The slices that are not annotated taught nothing: only voxels of the three count.
    counted = job.result["card"]["training"]["data"]["voxels"]
    assert counted == {str(side): int((truth[DRAWN] == side).sum()) for side in (1, 2)}
    segmented = lib.SegmentJob.start(servedEngine, chest, job.result["bundle"], device="cpu")
    servedEngine.run(until=lambda: segmented.isOver)
    assert segmented.state == "done" and segmented.segmentationNode is not drawnChest
    segmentation = segmented.segmentationNode.GetSegmentation()
    ids = [segmentation.GetSegmentIdBySegmentName(side["name"]) for side in SIDES]
    found = lib.LabelExport.exportLabels(chest, segmented.segmentationNode, ids)[DRAWN[0] : DRAWN[-1]]
    same = truth[DRAWN[0] : DRAWN[-1]]
    dice = [2 * ((found == s) & (same == s)).sum() / ((found == s).sum() + (same == s).sum()) for s in (1, 2)]
    assert min(dice) > 0.7, dice
    left = {path.name for path in job.folder.rglob("*") if path.is_file()}
    assert {"run.json", "model.safetensors", "log.csv"} <= left
    assert not [name for name in left if name.endswith((".nrrd", ".npy"))]


def test_engine_killed_in_the_middle_of_an_epoch(lib, nodes, servedEngine, drawnChest, home):
    cases, loop, errors = lib.Cases.fromScene(), EventLoop(), []
    engine = ServedEngine()
    options = {**TINY, "steps": None, "epochs": 100_000, "crop": 32, "size": 32, "batchSize": 8}
    job = lib.TrainingJob.start(
        engine, cases, lib.Classes.match(cases), "killed", options, later=loop,
        onError=lambda job, error: errors.append(error),
    )  # fmt: skip
    loop.run()
    epochs = []
    job._onProgress = lambda progress: epochs.append(progress["done"] if progress["stage"] == "training" else 0)
    engine.run(until=lambda: epochs and epochs[-1] >= 2)
    failure = engine.kill()
    job._onEngineError(failure)
    assert job.canResume and "can be resumed" in errors[0].remedy
    nodes.scene.Clear(0)  # as after a start of Slicer
    (entry,) = lib.RunFolders.unfinishedRuns()
    assert entry["epochs"] >= 1 and entry["name"] == "killed"
    description = entry["folder"] / "run.json"
    description.write_text(description.read_text("utf-8").replace("100000", str(entry["epochs"] + 1)))
    resumed = lib.TrainingJob.resume(servedEngine, entry["folder"])
    servedEngine.run(until=lambda: resumed.isOver)
    assert resumed.state == "done", resumed.error.details
    assert resumed.result["card"]["training"]["epochs"] == entry["epochs"] + 1
    assert lib.RunFolders.unfinishedRuns() == []


def test_training_is_paused_and_ended_with_the_best_kept(lib, servedEngine, drawnChest):
    cases, loop, errors, states = lib.Cases.fromScene(), EventLoop(), [], []

    def onProgress(progress):
        states.append(job.state)
        if job.state == "paused":
            job.proceed()
        elif progress["stage"] == "training" and progress["done"] >= 2:
            (job.stop if "paused" in states else job.pause)()

    job = lib.TrainingJob.start(
        servedEngine, cases, lib.Classes.match(cases), "stopped",
        {**TINY, "steps": None, "epochs": 100_000, "crop": 32, "size": 32, "batchSize": 8}, later=loop,
        onProgress=onProgress, onError=lambda job, error: errors.append(error),
    )  # fmt: skip
    loop.run()
    servedEngine.run(until=lambda: job.isOver)
    assert not errors, errors[0].details
    assert "paused" in states and states[-1] == "training" and job.state == "done"
    assert 2 <= job.result["card"]["training"]["epochs"] < 100
    assert (job.folder / "model.safetensors").is_file()
