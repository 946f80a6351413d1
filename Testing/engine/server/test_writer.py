"""The server beside a client that reads slowly, not at all, or is gone."""

import io
import json
import os
import subprocess
import sys
import threading
import time

import pytest
from sam2adapt.server.writer import Writer
from serve_client import COMMAND, Client

POSIX = pytest.mark.skipif(os.name == "nt", reason="the numbers of parents of POSIX")


class SlowStream(io.RawIOBase):
    """A stream that writes only while it may."""

    def __init__(self):
        super().__init__()
        self.may, self.lines = threading.Event(), []

    def write(self, data) -> int:
        self.may.wait(60)
        self.lines.append(json.loads(bytes(data)))
        return len(data)


def test_nobody_waits_for_a_client_that_reads_slowly_and_only_progress_is_left_out():
    stream = SlowStream()
    writer = Writer(stream)
    for number in range(40_000):
        writer.send({"method": "progress", "params": {"id": 1, "done": number}})
    writer.send({"id": 1, "result": "whole"})
    assert not writer.drain(0.01)
    stream.may.set()
    assert writer.drain(60)
    assert stream.lines[-1]["result"] == "whole" and 1000 < len(stream.lines) < 40_000


def test_a_client_that_never_reads_is_taken_for_gone():
    gone = threading.Event()
    writer = Writer(SlowStream(), gone.set)
    for _ in range(300):
        writer.send({"id": 1, "result": "x" * 1_000_000})
    assert gone.is_set()


def test_an_answer_that_json_cannot_hold_is_an_error():
    stream, deep = SlowStream(), []
    stream.may.set()
    for _ in range(3000):
        deep = [deep]
    writer = Writer(stream)
    for result in (deep, object()):
        writer.send({"id": 1, "result": result})
    assert writer.drain(60)
    assert [message["error"]["code"] for message in stream.lines] == [-32000, -32000]


def test_the_process_ends_with_standard_input_although_nobody_reads():
    server = subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    os.set_blocking(server.stdin.fileno(), False)
    unknown = b'{"jsonrpc": "2.0", "id": 1, "method": "none"}\n' * 1500
    sent, deadline = 0, time.monotonic() + 60
    while sent < 4 * len(unknown) and time.monotonic() < deadline:  # far more than a pipe holds of the answers
        try:
            sent += os.write(server.stdin.fileno(), unknown)
        except BlockingIOError:
            time.sleep(0.01)
    assert sent >= 4 * len(unknown), "the reader waits for the writer"
    server.stdin.close()
    assert server.wait(60) == 0
    server.stdout.close()


@POSIX
def test_the_process_ends_with_its_client_although_another_holds_the_other_end():
    reading, writing = os.pipe()
    code = "import subprocess, sys, time\np = subprocess.Popen(sys.argv[2:], stdin=int(sys.argv[1]))\ntime.sleep(600)"
    client = subprocess.Popen([sys.executable, "-c", code, str(reading), *COMMAND], pass_fds=(reading,),
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)  # fmt: skip
    assert json.loads(client.stdout.readline())["method"] == "ready"
    client.kill()
    client.wait()
    assert client.stdout.read() == b""  # ends when the server, which has the other end, is gone
    client.stdout.close()
    os.close(reading)
    os.close(writing)


def test_answers_before_the_end_are_written():
    with Client() as client:
        client.write(b'{"jsonrpc": "2.0", "id": 7, "method": "none"}\n')
        client.process.stdin.close()
        assert client.answer(7)["error"]["code"] == -32601 and client.ended() == 0
