"""Memory that runs out on another computer: the sentence says where, and what others have left of its GPU."""

import socket
import sys

from serve_client import Client, patched
from ssh_host import relay

# The GPU is full, though this machine may have none; the request of the test stands for any that computes.
FULL = """
from sam2adapt.machine import device
from sam2adapt.server import methods
from sam2adapt.shared.errors import DeviceError
device.free_memory = lambda: (1_500_000_000, 8_000_000_000)
def full(engine, request, task):
    raise DeviceError(SENTENCE, "Close other programs.")
methods.METHODS["bases"] = full"""


def answers(sentence: str) -> list[str]:
    """The sentences of a local engine and of one behind a relay."""
    code, found = FULL.replace("SENTENCE", repr(sentence)), []
    stream = f"{code}\nfrom sam2adapt.server.remote.gateway import serve_stream\nserve_stream()"
    for command in (patched(code), relay("--command", sys.executable, "-c", stream)):
        with Client(command) as client:
            client.receive()
            found.append(client.error("bases"))
            client.process.stdin.close()
            client.ended()
    assert {error["data"]["remedy"] for error in found} == {"Close other programs."}
    return [error["message"] for error in found]


def test_memory_that_ran_out_there_says_where_and_what_is_free():
    local, remote = answers("Memory ran out.")
    assert local == "Memory ran out."
    where = f"Memory ran out, on '{socket.gethostname()}'"
    assert remote == f"{where}: 1.5 of 8.0 GB of its GPU are free now, and others may use it."


def test_a_device_that_is_not_there_says_nothing_of_memory():
    assert answers("There is no device 'cuda:77'.") == ["There is no device 'cuda:77'."] * 2
