"""The engine server's protocol, spoken to the real process: order, cancelling, errors, its end, what it survives."""

import itertools
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from sam2adapt.server.messages import encode, error_of
from sam2adapt.server.methods import METHODS
from sam2adapt.server.task import Task
from serve_client import PATIENCE, Client, patched

# Methods without torch in the place of two that take no parameters: one that goes on until it is cancelled, and one
# that reads and prints in every way that a library can.
PATCH = """
import os, subprocess, sys, time
from sam2adapt.server import methods
def endless(engine, params, task):
    step = 0
    while True:
        task.check()
        step += 1
        task.progress("waiting", step % 100, 100, "step", fraction=0.5)
        time.sleep(0.01)
def noisy(engine, params, task):
    print("a library prints")
    os.write(1, b"a library writes\\n")
    subprocess.run([sys.executable, "-c", "print('a child prints')"], check=True)
    child = subprocess.run([sys.executable, "-c", "print(repr(input()))"], capture_output=True)
    return f"{child.returncode} {os.read(0, 9)} {sys.stdin.read()!r}"
methods.METHODS |= {"devices": endless, "bases": noisy}
"""


@pytest.fixture(scope="module")
def server():
    """A server for tests that leave it as it was."""
    with Client() as client:
        client.receive()
        yield client


@pytest.fixture
def endless():
    """A server whose ``devices`` goes on until it is cancelled."""
    with Client(patched(PATCH)) as client:
        client.receive()
        yield client


@pytest.mark.parametrize(
    ("torch", "code", "kind", "word"),
    [
        ("raise ImportError('torch is broken here')", 1, "EngineMissing", "torch is broken here"),
        ("", -32000, "AttributeError", "'torch' has no attribute"),
    ],
)
def test_greets_before_torch_is_looked_for_and_survives_without(torch, code, kind, word, tmp_path):
    (tmp_path / "torch.py").write_text(torch)
    with Client(PYTHONPATH=os.pathsep.join([str(tmp_path), os.environ["PYTHONPATH"]])) as client:
        ready = client.receive()
        assert ready["method"] == "ready"
        assert ready["params"] == {"pid": client.process.pid, "version": "0.1.0", "protocol": 1}
        assert "torso-ct" in [row["name"] for row in client.result("models")]
        error = client.error("devices")
        assert error["code"] == code
        assert error["data"]["kind"] == kind
        assert word in error["message"]
        assert client.result("models")


@pytest.mark.skipif(not hasattr(os, "getpgid"), reason="process groups are those of POSIX")
def test_leads_its_own_process_group(server):
    assert os.getpgid(server.process.pid) == server.process.pid


@pytest.mark.parametrize(
    ("line", "code", "word"),
    [
        (b"garbage", -32700, "not JSON"),
        (b'{"jsonrpc": "2.0", "id": 901, "method": "models"', -32700, "not JSON"),
        (b'{"jsonrpc": "2.0", "id": 901, "method": "\xff"}', -32700, "not JSON"),
        (b'{"jsonrpc": "2.0", "id": 901, "method": "cancel", "params": {"id": NaN}}', -32700, "NaN"),
        (b'{"jsonrpc": "2.0", "id": 901, "method": "cancel", "params": {"id": 1e999}}', -32700, "1e999"),
        (b"[" * 100_000, -32700, "not JSON"),
        (b'[{"jsonrpc": "2.0", "id": 901, "method": "models"}]', -32600, "one object"),
        (b'"models"', -32600, "one object"),
        (b'{"id": 901, "method": "models"}', -32600, "jsonrpc"),
        (b'{"jsonrpc": "2.0", "id": 901}', -32600, "'method'"),
        (b'{"jsonrpc": "2.0", "id": 901, "method": ["models"]}', -32600, "'method'"),
        (b'{"jsonrpc": "2.0", "method": "models"}', -32600, "needs an id"),
        (b'{"jsonrpc": "2.0", "id": [1], "method": "models"}', -32600, "needs an id"),
        (b'{"jsonrpc": "2.0", "id": true, "method": "cancel", "params": {"id": 1}}', -32600, "needs an id"),
        (b'{"jsonrpc": "2.0", "id": 901, "method": "ready"}', -32601, "no method 'ready'"),
        (b'{"jsonrpc": "2.0", "id": 901, "method": "models", "params": [1]}', -32602, "not of type 'object'"),
        (b'{"jsonrpc": "2.0", "id": 901, "method": "models", "params": {"all": 1}}', -32602, "'all' was unexpected"),
        (b'{"jsonrpc": "2.0", "id": 901, "method": "cancel", "params": {}}', -32602, "'id' is a required"),
        (b'{"jsonrpc": "2.0", "id": 901, "method": "segment"}', -32602, "is a required property"),
    ],
)
def test_messages_that_are_not_understood(line, code, word, server):
    server.write(line + b"\n")
    message = server.receive()
    assert message["error"]["code"] == code
    assert word in message["error"]["message"]
    readable = code != -32700 and line.startswith(b"{") and b'"id": 901' in line
    assert message["id"] == (901 if readable else None)
    assert server.result("models")


