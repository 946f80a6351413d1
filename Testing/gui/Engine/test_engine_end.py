"""Whatever ends the engine's work (cancel, stop, death, the end of Slicer), no process is left and nothing is lost."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
from engine_testing import FAKE, PATIENCE, Calls, engineClients, exists, settle, startedPids, until, untilGone
from SAM2AdaptLib.Engine import ProcessTree

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


def test_death_takes_what_the_engine_started_along(client):
    client.wait(client.request("echo", 1))
    group = client.processId()
    code = "import time; print(1, flush=True); time.sleep(600)"
    member = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, process_group=group)
    member.stdout.readline()
    os.kill(group, signal.SIGKILL)
    until(lambda: not client.isRunning())
    assert member.wait(PATIENCE) == -signal.SIGKILL


@pytest.mark.parametrize("options", [(), ("--launcher",)], ids=["direct", "launcher"])
def test_cancel_leaves_no_process(makeClient, calls, options):
    client = makeClient(*options)
    request, pids = startedPids(client, calls)
    waiting = client.request("echo", 3, **calls.of("b"))
    request.cancel()
    assert request.state == "cancelled" and request.error.kind == "CancelledError"
    assert calls.names() == ["Progress"]
    untilGone(pids)
    until(lambda: len(calls) == 3)
    assert calls[1] == ("Error", request.error) and calls[2] == ("bResult", 3) and waiting.state == "done"
    request.cancel()
    settle()
    assert len(calls) == 3


def test_cancel_of_a_waiting_request_leaves_the_engine_alone(client, calls):
    request, pids = startedPids(client, calls, children=0)
    waiting = client.request("echo", 3, **calls.of("b"))
    waiting.cancel()
    until(lambda: len(calls) == 2)
    assert calls[1] == ("bError", waiting.error) and waiting.state == "cancelled"
    assert request.state == "running" and exists(pids[0])


@pytest.mark.parametrize("options", [(), ("--launcher",)], ids=["direct", "launcher"])
def test_cancel_while_the_engine_starts(makeClient, calls, options):
    client = makeClient("--slow", "600", *options)
    request = client.request("echo", 3, **calls.of())
    launcher = client.processId()
    until(lambda: len(ProcessTree.descendants(launcher)) == 1 + len(options))
    pids = ProcessTree.descendants(launcher)
    request.cancel()
    assert not client.isRunning()
    untilGone(pids)
    until(lambda: calls)
    assert calls == [("Error", request.error)]


def test_killed_launcher_leaves_no_engine(makeClient, calls):
    client = makeClient("--launcher")
    request, pids = startedPids(client, calls, children=0)
    launcher = client._process._pid
    assert launcher not in pids and client.processId() == pids[0]
    os.kill(launcher, signal.SIGKILL)
    until(lambda: request.state == "failed")
    untilGone(pids)


def test_foreign_process_is_never_killed(makeClient, calls):
    with subprocess.Popen(
        [sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE, process_group=0
    ) as foreign:
        client = makeClient("--pid", str(foreign.pid))
        request, pids = startedPids(client, calls, children=1)
        assert client.processId() == foreign.pid
        request.cancel()
        untilGone(pids)
        assert exists(foreign.pid)


@pytest.mark.skipif(not shutil.which("ps"), reason="needs ps")
def test_descendants_without_proc(monkeypatch):
    with subprocess.Popen(["sh", "-c", "cat; true"], stdin=subprocess.PIPE) as child:
        until(lambda: len(ProcessTree.descendants(child.pid)) == 2)
        expected = ProcessTree.descendants(child.pid)
        monkeypatch.setattr(os.path, "exists", lambda path: False)
        assert ProcessTree.descendants(child.pid) == expected


def test_windows_kills_by_its_own_tool(monkeypatch):
    commands = []
    tools = {"DEVNULL": None, "CREATE_NO_WINDOW": 0, "Popen": lambda command, **options: commands.append(command)}
    monkeypatch.setattr(ProcessTree, "os", types.SimpleNamespace(name="nt"))
    monkeypatch.setattr(ProcessTree, "subprocess", types.SimpleNamespace(**tools))
    ProcessTree.killTree(None)
    ProcessTree.killTree(42)
    assert commands == [["taskkill", "/F", "/T", "/PID", "42"]] and not ProcessTree.isGroupLeader(42)


def test_stop_leaves_no_process_and_ends_every_request(client, calls):
    request, pids = startedPids(client, calls)
    waiting = client.request("echo", 3, **calls.of("b"))
    cancelled = client.request("echo", 4, **calls.of("c"))
    cancelled.cancel()
    client.stop()
    assert not exists(pids[0])
    untilGone(pids)
    ends = [(name, error.kind) for name, error in calls[1:]]
    assert sorted(ends) == [("Error", "CancelledError"), ("bError", "CancelledError"), ("cError", "CancelledError")]
    assert "stopped" in str(dict(calls)["Error"])
    client.stop()
    settle()
    assert len(calls) == 4
    assert (request.state, waiting.state) == ("cancelled", "cancelled") and not client.isRunning()
    assert client.wait(client.request("echo", 5)) == 5


def test_stop_from_a_callback(client, calls):
    client.request("progress", {"count": 20}, **{**calls.of(), "onProgress": lambda value: client.stop()})
    until(lambda: not client.isRunning())
    settle()
    assert calls.names() == ["Error"]


def test_stop_tells_all_even_if_one_fails(client, calls):
    def fail(error):
        raise RuntimeError("callback of the test")

    client.request("sleep", {}, onError=fail)
    client.request("echo", 1, **calls.of())
    with pytest.raises(RuntimeError, match="of the test"):
        client.stop()
    assert calls.names() == ["Error"]


@pytest.mark.parametrize("end", ["killed", "quit", "wait"])
@pytest.mark.parametrize("options", [(), ("--launcher",)], ids=["direct", "launcher"])
def test_end_of_slicer_leaves_no_engine(end, options):
    script = Path(__file__).resolve().parents[1] / "client_process.py"
    slicer = subprocess.Popen([sys.executable, script, end, *FAKE, *options], stdout=subprocess.PIPE, encoding="utf-8")
    watchdog = threading.Timer(PATIENCE, slicer.kill)
    watchdog.start()
    pids = [int(pid) for pid in slicer.stdout.readline().split()]
    assert pids
    if end == "killed":
        assert all(exists(pid) for pid in pids)
        slicer.kill()
    assert slicer.wait() == (-signal.SIGKILL if end == "killed" else 0)
    watchdog.cancel()
    assert slicer.stdout.read() == ("CancelledError\n" if end == "wait" else "")
    untilGone(pids)
