"""Tries with a clock that jumps by years while the engine works; the result must be that of a clock that does not.

libfaketime shifts the clock of the whole process, libraries in C included, never that of the machine. It must be loaded
when Python starts, so a second campaign process does these tries; without it, only Python's ``time`` jumps. It leaves
the monotonic clock alone: no version knows ``sem_clockwait``, by which Python waits, and with a shifted monotonic clock
every wait with a limit hangs. So jumps of the monotonic clock, as after a standby, are put into Python's ``time``.
"""

import atexit
import functools
import glob
import importlib.util
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from children import tried, verdict, worst
from contents import content
from outcomes import HUNG, LOST, SURVIVED, Found, Verdict
from world import World

_JUMPS = ("+0", "-3600", "+3600", "+1000d", "-3000d", "+5y", "-40y")
_PLACES = ("/usr/lib/*/faketime/libfaketimeMT.so.1", "/usr/lib*/faketime/libfaketimeMT.so.1")
_FILE = "FAKETIME_TIMESTAMP_FILE"
_NAMES = ("FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC", "FAKETIME_CACHE_DURATION", "NO_FAKE_STAT")
#: Whether time jumps back within some seconds, and sleeping works all the same.
_PROBE = """
import os, sys, time
begun = time.time()
for jump in ("+5y", "-3000d"):
    with open(os.environ["FAKETIME_TIMESTAMP_FILE"], "w") as file:
        file.write(jump)
    for _ in range(40):
        time.sleep(0.1)
        time.time()
sys.exit(not time.time() < begun - 1e8)
"""
_MINUTES = 1_000_000  # for a training: more than the standbys take, less than the jumps of the clock
_server: list[subprocess.Popen] = []


def jumping_clock(rng: random.Random, world: World, folder: Path) -> Found:
    """A training, batch, filling or segmenting while the clock jumps."""
    number = rng.randrange(1 << 30)
    if not _usable():
        name, found = _try(number, world, folder, _python_jumps)
        name = f"{name}, in Python only"
        return Found([found], of=Counter([name]), reached=Counter([name] if found[0] == SURVIVED else []))
    if not _server:
        command = [sys.executable, __file__, str(folder.parent)]
        streams = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        _server.append(subprocess.Popen(command, env=_environment(folder.parent), **streams))
        atexit.register(_server[0].stdin.close)
    _server[0].stdin.write(json.dumps([number, str(folder)]).encode() + b"\n")
    _server[0].stdin.flush()
    name, *found = json.loads(_server[0].stdout.readline())
    return Found([tuple(found)], of=Counter([name]), reached=Counter([name] if found[0] == SURVIVED else []))


@functools.cache
def _is_usable(library: str) -> bool:
    """Whether a libfaketime shifts the clock here, and sleeping goes on all the same."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "probe")
        file.write_text("+0", encoding="utf-8")
        environment = _environment(Path(folder)) | {_FILE: str(file), "LD_PRELOAD": library}
        done = subprocess.run([sys.executable, "-c", _PROBE], env=environment, check=False, capture_output=True)
    return not done.returncode


def _usable() -> bool:
    return bool(_library()) and _is_usable(_library())


def _library() -> str:
    spec = importlib.util.find_spec("libfaketime")
    own = glob.glob(f"{Path(spec.origin).parent}/vendor/**/libfaketime*.so.1", recursive=True) if spec else []
    return next(iter([*own, *(path for place in _PLACES for path in glob.glob(place))]), "")


def _environment(folder: Path) -> dict[str, str]:
    return os.environ | dict.fromkeys(_NAMES, "1") | {"LD_PRELOAD": _library(), _FILE: str(folder / "no-jumps")}


Jumps = Callable[[random.Random, Path], Callable[[], None]]


def _try(number: int, world: World, folder: Path, jumping: Jumps) -> tuple[str, Verdict]:
    results, found = [], []
    for jumps in (False, True):
        output, rng = folder / f"out-{jumps}", random.Random(number)
        output.mkdir()
        name = rng.choice(("train", "batch", "fill", "segment"))
        command, path = world.actions(rng, output)[name]
        limit = ("--max-minutes", _MINUTES) if name == "train" else ()
        work = world.command(*command, *limit, before=jumping(rng, folder) if jumps else None)
        found.append(verdict(tried(work, folder, look=_jump(rng, folder / "now"))))
        results.append(content(path))
    worse = worst(*found)
    if results[0] != results[1] and worse[0] != HUNG:
        return name, (LOST, f"{name} came to another result: {worse[1]}")
    return name, worse


def _jump(rng: random.Random, file: Path) -> Callable[[], None]:
    """Lets the clock of a child jump again and again: called in the parent, at each look at the child."""
    part = file.with_suffix(".part")
    part.write_text("+0\n")
    part.replace(file)

    def jump() -> None:
        if rng.random() < 0.02:
            part.write_text(rng.choice(_JUMPS) + "\n")
            part.replace(file)

    return jump


def _all_jumps(rng: random.Random, folder: Path) -> Callable[[], None]:
    """Makes the clock that ``_jump`` shifts that of a child, and lets the monotonic ones go on by hours at times."""

    def before() -> None:
        os.environ[_FILE] = str(folder / "now")
        passed, steps = [0.0], random.Random(rng.random())
        for name in ("monotonic", "perf_counter"):
            setattr(time, name, functools.partial(_later, getattr(time, name), passed, steps))

    return before


def _python_jumps(rng: random.Random, folder: Path) -> Callable[[], None]:
    """Makes Python's clock of a child jump, where there is no libfaketime."""

    def before() -> None:
        real, steps = time.time, random.Random(rng.random())
        time.time = lambda: real() + steps.choice((-1e9, -3600, 0, 3600, 1e9))
        time.time_ns = lambda: int(1e9 * time.time())

    return before


def _later(real: Callable[[], float], passed: list[float], steps: random.Random) -> float:
    passed[0] += 3 * 3600 if steps.random() < 0.002 else 0
    return real() + passed[0]


def main() -> int:
    """Do the tries that come on standard input, under libfaketime: a number and a folder a line."""
    world = World.make(Path(sys.argv[1]) / "world-with-a-clock")
    for line in sys.stdin:
        number, folder = json.loads(line)
        name, found = _try(number, world, Path(folder), _all_jumps)
        print(json.dumps([name, *found]), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