def segment_with(**changes) -> dict:
    volume = {"array": "/a.npy", "origin": [0, 0, 0], "spacing": [1, 1, 1], "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1]}
    volume |= changes.pop("input", {})
    return {"input": volume, "model": "torso-ct", "labels": "/labels.npy", **changes}


@pytest.mark.parametrize(
    ("method", "params", "word"),
    [
        ("segment", segment_with(model=3), "'model'"),
        ("segment", segment_with(labels=None), "'labels'"),
        ("segment", segment_with(labels="a\0b"), "'labels'"),
        ("segment", segment_with(tta="yes"), "'tta'"),
        ("segment", segment_with(roi=[0, 1, 0, 1]), "'roi'"),
        ("segment", segment_with(roi=[0, 1, 0, 1, 0, 1.5]), "'roi[5]'"),
        ("segment", segment_with(structures=[]), "'structures'"),
        ("segment", segment_with(structures="lung"), "'structures'"),
        ("segment", segment_with(input={"spacing": [1, 1]}), "'input.spacing'"),
        ("segment", segment_with(input={"spacing": [1, 1, 0]}), "'input.spacing[2]'"),
        ("segment", segment_with(input={"origin": [0, 0, "0"]}), "'input.origin[2]'"),
        ("segment", segment_with(input={"direction": [1]}), "'input.direction'"),
        ("segment", segment_with(input={"modality": "US"}), "'input.modality'"),
        ("segment", segment_with(colour=True), "'colour'"),
        ("train", {"images": "/a"}, "'output'"),
        ("train", {"images": "/a", "output": "/b.safetensors", "epochs": 1.5}, "'epochs'"),
        ("control", {"id": 1, "action": "jump"}, "'action'"),
        ("train", {"images": "/a", "output": "/b.safetensors", "classes": {"1": "a"}}, "'classes'"),
        ("train", {"images": "/a", "output": "/b.safetensors", "classes": [{"id": 1}]}, "'classes[0]'"),
        ("train", {"images": "/a", "output": "/b.safetensors", "split": {"train": []}}, "'split'"),
        ("addModel", {"path": 1}, "'path'"),
        ("downloadBase", {"base": "tiny", "source": 1}, "'source'"),
        ("cancel", {"id": 1.5}, "'id'"),
    ],
)
def test_wrong_parameters_are_named(method, params, word, server):
    error = server.error(method, **params)
    assert error["code"] == -32602
    assert word in error["message"]
    assert error["message"].endswith(".")


def test_requests_are_answered_in_their_order_and_ids_may_be_text(server):
    lines = [json.dumps({"jsonrpc": "2.0", "id": name, "method": "models"}) for name in ("b", "a", "ä ✓")]
    server.write("\r\n\n".join(lines).encode() + b"\n")
    assert [server.receive()["id"] for _ in lines] == ["b", "a", "ä ✓"]


def test_message_in_pieces(server):
    for piece in (b'{"jsonrpc": "2.0", "id": "pieces", "met', b'hod": "mod', b'els"}', b"\n"):
        server.write(piece)
    assert server.answer("pieces")["result"]


def test_libraries_neither_print_to_the_client_nor_read_its_messages(endless):
    asked, next_one = endless.send("bases"), endless.send("models")
    assert endless.answer(asked)["result"] == "1 b'' ''"
    assert endless.answer(next_one)["result"]
    assert [message.get("method") for message in endless.seen] == ["ready", None, None]
    endless.process.stdin.close()
    endless.ended()
    for words in ("a library prints", "a library writes", "a child prints"):
        assert words in endless.last_words()


def test_running_request_is_cancelled_and_the_next_one_works(endless):
    running, waiting = endless.send("devices"), endless.send("bases")
    endless.progress(running)
    assert endless.send("cancel", id=running)
    message = endless.answer(running)
    assert message["error"]["code"] == 1
    assert message["error"]["data"]["kind"] == "CancelledError"
    assert message["error"]["data"]["remedy"]
    assert endless.answer(waiting)["result"]


def test_waiting_request_is_dropped_at_once(endless):
    running, waiting, last = endless.send("devices"), endless.send("bases"), endless.send("models")
    assert endless.answer(endless.send("cancel", id=waiting))["result"] is True
    dropped = next(message for message in endless.seen if message.get("id") == waiting)
    assert dropped["error"]["data"]["kind"] == "CancelledError"
    assert endless.answer(endless.send("cancel", id=running))["result"] is True
    assert endless.answer(last)["result"]
    assert not [m for m in endless.seen if m.get("id") == waiting and "result" in m]


def test_cancel_of_what_is_not_on_its_way_changes_nothing(server):
    assert server.result("cancel", id=4711) is False
    done = server.send("models")
    server.answer(done)
    assert server.result("cancel", id=done) is False


def test_cancel_without_an_id_is_not_answered(endless):
    running = endless.send("devices")
    endless.write(json.dumps({"jsonrpc": "2.0", "method": "cancel", "params": {"id": running}}).encode() + b"\n")
    assert endless.answer(running)["error"]["data"]["kind"] == "CancelledError"
    assert endless.result("models")
    assert [m["id"] for m in endless.seen if "id" in m] == [running, running + 1]


def test_id_that_is_taken_is_refused(endless):
    running = endless.send("devices")
    endless.progress(running)
    endless.write(json.dumps({"jsonrpc": "2.0", "id": running, "method": "models"}).encode() + b"\n")
    assert "waiting or running" in endless.answer(running)["error"]["message"]
    endless.send("cancel", id=running)
    assert endless.answer(running)["error"]["data"]["kind"] == "CancelledError"


def test_messages_of_both_threads_never_mix(endless):
    running = endless.send("devices")
    for _ in range(300):
        endless.write(b"garbage\n")
    answers = 0
    while answers < 300:
        answers += "error" in endless.receive()
    endless.send("cancel", id=running)
    endless.answer(running)


def test_shutdown_cancels_what_is_on_its_way(endless):
    running, waiting = endless.send("devices"), endless.send("bases")
    endless.progress(running)
    assert endless.answer(endless.send("shutdown"))["result"] is None
    assert endless.ended() == 0
    errors = {m["id"]: m["error"]["data"]["kind"] for m in endless.seen if "error" in m}
    assert errors == {running: "CancelledError", waiting: "CancelledError"}


def test_end_of_input_ends_it_in_the_middle_of_a_request(endless):
    endless.progress(endless.send("devices"))
    endless.process.stdin.close()
    assert endless.ended() == 0


def test_no_orphan_is_left_when_the_client_is_killed():
    # The client of this one is a process of its own, which hands its standard output on to the server.
    code = (
        "import subprocess, sys, time\n"
        "server = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        'server.stdin.write(b\'{"jsonrpc": "2.0", "id": 1, "method": "devices"}\\n\')\n'
        "server.stdin.flush()\n"
        "time.sleep(1000)\n"
    )
    command = [sys.executable, "-c", code, *patched(PATCH)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as client:
        assert b"ready" in client.stdout.readline()
        assert b"progress" in client.stdout.readline()
        client.kill()
        # The end of the pipe comes when the last process that holds it has ended; without it this is an error.
        client.communicate(timeout=PATIENCE)


def test_killed_server_says_nothing_more(endless):
    endless.progress(endless.send("devices"))
    endless.process.kill()
    assert endless.ended() != 0


def test_client_that_closes_its_end_of_the_answers():
    with subprocess.Popen(patched(PATCH), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(b'{"jsonrpc": "2.0", "id": 1, "method": "devices"}\n')
        process.stdin.flush()
        assert process.wait(PATIENCE) == 0


def test_defect_keeps_its_traceback_and_the_server_goes_on():
    code = "from sam2adapt.server import methods as m\nm.METHODS['bases'] = lambda engine, params, task: {}['nothing']"
    with Client(patched(code)) as client:
        client.receive()
        error = client.error("bases")
        assert error["code"] == -32000
        assert error["data"]["kind"] == "KeyError"
        assert "Traceback" in error["data"]["traceback"]
        assert client.result("models")


def test_memory_that_ran_out_is_an_error_of_the_user():
    error = error_of(MemoryError())
    assert error["code"] == 1
    assert error["data"]["kind"] == "DeviceError"


def test_broken_gpu_is_an_error_of_the_user():
    text = "CUDA error: no kernel image is available for execution on the device\nCUDA kernel errors might be late."
    error = error_of(RuntimeError(text))
    assert error["code"] == 1
    assert error["data"]["kind"] == "DeviceError"
    assert error["message"] == "The GPU failed (CUDA error: no kernel image is available for execution on the device)."


def test_numbers_that_json_does_not_know():
    sent = {"a": float("nan"), "b": [np.float32("inf"), np.int64(3), np.bool_(True)], "c": {"d": (1.5, "ä\udcff")}}
    line = encode(sent)
    assert line.count(b"\n") == 1
    received = json.loads(line)
    assert received == {"jsonrpc": "2.0", "a": None, "b": [None, 3, True], "c": {"d": [1.5, "ä\udcff"]}}


def test_every_method_has_parameters_that_are_checked(server):
    for method in METHODS:
        assert server.error(method, surprise=1)["code"] == -32602


def test_progress_is_sparse_and_its_ends_are_always_sent(monkeypatch):
    sent, now = [], [100.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    task = Task(1, "segment", {}, lambda method, params: sent.append(params))
    for done in range(501):
        now[0] += 0.02 if done < 250 else 0.04  # it becomes slower on the way
        task.progress("segmenting", done, 500, "slice")
    assert (sent[0]["done"], sent[-1]["done"]) == (0, 500)
    assert sent[0]["rate"] is None
    assert sent[0]["secondsLeft"] is None
    assert len(sent) <= 1 + (now[0] - 100) / 0.1
    assert all(a["done"] < b["done"] for a, b in itertools.pairwise(sent))
    halfway = next(p for p in sent if p["done"] >= 245)
    assert halfway["rate"] == pytest.approx(50, rel=0.05)
    late = next(p for p in sent if p["done"] >= 499)
    assert late["rate"] == pytest.approx(25, rel=0.05)
    assert late["secondsLeft"] == pytest.approx((500 - late["done"]) / 25, rel=0.1)
