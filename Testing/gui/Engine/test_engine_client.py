"""Requests and answers: the engine client against a server that misbehaves, and against the real one."""

import logging
import os
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
from engine_testing import Calls, engineClients, exists, settle, until, untilGone
from SAM2AdaptLib.Engine import Client as clientModule
from SAM2AdaptLib.Engine import ProcessTree
from SAM2AdaptLib.Engine.Client import EngineClient, EngineError
from SAM2AdaptLib.Engine.Process import enginePython, missingPackage

pytestmark = pytest.mark.skipif(os.name == "nt", reason="process numbers and signals of POSIX")


@pytest.fixture
def makeClient():
    with engineClients() as make:
        yield make


@pytest.fixture
def client(makeClient):
    return makeClient()


@pytest.fixture
def calls():
    return Calls()


def test_nothing_is_started_before_the_first_request(client):
    assert not client.isRunning() and client.processId() is None and client.lastWords() == ""
    client.stop()
    assert not client.isRunning()


def test_request_returns_at_once_and_calls_back_from_the_event_loop(client, calls):
    request = client.request("echo", {"text": "Füße 肝 \n"}, **calls.of())
    assert request.state == "waiting" and client.isRunning() and calls == []
    until(lambda: calls)
    assert calls == [("Result", {"text": "Füße 肝 \n"})]
    assert (request.state, request.result, request.error) == ("done", {"text": "Füße 肝 \n"}, None)
    assert exists(client.processId())


def test_program_that_does_not_start_calls_back_from_the_event_loop(makeClient, calls):
    client = makeClient(command=["/nowhere/PythonSlicer"])
    requests = [client.request("echo", {}, **calls.of(name)) for name in "ab"]
    assert calls == []
    until(lambda: len(calls) == 2)
    assert calls.names() == ["aError", "bError"] and [request.state for request in requests] == ["failed"] * 2
    assert calls[0][1].kind == "EngineMissing" and "/nowhere/PythonSlicer" in str(calls[0][1])
    assert not client.isRunning()


def test_requests_are_answered_in_order_one_at_a_time(client, calls):
    requests = [client.request("echo", {"n": n}, **calls.of(str(n))) for n in range(5)]
    until(lambda: calls)
    assert [request.state for request in requests] == ["done", "running", "waiting", "waiting", "waiting"]
    until(lambda: len(calls) == 5)
    assert calls == [(f"{n}Result", {"n": n}) for n in range(5)]
    assert len({request.id for request in requests}) == 5


def test_request_from_a_callback(client, calls):
    client.request("echo", 1, onResult=lambda value: client.request("echo", value + 1, **calls.of()))
    until(lambda: calls)
    assert calls == [("Result", 2)]


def test_what_is_no_json_is_refused_at_once(client, calls):
    with pytest.raises(TypeError):
        client.request("echo", {"array": object()}, **calls.of())
    with pytest.raises(ValueError, match="JSON"):
        client.request("echo", {"number": float("nan")}, **calls.of())
    assert not client.isRunning()
    assert client.wait(client.request("echo", 1)) == 1


def test_progress_and_log_go_to_their_request(client, calls):
    client.request("progress", {"count": 50}, **calls.of("a"))
    client.request("echo", {}, **calls.of("b"))
    until(lambda: "bResult" in calls.names())
    assert [value["done"] for name, value in calls if name == "aProgress"] == list(range(50))
    assert calls.names()[50:] == ["aLog", "aResult", "bResult"]
    assert calls[50][1]["message"] == "Memory ran out."


def test_running_request_is_controlled_past_those_that_wait(client, calls):
    request = client.request("told", {}, **calls.of())
    waiting = client.request("echo", {}, **calls.of("waiting"))
    assert not request.control("pause")  # the engine is not even there
    until(lambda: calls)
    assert request.control("pause") and request.control("stop") and not waiting.control("stop")
    until(lambda: "waitingResult" in calls.names())
    assert [value["action"] for name, value in calls if name == "Progress"] == [None, "pause", "stop"]
    assert request.result == ["jsonrpc", "method", "params"]  # a notification: nothing is answered to it
    assert not request.control("stop")


