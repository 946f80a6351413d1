"""Models are tried on three slices, the best first, until one is plausible; nothing in the scene changes."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_engines import EventLoop, ScriptedEngine


@pytest.fixture
def models(slicerCore):
    """Two models with weights and one without."""
    from SAM2AdaptLib.Models.Catalog import Model

    first = Model(Path("/models/a.safetensors"), "own", "a", "1", dice=0.9, axis="axial", basePresent=True)
    return [first, replace(first, name="b", axis="sagittal"), replace(first, name="c", basePresent=False)]


class Try:
    """A job on 40 slices of 6 x 7 voxels, and how it ended."""

    def __init__(self, lib, nodes, models):
        self.engine, self.ended, self.loop = ScriptedEngine(), [], EventLoop()
        voxels = np.arange(40 * 6 * 7, dtype=np.int16).reshape(40, 6, 7)
        self.volumeNode = nodes.addVolume(voxels)
        self.job = lib.ProposalJob.start(
            self.engine, self.volumeNode, models, later=self.loop, onFinished=self.ended.append,
            onError=lambda job, error: self.ended.append(error.kind),
        )  # fmt: skip

    def answer(self, score):
        self.engine.last.sendResult({"found": ["lung"], "score": score})


def test_the_first_plausible_model_is_proposed_and_only_its_slices_are_sent(lib, nodes, models):
    run = Try(lib, nodes, models)
    sent = run.engine.last.voxels()
    assert sent.shape == (9, 6, 7) and np.array_equal(sent[:3], np.arange(40 * 42).reshape(40, 6, 7)[5:8])
    run.answer(0.1)
    assert [request.params["model"] for request in run.engine.requests] == [str(m.path) for m in models[:2]]
    assert run.engine.last.voxels().shape == (40, 6, 7)  # along another axis, which has no more than seven slices
    run.answer(0.9)
    assert run.ended == [run.job] and run.job.model is models[1]
    assert [(trial.modelId, trial.isPlausible) for trial in run.job.trials] == [("a@1", False), ("b@1", True)]


def test_no_model_is_proposed_if_none_is_plausible_or_can_take_the_volume(lib, nodes, models):
    run = Try(lib, nodes, models)
    run.engine.last.sendError(lib.Error.EngineError("VolumeError", "It is a single slice."))
    run.answer(0.2)
    run.loop.run()
    assert run.ended == [run.job] and run.job.model is None and len(run.engine.requests) == 2


def test_it_ends_with_the_volume_and_keeps_the_engine(lib, nodes, models):
    run = Try(lib, nodes, models)
    nodes.scene.RemoveNode(run.volumeNode)
    assert run.ended == ["CancelledError"] and run.engine.last.isCancelled
    for kind in ("EngineStopped", "RemoteError"):  # which say nothing of the model
        other = Try(lib, nodes, models)
        other.engine.last.sendError(lib.Error.EngineError(kind, "It stopped."))
        assert other.ended == [kind] and len(other.engine.requests) == 1
    none = Try(lib, nodes, [])
    none.loop.run()
    assert none.ended == [none.job] and none.job.model is None
