"""Which volume is worth correcting next: order, places in the world, and volumes that fail on the way."""

import numpy as np
import pytest
import SimpleITK as sitk
import vtk
from example_engines import EventLoop, ScriptedEngine
from example_nodes import LIVER, SHAPE


def answer(score=0.5, slices=()):
    return {"name": "x", "uncertainty": score, "disagreement": score, "found": True, "score": score,
            "slices": [{"axis": a, "index": i, "position": p, "uncertainty": 3.0, "direction": "axial",
                        "count": SHAPE[2 - a]} for a, i, p in slices]}  # fmt: skip


class Ranking:
    """A ranking with a scripted engine, and what it reported."""

    def __init__(self, lib, volumes, **options):
        self.engine, self.loop = ScriptedEngine(), EventLoop()
        self.finished, self.errors, self.progress = [], [], []
        self.job = lib.RankingJob.start(
            self.engine, volumes, "torso", later=self.loop, onProgress=self.progress.append,
            onFinished=self.finished.append, onError=lambda job, error: self.errors.append(error), **options,
        )  # fmt: skip
        self.loop.run()

    def give(self, *arguments, **keywords):
        self.engine.last.sendResult(answer(*arguments, **keywords))
        self.loop.run()

    def fail(self, kind):
        from SAM2AdaptLib.Engine.Error import EngineError

        self.engine.last.sendError(EngineError(kind, "It did not work."))
        self.loop.run()

    def files(self):
        return list(self.job._folder.path.glob("*"))


def test_volumes_are_put_into_order(lib, nodes):
    volumes = [nodes.addVolume(name=name) for name in ("sure", "unsure", "middle")]
    count = nodes.scene.GetNumberOfNodesByClass("vtkMRMLDisplayableNode")
    ranking = Ranking(lib, volumes, device="cpu", slices=2, anyModality=True)
    request = ranking.engine.last
    assert request.method == "rank" and np.array_equal(request.voxels(), nodes.slicer.util.arrayFromVolume(volumes[0]))
    assert {key: request.params[key] for key in ("model", "device", "slices", "anyModality")} == {
        "model": "torso", "device": "cpu", "slices": 2, "anyModality": True,
    }  # fmt: skip
    for score in (0.1, 0.9, 0.5):
        assert len(ranking.files()) == 1
        ranking.give(score)
    job = ranking.job
    assert ranking.finished == [job] and job.state == "done" and job.isOver and ranking.errors == []
    assert [(entry.name, entry.score) for entry in job.ranked] == [("unsure", 0.9), ("middle", 0.5), ("sure", 0.1)]
    assert job.ranked[0].volumeNode is volumes[1] and job.ranked[0].path is None and job.failed == []
    assert not job._folder.path.exists()
    assert nodes.scene.GetNumberOfNodesByClass("vtkMRMLDisplayableNode") == count


def test_progress_counts_all_volumes(lib, nodes):
    ranking = Ranking(lib, [nodes.addVolume(name=name) for name in ("a", "b")])
    ranking.engine.last.sendProgress({"stage": "ranking", "fraction": 0.5, "secondsLeft": 4})
    ranking.give()
    ranking.engine.last.sendProgress({"stage": "ranking", "fraction": 0.5, "secondsLeft": 4})
    assert [(p["fraction"], p["number"], p["text"]) for p in ranking.progress] == [
        (0.0, 1, "Ranking volume 1 of 2: a"),
        (0.25, 1, "Ranking volume 1 of 2: a"),
        (0.5, 2, "Ranking volume 2 of 2: b"),
        (0.75, 2, "Ranking volume 2 of 2: b, about 4 s left"),
    ]
    ranking.job.cancel()


def test_places_are_in_the_world(lib, nodes):
    volumeNode = nodes.addVolume()
    volumeNode.SetAndObserveTransformNodeID(nodes.addTransform().GetID())
    ranking = Ranking(lib, [volumeNode])
    i, j, k = 4, 2, 3
    given = ranking.engine.last.params["input"]
    direction = np.reshape(given["direction"], (3, 3))
    lps = np.array(given["origin"]) + direction @ (np.array(given["spacing"]) * (i, j, k))
    ranking.give(slices=[(2, k, lps.tolist()), (0, i, lps.tolist())])
    slices = ranking.job.ranked[0].slices
    assert [(entry.axis, entry.index, entry.uncertainty) for entry in slices] == [("K", 3, 3.0), ("I", 4, 3.0)]
    ras = lib.Geometry.ijkToRAS(volumeNode) @ (i, j, k, 1)
    toWorld = vtk.vtkMatrix4x4()
    volumeNode.GetParentTransformNode().GetMatrixTransformToWorld(toWorld)
    assert slices[0].position == pytest.approx(nodes.slicer.util.arrayFromVTKMatrix(toWorld)[:3] @ ras)