def test_released_request_leaves_the_engine_warm_for_the_next(client, calls):
    first = client.request("preview", {}, **calls.of("first"), onPreview=calls.append)
    until(lambda: calls)
    assert calls == [{"id": first.id, "masks": "first.npy"}]
    process = client.processId()
    second = client.request("echo", {"n": 2}, **calls.of("second"))
    third = client.request("echo", {"n": 3}, **calls.of("third"))
    first.release()
    third.release()
    assert first.isOver and third.isOver
    until(lambda: second.isOver and len(calls) == 4)
    assert [name for name, _ in calls[1:]] == ["firstError", "thirdError", "secondResult"]
    assert {error.kind for _, error in calls[1:3]} == {"CancelledError"}
    assert first.state == third.state == "cancelled" and client.processId() == process


def test_a_request_that_gives_way_ends_as_soon_as_there_is_another(client, calls):
    background = client.request("preview", {}, **calls.of("background"), onPreview=calls.append, givesWay=True)
    until(lambda: calls)
    process = client.processId()
    other = client.request("echo", {"n": 2}, **calls.of("other"))
    assert background.isOver
    waiting = client.request("echo", {"n": 3}, **calls.of("waiting"), givesWay=True)
    client.request("echo", {"n": 4}, **calls.of("last"))
    assert waiting.isOver and not other.isOver
    until(lambda: "lastResult" in calls.names())
    assert calls.names()[1:] == ["backgroundError", "waitingError", "otherResult", "lastResult"]
    assert client.processId() == process  # it stays warm


def test_engine_that_dies_after_a_release_is_started_again(client, calls):
    released = client.request("sleep", {}, **calls.of("released"))
    until(lambda: calls)
    client.request("echo", {"n": 1}, **calls.of("next"))
    released.release()
    os.kill(client.processId(), signal.SIGKILL)
    until(lambda: "nextResult" in [name for name, _ in calls])
    assert [name for name, _ in calls] == ["releasedProgress", "releasedError", "nextResult"]
    assert released.state == "cancelled"


def test_answer_in_single_bytes(client):
    text = "Füße, 肝臓, 🫁"
    assert client.wait(client.request("pieces", text)) == text


def test_huge_lines_in_both_directions(client):
    assert len(client.wait(client.request("huge", {"size": 20_000_000}))) == 20_000_000
    text = "y" * 5_000_000
    assert client.wait(client.request("echo", text)) == text


def test_garbage_is_logged_and_does_no_harm(client, caplog):
    caplog.set_level(logging.INFO)
    assert client.wait(client.request("garbage", {})) == "after garbage"
    for text in ("Loading weights...", "[1, 2]", '{"a": 1}', "�", "42"):
        assert f"SAM2Adapt engine: {text}" in caplog.text
    assert client.wait(client.request("echo", 1)) == 1


def test_half_a_line_before_the_end(client, caplog):
    caplog.set_level(logging.INFO)
    with pytest.raises(EngineError) as caught:
        client.wait(client.request("half", {}))
    assert caught.value.kind == "EngineStopped" and "(exit code 3)" in caught.value.message
    assert '{"jsonrpc": "2.0", "id"' in caplog.text
    assert client.wait(client.request("echo", 1)) == 1


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_death_fails_the_running_request_only(client, calls, number):
    words = [f"word {n}" for n in range(80)]
    dying = client.request("die", {"signal": number, "words": words}, **calls.of("a"))
    waiting = client.request("echo", 7, **calls.of("b"))
    until(lambda: len(calls) == 2)
    assert calls.names() == ["aError", "bResult"] and (dying.state, waiting.state) == ("failed", "done")
    error = dying.error
    assert error.kind == "EngineStopped" and f"(killed, signal {int(number)})" in error.message
    assert ("Memory" in error.remedy) == (number == signal.SIGKILL)
    assert error.details.splitlines()[-1] == "word 79" and len(error.details.splitlines()) == 50
    assert str(error) == f"{error.message} {error.remedy}"


def test_last_words_outlive_the_engine(client):
    with pytest.raises(EngineError):
        client.wait(client.request("die", {"signal": signal.SIGKILL, "words": ["Out of memory"]}))
    assert not client.isRunning() and client.lastWords().endswith("Out of memory")


def test_engine_that_died_idle_is_started_again(client):
    client.wait(client.request("echo", 1))
    first = client.processId()
    os.kill(first, signal.SIGKILL)
    until(lambda: not client.isRunning())
    assert client.wait(client.request("echo", 2)) == 2
    assert client.processId() != first


