"""The console of a Slicer without main window: train, rank, and go on with what was killed; no dialog ever opens."""

import os
import signal

import pytest
import slicer
from training_testing import addCase

pytest_plugins = ["training_testing"]
TINY = {"base": "nano", "method": "head", "size": 32, "crop": 32, "batchSize": 16, "device": "cpu"}


@pytest.fixture
def logic(training, scene, withoutMainWindow):
    logic = slicer.util.getModuleLogic("SAM2AdaptTraining")
    yield logic
    logic.stopEngine()


def test_train_and_rank(logic):
    cases = [addCase(name, seed=seed) for seed, name in enumerate(("a", "b"))]
    unlabelled, segmentation = addCase("unlabelled", seed=2)
    slicer.mrmlScene.RemoveNode(segmentation)
    path = logic.train(cases, name="from the console", steps=4, **TINY)
    assert os.path.dirname(path) == os.path.join(os.environ["SAM2ADAPT_HOME"], "models")
    (ranked,) = logic.rankUnlabelled(None, "from the console")
    assert ranked.name == unlabelled.GetName() and 0 < ranked.score < 1
    with pytest.raises(Exception, match="There is no case to train on"):
        logic.train([])


def test_killed_and_resumed_with_callbacks(logic, processEvents):
    told, ended = [], []
    callbacks = {
        "onProgress": told.append,
        "onFinished": lambda job: ended.append(None),
        "onError": lambda job, error: ended.append(error),
    }

    def wait(job, epoch):
        assert processEvents(120, until=lambda: job.isOver or (told and isIn(told[-1], epoch)))

    def isIn(progress, epoch):
        return progress["stage"] == "training" and progress["unit"] == "epoch" and progress["done"] >= epoch

    cases = [addCase(name, seed=seed) for seed, name in enumerate(("a", "b"))]
    job = logic.startTraining(cases, name="killed", epochs=100_000, **TINY, **callbacks)
    wait(job, 2)
    os.kill(logic.engine.processId(), signal.SIGKILL)
    assert processEvents(60, until=lambda: job.isOver)
    assert [error.kind for error in ended] == ["EngineStopped"] and job.canResume
    (run,) = logic.unfinishedRuns()
    assert run["epochs"] >= 1

    told.clear()
    job = logic.resumeTraining(run["folder"], **callbacks)
    wait(job, run["epochs"] + 1)
    job.stop()
    assert processEvents(120, until=lambda: job.isOver)
    assert job.state == "done" and ended[1:] == [None]
    assert job.result["epochs"] > run["epochs"] and logic.unfinishedRuns() == []
