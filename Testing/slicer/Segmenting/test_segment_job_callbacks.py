"""A run whose caller's callbacks misbehave."""

import pytest
from example_engines import ScriptedEngine
from example_nodes import LIVER, SPLEEN, twoLabels


class Caller:
    """Starts a run and keeps how it ended; ``onProgress`` is the test's."""

    def __init__(self, lib, volumeNode, onProgress):
        self.engine, self.ends = ScriptedEngine(), []
        self.job = lib.SegmentJob.start(
            self.engine,
            volumeNode,
            "torso",
            onProgress=lambda progress: onProgress(self.job, progress),
            onFinished=lambda job: self.ends.append("finished"),
            onError=lambda job, error: self.ends.append(error.kind),
        )

    def answer(self):
        self.engine.last.answer(twoLabels(), [LIVER, SPLEEN])


def fail(job, progress):
    raise RuntimeError("callback of the test")


def cancelAtImport(job, progress):
    assert progress["stage"] == "importing"
    job.cancel()


def test_failing_progress_callback_does_not_stop_the_run(lib, nodes):
    caller = Caller(lib, nodes.addVolume(), fail)
    with pytest.raises(RuntimeError, match="of the test"):
        caller.answer()
    assert caller.ends == ["finished"]
    assert caller.job.segmentationNode.GetSegmentation().GetNumberOfSegments() == 2


def test_cancel_from_the_last_progress_callback(lib, nodes):
    caller = Caller(lib, nodes.addVolume(), cancelAtImport)
    caller.answer()
    assert caller.ends == ["CancelledError"]
    assert caller.job.state == "cancelled" and caller.job.segmentationNode is None
    assert nodes.scene.GetNumberOfNodesByClass("vtkMRMLSegmentationNode") == 0
