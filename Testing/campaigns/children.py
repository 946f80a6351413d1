"""Tries in forked children: torch is imported once, so that a try takes a fraction of a second."""

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from outcomes import DIED, HUNG, MEMORY, REFUSED, SURVIVED, TRACEBACK

PATIENCE = 60.0  # seconds until a child counts as hung; a busy machine is slow
MOST_MEMORY = 700_000_000  # bytes that a try with a tiny network may take beyond what the parent holds
_LOOK = 0.004


@dataclass
class Ended:
    """How a child ended.

    :ivar killed: by us, on purpose; ``signal``: that ended it, 0 if none did.
    :ivar memory: the most that it held, bytes.
    """

    status: int
    signal: int
    hung: bool
    killed: bool
    said: str
    memory: int
    seconds: float


class Child:
    """A forked child at work.

    :param work: gives the exit status; an exception is printed and gives 1.
    :param folder: for what it says.
    :param streams: file descriptors for its standard input and output; without them, nothing and a file.
    """

    def __init__(self, work: Callable[[], int], folder: Path, streams: tuple[int, int] | None = None):
        self._said, self._started = folder / f"said-{time.monotonic_ns()}", time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(work, streams)

    def _run(self, work: Callable[[], int], streams: tuple[int, int] | None) -> None:
        status = 1
        try:
            os.setpgid(0, 0)
            said = os.open(self._said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            source, target = streams or (os.open(os.devnull, os.O_RDONLY), said)
            for number, descriptor in enumerate((source, target, said)):
                os.dup2(descriptor, number)
            os.closerange(3, 256)  # ends of pipes that belong to the parent
            status = work()
        except SystemExit as leaving:
            status = leaving.code if isinstance(leaving.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            for stream in (sys.stdout, sys.stderr):
                try:
                    stream.flush()
                except (OSError, ValueError):
                    status = status or 1
            os._exit(status or 0)

    def ended(self, kill_after: float | None = None, patience: float | None = None) -> Ended:
        """Wait for its end; kill it after some seconds, on purpose or because it hangs."""
        killed = hung = False
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            passed = time.monotonic() - self._started
            if kill_after is not None and passed >= kill_after and not killed:
                killed = True
                os.kill(self.pid, signal.SIGKILL)
            elif passed > (patience or PATIENCE) and not hung:
                hung = True
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(_LOOK)
        said = self._said.read_bytes().decode(errors="replace") if self._said.exists() else ""
        self._said.unlink(missing_ok=True)
        code, number = (os.WEXITSTATUS(status), 0) if os.WIFEXITED(status) else (0, os.WTERMSIG(status))
        seconds = time.monotonic() - self._started
        return Ended(code, number, hung, killed and number == signal.SIGKILL, said, 1024 * usage.ru_maxrss, seconds)


def tried(work: Callable[[], int], folder: Path, kill_after: float | None = None) -> Ended:
    """Do something in a child, to its end."""
    return Child(work, folder).ended(kill_after)


def own_memory() -> int:
    """What this process holds now, bytes: children begin with it."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def verdict(ended: Ended) -> tuple[str, str]:
    """What a child's end means; a child that was killed on purpose has survived."""
    last = ended.said[-400:]
    if ended.hung:
        return HUNG, f"after {ended.seconds:.0f} s: {last}"
    if ended.signal and not ended.killed:
        return DIED, f"signal {ended.signal}: {last}"
    if "Traceback (most recent call last)" in ended.said or ended.status not in (0, 2):
        return TRACEBACK, f"exit {ended.status}: {last}"
    if ended.memory > own_memory() + MOST_MEMORY:
        return MEMORY, f"{ended.memory / 1e6:.0f} MB: {last}"
    if ended.status == 2 and not ended.said.strip():
        return TRACEBACK, "exit 2 without a word"
    return (REFUSED if ended.status else SURVIVED), last


def worst(*found: tuple[str, str]) -> tuple[str, str]:
    """The worst of several verdicts: a fault, else a refusal."""
    order = (SURVIVED, REFUSED)
    return max(found, key=lambda one: order.index(one[0]) if one[0] in order else len(order))