def test_end_before_ready_fails_all_requests_once(makeClient, calls):
    client = makeClient("--exit", "5")
    for name in "abc":
        client.request("echo", 1, **calls.of(name))
    until(lambda: len(calls) == 3)
    settle()
    assert calls.names() == ["aError", "bError", "cError"] and not client.isRunning()
    assert "(exit code 5)" in calls[0][1].message and "cannot go on" in calls[0][1].details


def test_missing_package_at_start(makeClient):
    client = makeClient("--import", "torch_of_nowhere")
    with pytest.raises(EngineError, match="torch_of_nowhere") as caught:
        client.wait(client.request("echo", 1))
    assert caught.value.kind == "EngineMissing" and "Install the engine" in caught.value.remedy


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Traceback\nModuleNotFoundError: No module named 'torch'", "“torch”"),
        ("/opt/python: No module named sam2adapt", "“sam2adapt”"),
        ("ImportError: DLL load failed while importing _C: %1 is not valid.", "DLL load failed"),
        ("OSError: [WinError 126] Error loading 'C:\\torch\\lib\\shm.dll' or a dependency.", "shm.dll"),
        ("AttributeError: module 'torch' has no attribute 'float32'", "float32"),
    ],
)
def test_what_a_broken_installation_says(text, name):
    error = missingPackage(text)
    assert error.kind == "EngineMissing" and name in error.message and error.details == text


@pytest.mark.parametrize("text", ["", "ValueError: No such module", "OSError: [Errno 28] No space left on device"])
def test_other_failures_are_no_broken_installation(text):
    assert missingPackage(text) is None


def test_error_that_the_user_can_mend(client, calls):
    data = {"kind": "ModalityError", "remedy": "Choose an MR model."}
    client.request("error", {"code": 1, "message": "This is MR.", "data": data}, **calls.of())
    until(lambda: calls)
    error = calls[0][1]
    assert calls.names() == ["Error"] and error.kind == "ModalityError"
    assert str(error) == "This is MR. Choose an MR model."


def test_errors_that_are_defects(client):
    defect = {"code": -32000, "message": "x is 3", "data": {"kind": "AssertionError", "traceback": "Traceback ..."}}
    for answer, reason in ((defect, "x is 3"), ({"code": -32602, "message": "no parameter"}, "no parameter")):
        with pytest.raises(EngineError, match=reason) as caught:
            client.wait(client.request("error", answer))
        assert caught.value.kind == "Defect" and caught.value.remedy
    with pytest.raises(EngineError, match="not JSON"):
        client.wait(client.request("unreadable", {}))


def test_missing_package_in_an_answer(client):
    data = {"kind": "ModuleNotFoundError", "traceback": "Traceback ..."}
    error = {"code": -32000, "message": "No module named 'torch'", "data": data}
    with pytest.raises(EngineError, match="torch") as caught:
        client.wait(client.request("error", error))
    assert caught.value.kind == "EngineMissing"


def test_failing_callback_does_not_break_the_client(client, calls, slotErrors):
    def fail(value):
        raise RuntimeError("callback of the test")

    client.request("progress", {"count": 3}, onProgress=fail, onLog=fail, onResult=fail)
    client.request("error", {"code": -32000, "message": "x"}, onError=fail)
    client.request("echo", 5, **calls.of())
    until(lambda: calls)
    assert calls == [("Result", 5)]
    assert ["RuntimeError: callback of the test" in text for text in slotErrors] == [True] * 6


def test_wait_raises_what_went_wrong_and_ends_with_stop(client, calls):
    request = client.request("sleep", {}, onProgress=lambda value: client.stop())
    with pytest.raises(EngineError) as caught:
        client.wait(request)
    assert caught.value.kind == "CancelledError"
    with pytest.raises(EngineError):
        client.wait(request)


def test_wait_in_a_callback(client, calls):
    def again(value):
        calls.append(("inner", client.wait(client.request("echo", value + 1))))

    assert client.wait(client.request("echo", 1, onResult=again)) == 1
    assert calls == [("inner", 2)]


