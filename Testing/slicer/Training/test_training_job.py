"""A training from the scene to a model file: what the engine is asked for, and what is left after each fault."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from example_engines import EventLoop, ScriptedEngine
from example_nodes import LIVER, SPLEEN
from test_training_cases import SHAPE, drawnOn


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


class Run:
    """A training of the scene's cases with a scripted engine, and what it reported."""

    def __init__(self, lib, cases=None, begin=None, rounds=100, **options):
        self.engine, self.loop = ScriptedEngine(), EventLoop()
        self.finished, self.errors, self.progress, self.log = [], [], [], []
        callbacks = {
            "onProgress": self.progress.append,
            "onFinished": self.finished.append,
            "onError": lambda job, error: self.errors.append(error),
        }
        if begin:
            self.job = begin(self.engine, **callbacks)
            return
        cases = cases or lib.Cases.fromScene()
        classes = lib.Classes.match(cases)
        self.job = lib.TrainingJob.start(
            self.engine, cases, classes, "my model", options, later=self.loop, onLog=self.log.append, **callbacks
        )
        self.loop.run(rounds)

    @property
    def request(self):
        return self.engine.last

    def finishEpoch(self):
        """Leave what the engine leaves after an epoch."""
        folder = self.job.folder / "model.run"
        folder.mkdir(exist_ok=True)
        (folder / "checkpoint.pt").write_bytes(b"checkpoint")
        (folder / "log.csv").write_text("epoch,loss\n1,0.5\n")


@pytest.fixture
def addCase(lib, nodes):
    def make(name, slices=(2, 5)):
        volumeNode = nodes.addVolume(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), name=name)
        return lib.LabelImport.importLabels(volumeNode, drawnOn(list(slices)), [LIVER, SPLEEN])

    return make


@pytest.fixture
def started(lib, addCase):
    """A run of three cases with which the engine is busy."""
    for name in ("a", "b", "c"):
        addCase(name)
    return Run(lib)


def engineError(kind="SettingsError", remedy="Do it."):
    from SAM2AdaptLib.Engine.Error import EngineError

    return EngineError(kind, "It did not work.", remedy, "details")


def test_engine_is_asked_for_what_was_chosen(lib, addCase, home):
    for name in ("a", "b", "c", "d"):
        addCase(name)
    cases = lib.Cases.fromScene()
    cases[1].use, cases[2].use, cases[3].use = "ignore", "validate", "validate"
    run = Run(lib, cases, preset="fast", epochs=7, license="CC0-1.0", preview=True)
    params, job = run.request.params, run.job
    assert run.request.method == "train" and job.state == "training"
    assert job.folder.parent == home / "runs" and job.folder.name.startswith("my_model-20")
    assert {key: params[key] for key in ("preset", "epochs", "license", "name", "resume", "modality")} == {
        "preset": "fast", "epochs": 7, "license": "CC0-1.0", "name": "my model", "resume": False, "modality": None,
    }  # fmt: skip
    assert params["split"] == {"train": ["a"], "val": ["c", "d"]}
    assert params["classes"] == [
        {**LIVER, "id": 1, "color": list(LIVER["color"])},
        {"id": 2, "name": "spleen", "color": pytest.approx(SPLEEN["color"])},
    ]
    for key, files in (("images", {"a.nrrd", "c.nrrd", "d.nrrd"}), ("labels", {"a.nrrd", "c.nrrd", "d.nrrd"})):
        assert {path.name for path in (job.folder / key).iterdir()} == files
        assert params[key] == str(job.folder / key)
    assert params["output"] == str(job.folder / "model.safetensors")
    assert params["preview"] == str(job.folder / "preview.npy")
    assert job.caseIds["a"] == (cases[0].volumeNode.GetID(), cases[0].segmentationNode.GetID())
    if os.name != "nt":
        assert job.folder.stat().st_mode & 0o077 == 0


def test_parameters_are_those_that_the_engine_knows(started):
    """The names are checked by the engine's own schema."""
    from sam2adapt.server.messages import Message

    params = {**started.request.params, "base": "nano", "method": "head"}
    line = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "train", "params": params})
    Message(line.encode()).check({"train"})
    assert "split" not in params  # without cases for validation the engine chooses some


