"""For tests of the engine client: the engine that misbehaves, records of callbacks, and whether processes are left."""

import contextlib
import sys
import time
from pathlib import Path

import qt
from SAM2AdaptLib.Engine.Client import EngineClient

HERE = Path(__file__).parent
FAKE = [sys.executable, str(HERE / "fake_engine.py")]
PATIENCE = 300  # seconds; a busy machine is slow, and a test that waits in vain fails anyway


def until(condition):
    """Run the event loop until a condition is true."""
    end = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < end, "nothing happened"
        qt.QCoreApplication.processEvents()
        time.sleep(0.002)


def settle():
    """Give the event loop the time in which a callback that must not come would come."""
    end = time.monotonic() + 0.3
    while time.monotonic() < end:
        qt.QCoreApplication.processEvents()
        time.sleep(0.01)


@contextlib.contextmanager
def engineClients():
    """A function that makes clients, of the engine that misbehaves with the options it gets; stopped at the end."""
    clients = []

    def make(*options, command=None, environment=None):
        clients.append(EngineClient(command or [*FAKE, *options], environment))
        return clients[-1]

    yield make
    for client in clients:
        client.stop()


def exists(pid):
    """Whether a process runs; one that has ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def untilGone(pids):
    end = time.monotonic() + PATIENCE
    while left := [pid for pid in pids if exists(pid)]:
        assert time.monotonic() < end, f"processes are left: {left}"
        time.sleep(0.002)


class Calls(list):
    """Records callbacks as (name, value)."""

    def of(self, name=""):
        """Keyword arguments for ``request()``."""
        return {
            f"on{kind}": lambda value, kind=kind: self.append((name + kind, value))
            for kind in ("Result", "Error", "Progress", "Log")
        }

    def names(self):
        return [name for name, value in self]


def startedPids(client, calls, children=2):
    """A running request and the numbers of the engine's process and of those that it started."""
    request = client.request("sleep", {"children": children}, **calls.of())
    until(lambda: "Progress" in calls.names())
    pids = dict(calls)["Progress"]["pids"]
    assert all(exists(pid) for pid in pids)
    return request, pids