@pytest.mark.parametrize("otherPython", ["", "/opt/python"])
def test_environment_of_the_engine(makeClient, tmp_path, monkeypatch, otherPython):
    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    monkeypatch.setenv("SAM2ADAPT_ENGINE_PYTHON", otherPython)
    client = makeClient(environment={"SAM2ADAPT_HOME": str(tmp_path)})
    environment = client.wait(client.request("environment", {}))
    folder, other = environment["PYTHONPATH"].split(os.pathsep)
    assert (Path(folder) / "sam2adapt" / "__main__.py").is_file() and other == "/somewhere"
    assert environment["SAM2ADAPT_HOME"] == str(tmp_path) and environment["PYTHONIOENCODING"] == "utf-8"


def test_python_of_the_engine(monkeypatch):
    monkeypatch.delenv("SAM2ADAPT_ENGINE_PYTHON", raising=False)
    assert enginePython() == sys.executable
    monkeypatch.setenv("SAM2ADAPT_ENGINE_PYTHON", "/opt/python")
    assert enginePython() == "/opt/python"


def test_shared_engine_is_one(monkeypatch):
    monkeypatch.setattr(clientModule, "_shared", [])
    clientModule.stopSharedEngine()
    engine = clientModule.sharedEngine()
    assert clientModule.sharedEngine() is engine and not engine.isRunning()
    clientModule.stopSharedEngine()


@pytest.fixture
def realEngine(monkeypatch, tmp_path):
    pytest.importorskip("torch", reason="needs the engine's packages")
    monkeypatch.delenv("SAM2ADAPT_ENGINE_PYTHON", raising=False)
    client = EngineClient(environment={"SAM2ADAPT_HOME": str(tmp_path / "home")})
    yield client
    client.stop()


def segmentParams(folder, slices):
    """Parameters for a run of the bundled model over noise in the range of CT."""
    array = np.random.default_rng(0).integers(-1000, 400, (slices, 96, 96)).astype(np.int16)
    np.save(folder / "input.npy", array)
    geometry = {"origin": [0, 0, 0], "spacing": [3, 3, 3], "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1]}
    volume = {"array": str(folder / "input.npy"), "name": "noise", "modality": "CT", **geometry}
    return {"input": volume, "model": "torso-ct", "device": "cpu", "labels": str(folder / "labels.npy")}


def test_real_engine_segments_and_is_cancelled(realEngine, calls, tmp_path):
    models = realEngine.wait(realEngine.request("models", {}))
    assert "torso-ct" in [model["name"] for model in models]
    pid = realEngine.processId()

    request = realEngine.request("segment", segmentParams(tmp_path, 3), **calls.of())
    result = realEngine.wait(request)
    assert result["slices"] == 3 and result["device"] == "cpu" and result["structures"]
    labels = np.load(tmp_path / "labels.npy")
    assert labels.shape == (3, 96, 96) and labels.dtype == np.uint8
    progress = [value for name, value in calls if name == "Progress"]
    assert progress[0]["stage"] == "loading" and progress[-1]["fraction"] == 1 and calls[-1][0] == "Result"
    assert realEngine.processId() == pid

    with pytest.raises(EngineError) as caught:
        realEngine.wait(realEngine.request("segment", {**segmentParams(tmp_path, 3), "model": "none"}))
    assert caught.value.kind == "ModelNotFoundError" and caught.value.remedy
    with pytest.raises(EngineError, match="nonsense") as caught:
        realEngine.wait(realEngine.request("segment", {**segmentParams(tmp_path, 3), "nonsense": 1}))
    assert caught.value.kind == "Defect"

    def atWork():
        return any(name == "bProgress" and value["stage"] == "segmenting" for name, value in calls)

    request = realEngine.request("segment", segmentParams(tmp_path, 2000), **calls.of("b"))
    until(atWork)
    pids = ProcessTree.descendants(pid)
    request.cancel()
    untilGone(pids)
    until(lambda: calls[-1] == ("bError", request.error))


def test_an_answer_names_the_control_that_its_remedy_is_about():
    data = {"kind": "SettingsError", "remedy": "Mend it.", "setting": ["roi", "ofALaterVersion"]}
    error = clientModule.answeredError({"code": 1, "message": "Wrong.", "data": data})
    assert (error.kind, str(error)) == ("SettingsError", "Wrong. Mend it (“Region”).")
    assert error.setting == ("roi", "ofALaterVersion")
    del data["setting"]  # as an older engine answers
    assert str(clientModule.answeredError({"code": 1, "message": "Wrong.", "data": data})) == "Wrong. Mend it."