def test_cases_are_written_one_at_a_time(lib, addCase):
    for name in ("a", "b"):
        addCase(name)
    run = Run(lib, rounds=1)
    assert run.job.state == "writing" and run.engine.requests == []
    assert [path.name for path in (run.job.folder / "images").iterdir()] == ["a.nrrd"]
    run.loop.run()
    assert [(p["stage"], p["fraction"], p["text"]) for p in run.progress] == [
        ("writing", 0.0, "Writing case 1 of 2"),
        ("writing", 0.5, "Writing case 2 of 2"),
    ]


def test_progress_in_words(started):
    report = {"fraction": 0.4, "rate": 1.0, "stage": "training", "done": 4, "total": 10, "unit": "epoch"}
    for changes in (
        {"stage": "preparing", "done": 12, "total": 100, "unit": "%", "secondsLeft": None},
        {"loss": 0.51234, "bestDice": 0.8, "dice": {"mean": 0.8}, "secondsLeft": 12.3},
        {"loss": 0.5, "bestDice": None, "secondsLeft": 200},
        {"stage": "validating", "secondsLeft": 20000, "preview": "/x.npy"},
        {"stage": "paused", "loss": 0.5, "secondsLeft": 3},
    ):
        started.request.sendProgress(report | changes)
    assert [progress["text"] for progress in started.progress[-5:]] == [
        "Preparing the slices: 12 %",
        "Training: pass 4 of 10, best accuracy 0.80, about 12 s left",
        "Training: pass 4 of 10, about 3 min left",
        "Measuring accuracy: pass 4 of 10, about 5.6 h left",
        "Paused: pass 4 of 10",
    ]
    assert started.progress[-2]["preview"] == "/x.npy" and started.progress[-1]["fraction"] == 0.4
    assert started.job.state == "paused"


def test_end_of_a_run(lib, started, home):
    started.request.sendLog({"level": "warning", "message": "Memory ran out; going on with half the batch."})
    result = {"bundle": "/m.safetensors", "dice": {"mean": 0.8125, "liver": 0.8125}, "card": {}, "former": None}
    started.request.sendResult(result)
    job = started.job
    assert started.finished == [job] and started.errors == [] and job.isOver and job.state == "done"
    assert job.result == result and job.message == "The model is trained. Accuracy on the validation cases: 0.81."
    assert started.log == job.log == ["Memory ran out; going on with half the batch."]
    assert not (job.folder / "images").exists() and not (job.folder / "labels").exists()
    content = json.loads((job.folder / "run.json").read_text(encoding="utf-8"))
    assert content["state"] == "done" and content["result"]["dice"]["mean"] == 0.8125
    assert [case["annotatedSlices"] for case in content["cases"]] == [[2, 5]] * 3
    assert lib.RunFolders.unfinishedRuns() == []
    with pytest.raises(Exception, match="cannot be resumed"):
        lib.TrainingJob.resume(ScriptedEngine(), job.folder)


def test_end_without_validation(started):
    started.request.sendResult({"bundle": "/m.safetensors", "dice": None})
    assert started.job.message == "The model was trained without cases for validation."


def test_pause_and_stop(started):
    job, request = started.job, started.request
    job.pause()
    assert request.actions == ["pause"] and job.state == "training"  # it holds when the engine says so
    request.sendProgress({"stage": "paused", "fraction": 0.1})
    assert job.state == "paused"
    job.proceed()
    request.sendProgress({"stage": "training", "fraction": 0.1})
    job.stop()
    assert request.actions == ["pause", "run", "stop"] and job.state == "training"


def test_what_is_said_before_the_engine_has_begun_is_told_later(started):
    job, request = started.job, started.request
    request.isRunning = False
    job.pause()
    job.stop()
    assert request.actions == []
    request.isRunning = True
    request.sendProgress({"stage": "reading", "fraction": 0.0})
    request.sendProgress({"stage": "reading", "fraction": 0.5})
    assert request.actions == ["stop"]


def test_pause_while_the_cases_are_written(lib, addCase):
    for name in ("a", "b"):
        addCase(name)
    run = Run(lib, rounds=1)
    run.job.pause()
    run.loop.run()
    run.request.sendProgress({"stage": "reading", "fraction": 0.0})
    assert run.request.actions == ["pause"]


