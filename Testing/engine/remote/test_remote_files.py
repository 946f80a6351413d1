"""Files that cannot be written or sent back, and work that takes long: one sentence each, and the engine goes on."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from sam2adapt.shared.errors import InputFileError
from sam2adapt.shared.stream import frames, sending
from serve_client import Client
from ssh_host import relay

HOST = socket.gethostname()
# An engine whose request writes what cannot be read, or whose disk is full once, or who takes long to link files.
ENGINE = """
import errno, os, sys, time
from sam2adapt.server import methods
from sam2adapt.server.remote import gateway, session
def segment(engine, request, task):
    os.symlink("/proc/self/mem", request.labels)
    return {"structures": []}
methods.METHODS["segment"] = segment
gateway.take_slot = lambda: None
resolve, fault = session.Session.resolve, [sys.argv[1]]
def faulty(self, message):
    what, fault[0] = fault[0], ""
    if what == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "/far/place")
    if what == "slow":
        time.sleep(3)
    return resolve(self, message)
session.Session.resolve = faulty
gateway.serve_stream()"""


def connect(home: Path, fault: str = "", silence: float = 30, **variables: str) -> Client:
    command = relay("--command", sys.executable, "-c", ENGINE, fault, silence=silence)
    return Client(command, SAM2ADAPT_HOME=str(home), **variables)


def test_a_result_that_cannot_be_read_is_an_error_of_its_request(tmp_path):
    if not os.path.exists("/proc/self/mem"):
        pytest.skip("needs a file that can be opened and not read")
    np.save(tmp_path / "v.npy", np.zeros((2, 8, 8), np.int16))
    (tmp_path / "m.safetensors").write_bytes(b"model")
    image = {"array": str(tmp_path / "v.npy"), "origin": [0] * 3, "spacing": [1] * 3,
             "direction": [1, *[0, 0, 0, 1] * 2]}  # fmt: skip
    labels = tmp_path / "l.npy"
    with connect(tmp_path / "home") as client:
        client.receive()
        error = client.error("segment", model=str(tmp_path / "m.safetensors"), input=image, labels=str(labels))
        assert error["data"]["kind"] == "InputFileError" and f"'{labels}' cannot be read" in error["message"]
        assert client.result("kept")
    assert not labels.exists() and not list(tmp_path.glob(".*"))


def test_a_file_that_cannot_be_read_to_its_end_is_given_up_on_the_other_side():
    if not os.path.exists("/proc/self/mem"):
        pytest.skip("needs a file that can be opened and not read")
    sent = bytearray()
    with pytest.raises(InputFileError):
        sending.send_file(Path("/proc/self/mem"), 1, {}, sent.extend)
    parts = iter([bytes(sent), b""])
    reader = frames.FrameReader(lambda count: next(parts))
    methods = [frames.parsed(reader.frame()[1])["method"] for _ in range(2)]
    assert methods == [sending.FILE, sending.FILE_ABORTED] and reader.frame() is None


def test_a_full_disk_there_is_said_with_the_name_of_the_computer(tmp_path):
    with connect(tmp_path / "home", "full") as client:
        client.receive()
        error = client.error("kept")
        assert error["message"] == f"The disk is full: '/far/place' could not be written, on '{HOST}'."
        assert error["data"]["kind"] == "OutputError" and client.result("kept")


def test_an_engine_that_takes_long_to_prepare_a_request_does_not_count_as_a_lost_connection(tmp_path):
    with connect(tmp_path / "home", "slow", silence=1) as client:
        client.receive()
        assert client.result("kept")


def test_a_number_of_days_that_is_none_is_said(tmp_path):
    with connect(tmp_path / "home", SAM2ADAPT_KEPT_DAYS="soon") as client:
        message = client.receive()
        assert message["method"] == "failed"
        assert message["params"]["message"] == "The environment variable SAM2ADAPT_KEPT_DAYS is 'soon'."
    tidy = [sys.executable, "-m", "sam2adapt", "serve", "--tidy"]
    variables = {**os.environ, "SAM2ADAPT_HOME": str(tmp_path / "home")}
    for days, status in (("soon", 2), ("1", 0)):
        done = subprocess.run(tidy, env=variables | {"SAM2ADAPT_KEPT_DAYS": days}, capture_output=True, check=False)
        assert done.returncode == status, done
