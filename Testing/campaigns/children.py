"""Tries in forked children: torch is imported once, so that a try takes a fraction of a second."""

import json
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from outcomes import DIED, HUNG, MEMORY, REFUSED, SURVIVED, TRACEBACK, Verdict

PATIENCE = 60.0  # seconds without a sign until a child counts as hung; a busy machine is slow
MOST_MEMORY = 700_000_000  # bytes that a try with a tiny network may take beyond what it began with
_LOOK = 0.004

Work = Callable[[], int]


@dataclass
class Ended:
    """How a try ended.

    :ivar killed: by us, on purpose; ``signal``: that ended it, 0 if none did.
    :ivar memory: the most that it took beyond what it began with, bytes.
    """

    status: int
    signal: int
    hung: bool
    killed: bool
    said: str
    memory: int
    seconds: float


class Most:
    """What the most greedy of the tries took, bytes, since this was set to 0."""

    memory = 0


class Child:
    """A forked child at work.

    :param work: gives the exit status; an exception is printed and gives 1.
    :param folder: for what it says.
    :param streams: file descriptors for its standard input and output; without them, nothing and a file.
    """

    def __init__(self, work: Work, folder: Path, streams: tuple[int, int] | None = None):
        self._said, self._started = folder / f"said-{time.monotonic_ns()}", time.monotonic()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            self._run(work, streams)
        self._began = memory_of(self.pid)

    def _run(self, work: Work, streams: tuple[int, int] | None) -> None:
        status = 1
        try:
            os.setpgid(0, 0)
            said = os.open(self._said, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
            source, target = streams or (os.open(os.devnull, os.O_RDONLY), said)
            for number, descriptor in enumerate((source, target, said)):
                os.dup2(descriptor, number)
            os.closerange(3, 256)  # ends of pipes that belong to the parent
            status = _status(work)
        finally:
            os._exit(status)  # whatever happens, it must not go on as if it were the parent

    def said(self) -> str:
        """What it has printed so far."""
        return self._said.read_bytes().decode(errors="replace") if self._said.exists() else ""

    def is_running(self) -> bool:
        """Whether it has neither ended nor been waited for."""
        try:
            return os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        except ChildProcessError:
            return False

    def ended(
        self, kill_after: float | None = None, patience: float | None = None, look: Callable[[], object] = lambda: None
    ) -> Ended:
        """Wait for its end; kill it after some seconds, on purpose or because it hangs.

        :param look: called again and again; as long as what it gives changes, the child does not hang.
        """
        killed = hung = False
        seen, since = look(), self._started
        while True:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                break
            now = time.monotonic()
            if (new := look()) != seen:
                seen, since = new, now
            if kill_after is not None and now - self._started >= kill_after and not killed:
                killed = True
                os.kill(self.pid, signal.SIGKILL)
            elif now - since > (patience or PATIENCE) and not hung:
                hung = True
                os.kill(self.pid, signal.SIGKILL)
            time.sleep(_LOOK)
        said = self.said()
        self._said.unlink(missing_ok=True)
        code, number = (os.WEXITSTATUS(status), 0) if os.WIFEXITED(status) else (0, os.WTERMSIG(status))
        memory = max(0, 1024 * usage.ru_maxrss - self._began)
        seconds = time.monotonic() - self._started
        return Ended(code, number, hung, killed and number == signal.SIGKILL, said, memory, seconds)


def _status(work: Work) -> int:
    """What a work comes to: its exit status, or 1 after an exception, which is printed."""
    status = 1
    try:
        status = work()
    except SystemExit as leaving:
        status = leaving.code if isinstance(leaving.code, int) else 1
    except BaseException:
        os.write(2, traceback.format_exc().encode(errors="backslashreplace"))
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            status = status or 1
    return status or 0


def tried(
    work: Work, folder: Path, kill_after: float | None = None, look: Callable[[], object] = lambda: None
) -> Ended:
    """Do something in a child, to its end."""
    return Child(work, folder).ended(kill_after, look=look)


def tried_in_turn(works: Sequence[Work], folder: Path) -> list[Ended]:
    """Do several things in one child, one after the other, which saves most of the time.

    When one of them ends or hangs the child, that is counted for this one, and another child does those after it.
    """
    ended: list[Ended] = []
    while len(ended) < len(works):
        rest, notes = works[len(ended) :], folder / f"notes-{len(ended)}"
        child = Child(lambda rest=rest, notes=notes: _in_turn(rest, notes), folder)
        end = child.ended(look=lambda notes=notes: _sizes(notes))
        lines = [json.loads(line) for line in notes.read_text("utf-8").splitlines()] if notes.exists() else []
        ended += [Ended(hung=False, killed=False, signal=0, **line) for line in lines]
        if len(lines) < len(rest):
            if not (end.signal or end.hung):
                raise RuntimeError(f"A child left {len(rest) - len(lines)} tries: {end.said[-2000:]}")
            last = Path(f"{notes}-said")
            said = last.read_bytes().decode(errors="replace") if last.exists() else end.said
            ended.append(Ended(end.status, end.signal, end.hung, False, said, end.memory, end.seconds))
        for left in folder.glob(f"{notes.name}*"):
            left.unlink()
    return ended


def _sizes(notes: Path) -> list[int]:
    """How much a child has said so far: it grows as long as the child works."""
    return [path.stat().st_size for path in (notes, Path(f"{notes}-said")) if path.exists()]


def _in_turn(works: Sequence[Work], notes: Path) -> int:
    said = os.open(f"{notes}-said", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    for number in (1, 2):
        os.dup2(said, number)
    with notes.open("a", encoding="utf-8") as file:
        for work in works:
            os.ftruncate(said, 0)
            started, before = time.monotonic(), _reset_peak()
            status = _status(work)
            text = os.pread(said, 1 << 20, 0).decode(errors="replace")
            row = {"status": status, "said": text, "memory": _peak() - before, "seconds": time.monotonic() - started}
            file.write(json.dumps(row) + "\n")
            file.flush()
    return 0


def _reset_peak() -> int:
    """Let the kernel forget the most that this process held; what it holds now, bytes."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    return memory_of("self")


def _peak() -> int:
    text = Path("/proc/self/status").read_text("utf-8")
    return 1024 * int(text.partition("VmHWM:")[2].split()[0])


def memory_of(process: int | str) -> int:
    """What a process holds now, bytes."""
    return int(Path(f"/proc/{process}/statm").read_text("utf-8").split()[1]) * os.sysconf("SC_PAGE_SIZE")


def verdict(ended: Ended) -> Verdict:
    """What a child's end means; a child that was killed on purpose has survived."""
    Most.memory = max(Most.memory, ended.memory)
    last = ended.said[-400:]
    if ended.said.startswith("usage:"):
        raise RuntimeError(f"The campaign gives a command that does not exist: {last}")
    if ended.hung:
        return HUNG, f"after {ended.seconds:.0f} s: {last}"
    if ended.signal and not ended.killed:
        return DIED, f"signal {ended.signal}: {last}"
    if "Traceback (most recent call last)" in ended.said or ended.status not in (0, 2):
        return TRACEBACK, f"exit {ended.status}: {last}"
    if ended.memory > MOST_MEMORY:
        return MEMORY, f"{ended.memory / 1e6:.0f} MB: {last}"
    if ended.status == 2 and not ended.said.strip():
        return TRACEBACK, "exit 2 without a word"
    return (REFUSED if ended.status else SURVIVED), last


def worst(*found: Verdict) -> Verdict:
    """The worst of several verdicts: a fault, else a refusal."""
    order = (SURVIVED, REFUSED)
    return max(found, key=lambda one: order.index(one[0]) if one[0] in order else len(order))