@pytest.mark.parametrize("method", ["cancel", "stop"])
def test_cancelled_while_the_cases_are_written(lib, addCase, home, method):
    addCase("a")
    addCase("b")
    run = Run(lib, rounds=1)
    getattr(run.job, method)()
    run.loop.run()
    assert [error.kind for error in run.errors] == ["CancelledError"] and run.engine.requests == []
    assert run.job.state == "cancelled" and not run.job.canResume and list((home / "runs").iterdir()) == []


def test_cancelled_before_the_first_epoch_leaves_nothing(started, home):
    started.job.cancel()
    started.job.cancel()
    started.request.sendError(engineError("CancelledError"))
    assert started.request.isCancelled and len(started.errors) == 1 and started.finished == []
    assert started.errors[0].remedy == "Nothing was kept." and list((home / "runs").iterdir()) == []


def test_cancelled_after_an_epoch_can_go_on(lib, started):
    started.finishEpoch()
    started.job.cancel()
    assert started.job.canResume and "can be resumed" in started.errors[0].remedy
    (entry,) = lib.RunFolders.unfinishedRuns()
    assert (entry["folder"], entry["name"], entry["epochs"], entry["cases"]) == (started.job.folder, "my model", 1, 3)


@pytest.mark.parametrize(
    ("kind", "epoch", "kept"),
    [
        ("EngineStopped", True, True),
        ("EngineStopped", False, True),
        ("OutputError", True, True),
        ("DeviceError", True, True),
        ("SettingsError", False, False),
        ("EngineMissing", False, False),
    ],
)
def test_failure_of_the_engine(lib, started, home, kind, epoch, kept):
    if epoch:
        started.finishEpoch()
    started.request.sendError(engineError(kind))
    (error,) = started.errors
    job = started.job
    assert job.state == "failed" and job.error is error and job.canResume == kept
    assert (error.kind, error.message, error.details) == (kind, "It did not work.", "details")
    assert error.remedy.startswith("Do it.") and ("The training can be" in error.remedy) == kept
    assert [entry["folder"] for entry in lib.RunFolders.unfinishedRuns()] == ([job.folder] if kept else [])
    assert job.folder.exists() == kept
    if not kept:
        return
    assert (job.folder / "images" / "a.nrrd").exists()
    again = Run(lib, begin=lambda engine, **callbacks: lib.TrainingJob.resume(engine, job.folder, **callbacks))
    assert again.request.params == {**started.request.params, "resume": epoch}
    again.request.sendError(engineError("EngineMissing"))
    assert again.job.canResume and len(lib.RunFolders.unfinishedRuns()) == 1
    again = Run(lib, begin=lambda engine, **callbacks: lib.TrainingJob.resume(engine, job.folder, **callbacks))
    again.request.sendResult({"bundle": "/m.safetensors", "dice": {"mean": 0.5}})
    assert again.finished == [again.job] and lib.RunFolders.unfinishedRuns() == []


def test_run_in_use_is_not_offered_twice(lib, started):
    started.finishEpoch()
    assert lib.RunFolders.unfinishedRuns() == []
    with pytest.raises(Exception, match="used by another Slicer") as caught:
        lib.TrainingJob.resume(ScriptedEngine(), started.job.folder)
    assert type(caught.value).__name__ == "EngineError" and caught.value.kind == "InputFileError"
    started.job.cancel()
    assert len(lib.RunFolders.unfinishedRuns()) == 1
    lib.RunFolders.discard(started.job.folder)
    assert lib.RunFolders.unfinishedRuns() == [] and not started.job.folder.exists()
    with pytest.raises(Exception, match="no training run"):
        lib.TrainingJob.resume(ScriptedEngine(), started.job.folder)