def test_one_volume_that_fails_does_not_stop_the_others(lib, nodes):
    empty = nodes.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    volumes = [nodes.addVolume(name="wrong kind"), empty, nodes.addVolume(name="removed"), nodes.addVolume(name="good")]
    gone = nodes.addVolume(name="gone")
    ranking = Ranking(lib, [*volumes, gone])
    nodes.scene.RemoveNode(gone)
    ranking.fail("ModalityError")
    nodes.scene.RemoveNode(volumes[2])
    ranking.give()
    ranking.give(0.3)
    assert [entry.name for entry in ranking.job.ranked] == ["good"] and ranking.finished == [ranking.job]
    assert [(name, error.kind) for name, error in ranking.job.failed] == [
        ("wrong kind", "ModalityError"),
        ("empty", "VolumeError"),
        ("removed", "VolumeError"),
        ("gone", "VolumeError"),
    ]
    assert "'gone' was removed" in ranking.job.failed[-1][1].message


@pytest.mark.parametrize(
    ("kind", "state"),
    [("EngineMissing", "failed"), ("WeightsMissingError", "failed"), ("CancelledError", "cancelled")],
)
def test_failures_that_all_volumes_would_share(lib, nodes, kind, state):
    ranking = Ranking(lib, [nodes.addVolume(), nodes.addVolume()])
    ranking.fail(kind)
    assert [error.kind for error in ranking.errors] == [kind] and ranking.job.state == state
    assert len(ranking.engine.requests) == 1 and not ranking.job._folder.path.exists()


def test_nothing_could_be_ranked(lib, nodes):
    ranking = Ranking(lib, [nodes.addVolume(name="a"), nodes.addVolume(name="b")])
    ranking.fail("ModalityError")
    ranking.fail("VolumeError")
    assert [error.kind for error in ranking.errors] == ["ModalityError"] and len(ranking.job.failed) == 2


def test_cancel(lib, nodes):
    ranking = Ranking(lib, [nodes.addVolume(), nodes.addVolume()])
    ranking.job.cancel()
    ranking.job.cancel()
    ranking.give()
    assert ranking.engine.last.isCancelled and [error.kind for error in ranking.errors] == ["CancelledError"]
    assert ranking.job.state == "cancelled" and ranking.finished == [] and not ranking.job._folder.path.exists()


def test_folder_of_images(lib, scene, tmp_path):
    for n, name in enumerate(("b.nii.gz", "a.nrrd", "a.seg.nrrd", "._a.nrrd")):
        image = sitk.GetImageFromArray(np.full(SHAPE, n, np.int16))
        image.SetOrigin((1, 2, 3))
        sitk.WriteImage(image, str(tmp_path / name))
    (tmp_path / "c.nrrd").write_bytes(b"NRRD0004\n")
    (tmp_path / "notes.txt").write_text("")
    ranking = Ranking(lib, str(tmp_path))
    assert ranking.engine.last.params["input"] == str(tmp_path / "a.nrrd")  # the engine reads it, so Slicer stays free
    ranking.give(0.2, slices=[(2, 0, [1.0, 2.0, 3.0])])
    ranking.give(0.4)
    ranking.fail("InputFileError")
    one, other = ranking.job.ranked
    assert (one.path, other.path) == (tmp_path / "b.nii.gz", tmp_path / "a.nrrd") and one.volumeNode is None
    assert other.slices[0].position == (-1.0, -2.0, 3.0) and other.slices[0].direction == "axial"
    assert [name for name, _e in ranking.job.failed] == ["c.nrrd"]
    assert scene.GetNumberOfNodesByClass("vtkMRMLDisplayableNode") == 0


@pytest.mark.parametrize(
    ("volumes", "kind"), [([], "VolumeError"), ("none", "InputFileError"), ("", "TrainingDataError")]
)
def test_nothing_to_rank(lib, tmp_path, volumes, kind):
    with pytest.raises(Exception) as caught:
        Ranking(lib, volumes if isinstance(volumes, list) else tmp_path / volumes)
    assert caught.value.kind == kind and caught.value.remedy


def test_unlabelled_volumes(lib, nodes):
    labelled, plain, hidden = (nodes.addVolume(name=name) for name in ("labelled", "plain", "hidden"))
    hidden.SetHideFromEditors(True)
    nodes.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    nodes.scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "labels").CopyContent(plain)
    lib.LabelImport.importLabels(labelled, np.ones(SHAPE, np.uint8), [LIVER])
    started = lib.NewNodes.createSegmentationNode(plain)
    started.SetReferenceImageGeometryParameterFromVolumeNode(plain)
    assert lib.Volumes.unlabelled() == [plain]


def test_real_engine(lib, nodes, servedEngine):
    slicerio = pytest.importorskip("slicerio")
    pytest.importorskip("torch")
    noise = np.random.default_rng(0).integers(-1000, 90, (3, 40, 40), np.int16)
    volumeNode = nodes.addVolume(noise, name="noise")
    loop, finished, errors = EventLoop(), [], []
    job = lib.RankingJob.start(
        servedEngine, [slicerio.get_testdata_file("CTChest4.nrrd"), volumeNode], "torso-ct", "cpu", 2, later=loop,
        onFinished=finished.append, onError=lambda job, error: errors.append(error),
    )  # fmt: skip
    while not job.isOver:
        loop.run()
        servedEngine.run()
    assert not errors, errors[0].details
    assert finished == [job] and len(job.ranked) == 2 and job.failed == []
    assert job.ranked[0].score >= job.ranked[1].score
    chest = next(entry for entry in job.ranked if entry.path)
    assert chest.found and 1 <= len(chest.slices) <= 2 and all(0 <= entry.index < 34 for entry in chest.slices)
