"""What all jobs share: one end, callbacks in one order, and nothing after it."""

import pytest
from example_engines import EventLoop, ScriptedEngine


@pytest.fixture
def makeJob(lib):
    """Makes a job that asks the engine for an echo, and keeps in ``said`` what it says."""

    class Echo(lib.Job.Job):
        def __init__(self, **callbacks):
            super().__init__(**callbacks)
            self.engine, self.result, self.isReleased = ScriptedEngine(), None, False
            self._later(self._unlessOver(lambda: self._ask(self.engine, "echo", {})))

        def _cancelledError(self):
            return lib.Job.stopped("The echo was cancelled.")

        def _onResult(self, result):
            self.result = result
            self._end(lib.Job.DONE)

        def _release(self):
            self.isReleased = True

    def make():
        said, loop = [], EventLoop()
        job = Echo(
            onProgress=said.append,
            onFinished=lambda job: said.append(("finished", job.state, job.isReleased)),
            onError=lambda job, error: said.append((error.kind, job.state, job.isReleased)),
            onLog=said.append,
            later=loop,
        )
        job.said, job.loop = said, loop
        return job

    return make


@pytest.fixture
def asked(makeJob):
    """Such a job whose request was sent."""
    job = makeJob()
    job.loop.run()
    return job


def test_result(asked):
    assert not asked.isOver and asked.state == "running"
    asked.engine.last.sendLog({"level": "info", "message": "It is loud here."})
    asked.engine.last.sendProgress({"fraction": 0.5})
    asked.engine.last.sendResult("echo")
    assert asked.said == ["It is loud here.", {"fraction": 0.5}, ("finished", "done", True)]
    assert (asked.state, asked.error, asked.result, asked.log) == ("done", None, "echo", ["It is loud here."])
    assert asked.wait() is asked  # it is over: no event loop, and so no Qt, is needed


@pytest.mark.parametrize(("kind", "state"), [("DeviceError", "failed"), ("CancelledError", "cancelled")])
def test_error_of_the_engine(lib, asked, kind, state):
    error = lib.Error.EngineError(kind, "It went wrong.")
    asked.engine.last.sendError(error)
    assert asked.said == [(kind, state, True)] and asked.error is error
    with pytest.raises(lib.Error.EngineError, match="It went wrong"):
        asked.wait()


def test_nothing_is_called_after_cancel(lib, asked):
    asked.cancel()
    assert asked.engine.last.isCancelled
    asked.engine.last.sendProgress({"fraction": 0.5})
    asked.engine.last.sendResult("late")
    asked.engine.last.sendError(lib.Error.EngineError("CancelledError", "As the client says."))
    asked.cancel()
    assert asked.said == [("CancelledError", "cancelled", True)]
    assert asked.result is None and str(asked.error) == "The echo was cancelled."


def test_cancelled_before_its_turn_in_the_event_loop(makeJob):
    job = makeJob()
    job.cancel()
    job.loop.run()
    assert job.engine.requests == [] and job.state == "cancelled"


def test_any_exception_becomes_an_error_for_the_user(lib):
    from sam2adapt.shared.errors import GeometryError

    known = lib.Error.EngineError("DeviceError", "No GPU.")
    sentence = "The case could not be written: {error}."
    assert lib.Error.fromException(known, sentence) is known
    assert lib.Error.fromException(GeometryError("Sheared.", "Resample it."), sentence).kind == "GeometryError"
    try:
        raise KeyError("lung")
    except KeyError as exception:
        defect = lib.Error.fromException(exception, sentence)
    assert (defect.kind, defect.message) == ("Defect", "The case could not be written: 'lung'.")
    assert "Traceback" in defect.details and "KeyError" in defect.details
