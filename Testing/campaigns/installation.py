"""Tries of kill -9 while the panel's installer installs packages from a folder, with the real pip.

What is half installed must be seen as unfinished, and installing again must repair it. The packages are small and have
the names of the real ones.
"""

import importlib.util
import json
import os
import random
import shutil
import signal
import sys
import time
import zipfile
from collections import Counter
from pathlib import Path

from children import PATIENCE, Child, verdict
from outcomes import LOST, SURVIVED, Found, Verdict
from world import World

TESTING = Path(__file__).resolve().parents[1]
_PATHS = [TESTING / "gui", TESTING / "host", TESTING.parent / "SAM2Adapt", TESTING / "campaigns"]
sys.path[:0] = [str(path) for path in _PATHS if str(path) not in sys.path]

from SAM2AdaptLib.Install import Unfinished  # noqa: E402, F401  # planted.py takes its note away

#: What is not there yet, one of these: some are asked for, some come along with others.
_ABSENT = (
    ("monai", "scikit-image", "networkx", "hydra-core", "omegaconf"),
    ("torch", "torchvision"),
    ("filelock", "iopath", "tqdm", "jsonschema"),
)
_FILES = 120  # of a package, so that a kill may come between
_KILLED = ("all", "all", "pip", "Slicer")
_SMOKE_TEST = "from SAM2AdaptLib.Install import SmokeTest as s; s.PACKAGES = s.PACKAGES[:-1]; s.main()"


def killed(rng: random.Random, world: World, folder: Path) -> Found:
    """An installation that is killed, with its pip or only one of both, and another one that repairs it."""
    wheels, template = _prepared(world.folder.parent / "installation")
    absent = rng.choice(_ABSENT)
    shutil.copytree(template, folder / "environment", symlinks=True)
    python, [site] = folder / "environment/bin/python", (folder / "environment").glob("lib/python3*/site-packages")
    _complete(site, absent)
    hurt = _killed(rng, _start(wheels, python, folder / "first"), [site / _code(name) for name in absent])
    half = _differences(wheels, site, absent)
    ended = _start(wheels, python, folder / "second").ended(patience=5 * PATIENCE)
    found = verdict(ended)
    if found[0] == SURVIVED:
        found = _verdict(json.loads(ended.said.splitlines()[-1]), half, _differences(wheels, site, absent))
    state = "was written" if not half else "was half written" if len(half) < len(absent) * _FILES else "was not begun"
    return Found(
        [found], 1, Counter({f"{state}, {hurt} killed": found[0] == SURVIVED}), Counter([f"{state}, {hurt} killed"])
    )


def reason_to_leave_out(folder: Path) -> str:
    """Why this cannot be tried here; "" if it can."""
    absent = [name for name in ("PySide6", "Qt", "slicer") if importlib.util.find_spec(name) is None]
    return f"the installer runs in Slicer's libraries, and {', '.join(absent)} is missing" if absent else ""


def _verdict(seen: dict, half: list[str], left: list[str]) -> Verdict:
    if half and not seen["before"]:
        return LOST, f"nobody saw that {len(half)} files were missing, {half[0]} for instance"
    if left or seen["after"] or seen["state"] != "done":
        return LOST, f"not repaired: {left[:3]}, {seen}"
    return SURVIVED, ""


def _prepared(place: Path) -> tuple[Path, Path]:
    """A folder of packages, and an environment like that of a Slicer; made once for a campaign."""
    import fake_packages

    if not place.exists():
        fake_packages.makeSlicersEnvironment(place / "environment")
        fake_packages.fillFolder(place / "wheels")
        for wheel in (place / "wheels").glob("*.whl"):
            with zipfile.ZipFile(wheel) as file:
                old = {name: file.read(name) for name in file.namelist()}
            code = next(iter(old)).partition("/")[0]
            more = {f"{code}/part_{number}.py": b"# part\n" * 300 for number in range(_FILES - len(old))}
            with zipfile.ZipFile(wheel, "w") as file:  # the metadata not last, as in many wheels
                for name, data in sorted({**old, **more}.items(), reverse=len(code) % 3 > 0):
                    file.writestr(name, data)
        fake_packages.writeSums(place / "wheels")
    return place / "wheels", place / "environment"


def _complete(site: Path, absent: tuple[str, ...]) -> None:
    import fake_packages

    versions = {name: version for name, (version, _) in fake_packages.PACKAGES.items()} | {"sam2": "1.1.0"}
    for name, version in versions.items():
        if name not in (*fake_packages.SLICERS, *absent):
            fake_packages.putPackage(site, name, version)


def _differences(wheels: Path, site: Path, names: tuple[str, ...]) -> list[str]:
    """Files of the packages that are missing, or have other bytes than in their wheels."""
    found = []
    for name in names:
        [wheel] = wheels.glob(f"{name.replace('-', '_')}-*.whl")
        with zipfile.ZipFile(wheel) as file:
            for part in file.namelist():
                if not part.endswith("/RECORD"):
                    path = site / part
                    found += [part] if not path.is_file() or path.read_bytes() != file.read(part) else []
    return found


def _start(wheels: Path, python: Path, folder: Path) -> Child:
    """A child that installs once, in the small Slicer of the tests, and prints what it sees before and after."""
    import host  # here, so that it is not loaded in each child
    import slicer
    from PySide6 import QtUiTools, QtWidgets  # noqa: F401

    def work() -> int:
        for name in [name for name in os.environ if name.startswith("PIP_")]:
            del os.environ[name]
        os.environ |= {"PIP_CONFIG_FILE": os.devnull, "QT_QPA_PLATFORM": "offscreen"}
        process_events = host.boot().processEvents
        from SAM2AdaptLib.Install import Check, Installer

        Check.SMOKE_TEST = ["-c", _SMOKE_TEST]
        before = Check.findProblem(python)
        job = Installer.install(wheelFolder=wheels, python=python, onLog=print,
                                onProgress=lambda progress: print(progress["text"], flush=True))  # fmt: skip
        process_events(4 * PATIENCE, until=lambda: job.isOver)
        seen = {"before": str(before or ""), "after": str(Check.findProblem(python) or ""), "state": job.state}
        print(json.dumps(seen | {"error": str(job.error or "")}), flush=True)
        return 0

    folder.mkdir()
    assert slicer
    return Child(work, folder)


def _code(name: str) -> str:
    import fake_packages

    return fake_packages.IMPORTS.get(name, name)


def _killed(rng: random.Random, child: Child, code: list[Path]) -> str:
    """Kill an installation: in most tries after so many files were written into the folders of code; says what was
    killed."""
    started, is_early, early = time.monotonic(), rng.random() < 0.2, rng.random() * 3
    files, who = rng.randrange(1, len(code) * _FILES), rng.choice(_KILLED)
    while child.said().rfind('{"before"') < 0 and time.monotonic() - started < 5 * PATIENCE:
        if is_early and time.monotonic() - started > early:
            break
        if sum(len(os.listdir(path)) for path in code if path.is_dir()) >= files:
            break
        time.sleep(0.002)
    pips = [number for number in _family(child.pid) if number != child.pid]
    for number in {"all": [child.pid, *pips], "pip": pips, "Slicer": [child.pid]}[who]:
        try:
            os.kill(number, signal.SIGKILL)
        except ProcessLookupError:
            continue
    child.ended(patience=5 * PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while any(Path(f"/proc/{number}").exists() for number in pips) and time.monotonic() < deadline:
        time.sleep(0.02)  # pip comes to its end without Slicer
    return who


def _family(process: int) -> set[int]:
    from SAM2AdaptLib.Engine import ProcessTree

    return ProcessTree.descendants(process)