@pytest.mark.parametrize("state", ["training", "writing"])
def test_run_of_a_slicer_that_was_killed(lib, scene, home, state):
    """Another process makes the run; while it lives the run is its own, then it can go on or is cleaned away."""
    code = (
        "import sys, types, time; sys.modules['slicer.i18n'] = i18n = types.ModuleType('slicer.i18n')\n"
        "i18n.tr = lambda text: text\n"
        "from SAM2AdaptLib.Training import RunFolders\n"
        f"run = RunFolders.create('killed'); run.update(state={state!r}, cases=[])\n"
        "print('ready', flush=True); time.sleep(60)"
    )
    paths = [str(Path(lib.RunFolders.__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, env=environment)
    try:
        while process.stdout.readline().strip() != b"ready":
            assert process.poll() is None
        assert lib.RunFolders.unfinishedRuns() == [] and len(list((home / "runs").iterdir())) == 1
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert len(lib.RunFolders.unfinishedRuns()) == (state == "training")
    assert len(list((home / "runs").iterdir())) == (state == "training")


def test_folders_that_are_no_runs_are_left_alone(lib, scene, home):
    for name, text in (("notes", None), ("damaged", "{"), ("newer", '{"format": 2}')):
        (home / "runs" / name).mkdir(parents=True)
        if text:
            (home / "runs" / name / "run.json").write_text(text)
    assert lib.RunFolders.unfinishedRuns() == []
    assert {path.name for path in (home / "runs").iterdir()} == {"notes", "damaged", "newer"}


def test_cases_removed_while_running(nodes, started):
    nodes.scene.RemoveNode(nodes.slicer.util.getNode("b"))
    assert started.log == ["'b' was removed from the scene. The training goes on with the copy made before."]
    nodes.scene.RemoveNode(nodes.scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "other"))
    nodes.scene.Clear(0)
    assert started.log[1:] == ["The scene was closed. The training goes on with the copies of the cases made before."]
    started.request.sendResult({"bundle": "/m.safetensors", "dice": None})
    assert started.finished == [started.job]


def test_case_removed_before_it_was_written(lib, nodes, addCase, home):
    addCase("a")
    addCase("b")
    run = Run(lib, rounds=1)
    nodes.scene.RemoveNode(nodes.slicer.util.getNode("b"))
    run.loop.run()
    (error,) = run.errors
    assert error.kind == "TrainingDataError" and "'b' was removed from the scene before" in error.message
    assert run.job.state == "failed" and list((home / "runs").iterdir()) == []


def test_defect_while_writing_is_reported_with_its_details(lib, addCase, monkeypatch, home):
    addCase("a")
    monkeypatch.setattr(lib.CaseFiles, "writeCase", lambda *arguments: 1 / 0)
    (error,) = Run(lib).errors
    assert error.kind == "Defect" and "division" in error.message and "ZeroDivisionError" in error.details
    assert list((home / "runs").iterdir()) == []


def test_problems_are_said_before_anything_is_written(lib, nodes, addCase, home):
    segmentation = addCase("a").GetSegmentation()
    segmentation.GetNthSegment(1).SetName("liver")
    with pytest.raises(Exception, match="several segments for the structure 'liver'") as caught:
        Run(lib)
    assert caught.value.kind == "ClassesError" and not home.exists()


@pytest.mark.parametrize(("tags", "modality"), [(("CT", "CT"), "CT"), (("CT", ""), None), (("CT", "MR"), "refused")])
def test_modality_of_dicom(lib, nodes, addCase, tags, modality):
    addCase("a")
    addCase("b")
    hierarchy = nodes.slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(nodes.scene)
    name = nodes.slicer.vtkMRMLSubjectHierarchyConstants.GetDICOMSeriesModalityAttributeName()
    for node, tag in zip("ab", tags, strict=True):
        item = hierarchy.CreateItem(hierarchy.GetSceneItemID(), nodes.slicer.util.getNode(node))
        hierarchy.SetItemAttribute(item, name, tag)
    if modality == "refused":
        with pytest.raises(Exception, match="several kinds: CT, MR"):
            Run(lib)
    else:
        assert Run(lib).request.params["modality"] == modality
        assert Run(lib, modality="OTHER").request.params["modality"] == "OTHER"


def test_estimate_keeps_nothing(lib, addCase, home):
    addCase("a")
    cases = lib.Cases.fromScene()
    engine, loop, finished, errors = ScriptedEngine(), EventLoop(), [], []

    def begin():
        job = lib.TrainingJob.estimate(
            engine, cases, lib.Classes.match(cases), {"base": "nano"}, later=loop,
            onFinished=finished.append, onError=lambda job, error: errors.append(error),
        )  # fmt: skip
        loop.run()
        return job

    job = begin()
    assert engine.last.method == "estimate" and engine.last.params["base"] == "nano"
    answer = {"secondsPerStep": 0.5, "minutes": 3.0, "memoryBytes": 1 << 30}
    engine.last.sendResult(answer)
    assert finished == [job] and job.result == answer and list((home / "runs").iterdir()) == []
    begin()
    engine.last.sendError(engineError("EngineStopped"))
    assert [error.kind for error in errors] == ["EngineStopped"] and list((home / "runs").iterdir()) == []
