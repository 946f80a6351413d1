"""Tries with processes: killed, without room or rights, and two at once."""

import os
import random
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from children import Child, tried, verdict, worst
from contents import content
from outcomes import LOST, REFUSED, SURVIVED, Verdict
from world import World

NOBODY = 65534
_results: dict[tuple, tuple[object, float]] = {}


def _expected(name: str, seed: int, world: World, folder: Path) -> tuple[object, float]:
    """What an action comes to when nothing happens, and the seconds that it takes."""
    key = name, seed, str(world.folder)
    if key not in _results:
        output = folder / "expected"
        output.mkdir()
        command, path = world.actions(random.Random(seed), output)[name]
        ended = tried(world.command(*command), folder)
        _results[key] = content(path), ended.seconds
    return _results[key]


def killed(name: str) -> Callable[[random.Random, World, Path], Verdict]:
    """Tries of kill -9 at a random moment of an action.

    The same command again comes to the same as without the kill, and nothing of patients is left.
    """

    def do(rng: random.Random, world: World, folder: Path) -> Verdict:
        seed = rng.randrange(3)
        expected, seconds = _expected(name, seed, world, folder)
        home, output = world.copy(folder / "world"), folder / "out"
        output.mkdir()
        command, path = home.actions(random.Random(seed), output)[name]
        first = tried(home.command(*command), folder, kill_after=rng.random() * seconds)
        if (output / "new.run" / "checkpoint.pt").exists() and not path.exists():
            command = (*command, "--resume")
        second = tried(home.command(*command), folder)
        found = worst(verdict(first), verdict(second))
        if found[0] in (SURVIVED, REFUSED) and content(path) != expected:
            return LOST, f"{name} came to another result after a kill: {second.said[-200:]}"
        left = [*output.rglob("*.npy"), *(home.home / "claims").glob("*")]
        if left and found[0] == SURVIVED:
            return LOST, f"{name} left {left[0].name} behind"
        return found

    return do


def no_room(rng: random.Random, world: World, folder: Path) -> tuple[str, str]:
    """A disk that is full or read-only: said in a sentence, and what was there before stays whole."""
    name, seed = rng.choice(("train", "batch", "fill", "segment", "add")), rng.randrange(3)
    disk = folder / "disk"
    disk.mkdir()
    mounted = ["mount", "-t", "tmpfs", "-o", f"size={rng.randrange(8, 400)}k", "none", str(disk)]
    subprocess.run(mounted, check=True, capture_output=True)
    try:
        home = World(**{**vars(world), "home": disk / "home"}) if name == "add" else world
        if name == "add":
            command, path = ("models", "add", world.model), disk / "home" / "models" / "keeper-1.0.safetensors"
        else:
            command, path = world.actions(random.Random(seed), disk)[name]
        kept = disk / "kept"
        kept.write_bytes(b"whole")
        if rng.random() < 0.3:
            subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True, capture_output=True)
        ended = tried(home.command(*command), folder)
        found = verdict(ended)
        whole = path.is_dir() or not path.exists()
        if ended.status == 0:
            same = content(world.model) if name == "add" else _expected(name, seed, world, folder)[0]
            whole = content(path) == same
        parts = [part.name for part in disk.rglob("*") if part.name.endswith(".part")]
        if kept.read_bytes() != b"whole" or not whole or parts:
            return LOST, f"{name} left half an output: {path.name if not whole else parts}"
        return found
    finally:
        subprocess.run(["umount", str(disk)], check=False, capture_output=True)


def no_disks(folder: Path) -> str:
    """Why disks of a chosen size cannot be made here; "" if they can."""
    return "" if _can_mount(folder) else "disks of a chosen size cannot be made here; be root"


def no_other_user(folder: Path) -> str:
    """Why rights cannot be dropped here; "" if they can."""
    return "" if os.geteuid() == 0 else "rights cannot be dropped here; be root"


def _can_mount(folder: Path) -> bool:
    made = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if shutil.which("mount") is None or subprocess.run(made, check=False, capture_output=True).returncode:
        return False
    return subprocess.run(["umount", str(folder)], check=False, capture_output=True).returncode == 0


def no_rights(rng: random.Random, world: World, folder: Path) -> tuple[str, str]:
    """Folders and files that another user has closed, or that are pipes."""
    home, output = world.copy(folder / "world"), folder / "out"
    output.mkdir()
    name = rng.choice(("train", "batch", "fill", "segment"))
    command, _ = home.actions(rng, output)[name]
    places = (output, home.home, home.model.parent, home.model, home.images, home.images / "0.nrrd", home.labels,
              home.drawn, home.home / "bases")  # fmt: skip
    for place in rng.sample(places, rng.choice((1, 1, 2))):
        if place.is_file() and rng.random() < 0.3:
            place.unlink()
            os.mkfifo(place)
        place.chmod(rng.choice((0, 0o444, 0o111, 0o555)))
    for above in (folder, *folder.parents):
        if str(above).startswith("/tmp/") and above.stat().st_mode & 0o055 != 0o055:
            above.chmod(0o755)

    def drop_rights() -> None:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    found = verdict(tried(home.command(*command, before=drop_rights), folder))
    for place in [home.folder, *home.folder.rglob("*")]:
        place.chmod(0o755)
    return found


def _look_at_both(children: list[Child], together: set[str]) -> None:
    """Notes when two trainings are at work at the same time."""
    if all("Reading" in child.said() and child.is_running() for child in children):
        together.add("together")


def two_at_once(rng: random.Random, world: World, folder: Path) -> tuple[str, str]:
    """Two processes with one target: each does its work or says why not, and what is there in the end is whole."""
    home, output = world.copy(folder / "world"), folder / "out"
    output.mkdir()
    name, seed = rng.choice(("add", "train", "batch", "segment", "remove")), rng.randrange(3)
    if name in ("add", "remove"):
        gift = home.model.rename(folder / "gift.safetensors") if name == "add" else None
        commands = [("models", "add", gift)] * 2 if gift else [("models", "remove", "keeper")] * 2
        path = home.model.parent
    else:
        command, path = home.actions(random.Random(seed), output)[name]
        commands = [command] * 2
    children = [Child(home.command(*command), folder) for command in commands]
    if rng.random() < 0.5:
        time.sleep(rng.random() * 0.3)
    together: set[str] = set()
    ended = [child.ended(look=lambda: _look_at_both(children, together)) for child in children]
    found = worst(*map(verdict, ended))
    if found[0] not in (SURVIVED, REFUSED):
        return found
    if name == "train" and together:
        return LOST, "two trainings worked in one folder at the same time"
    if name == "add" and len(list(path.glob("*.safetensors"))) != 1:
        return LOST, f"one model became {len(list(path.glob('*.safetensors')))} files"
    if name in ("train", "batch", "segment") and content(path) != _expected(name, seed, world, folder)[0]:
        return LOST, f"two of {name} came to another result than one: {ended[0].said[-150:]}{ended[1].said[-150:]}"
    return found
