"""Tries with processes: killed, without room or rights, two at once, and the server among clients of every kind."""

import json
import os
import random
import select
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from children import Child, Ended, tried, verdict, worst
from contents import content
from outcomes import DIED, HUNG, LOST, REFUSED, SURVIVED, TRACEBACK
from sam2adapt.server.server import Server
from world import GRID, World

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


def killed(rng: random.Random, world: World, folder: Path) -> tuple[str, str]:
    """kill -9 at a random moment; the same command again comes to the same, and nothing of patients is left."""
    name, seed = rng.choice(("train", "batch", "fill", "segment")), rng.randrange(3)
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
        whole = ended.status == 0 or path.is_dir() or not path.exists()
        parts = [part.name for part in disk.rglob("*") if part.name.endswith(".part")]
        if kept.read_bytes() != b"whole" or not whole or parts:
            return LOST, f"{name} left half an output: {path.name if not whole else parts}"
        return found
    finally:
        subprocess.run(["umount", str(disk)], check=False, capture_output=True)


def can_mount(folder: Path) -> bool:
    """Whether disks of a chosen size can be made here, for which one must be root."""
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
    ended = [child.ended() for child in children]
    found = worst(*map(verdict, ended))
    if found[0] not in (SURVIVED, REFUSED):
        return found
    if name == "add" and len(list(path.glob("*.safetensors"))) != 1:
        return LOST, f"one model became {len(list(path.glob('*.safetensors')))} files"
    if name in ("train", "batch", "segment") and content(path) != _expected(name, seed, world, folder)[0]:
        return LOST, f"two of {name} came to another result than one: {ended[0].said[-150:]}{ended[1].said[-150:]}"
    return found


MESSAGES = 60  # of a session


def server(rng: random.Random, world: World, folder: Path) -> tuple[str, str]:
    """A session of random messages with a client that reads at once, late or never; the last request is answered."""
    np.save(folder / "input.npy", np.random.default_rng(0).integers(0, 900, (4, 16, 16), np.int16))
    to_child, to_us = os.pipe(), os.pipe()
    reads = rng.choice(("at once", "at once", "late", "never"))

    def serve() -> int:
        os.environ["SAM2ADAPT_HOME"] = str(world.home)
        Server(os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")).run()
        return 0

    child = Child(serve, folder, (to_child[0], to_us[1]))
    os.close(to_child[0])
    os.close(to_us[1])
    client = _Client(to_child[1], to_us[0], reads)
    lines = [_message(rng, number, folder) for number in range(rng.randrange(2, MESSAGES))]
    lines.append(json.dumps({"jsonrpc": "2.0", "id": "last", "method": "models", "params": {}}).encode())
    open_to_end = client.talk(b"\n".join(lines) + b"\n", _shrinker(rng, folder))
    os.close(to_child[1])
    answers = client.rest() if reads != "never" else []
    ended = child.ended()
    os.close(to_us[0])
    return _session_verdict(ended, answers, reads, open_to_end)


def _session_verdict(ended: Ended, answers: list[dict], reads: str, open_to_end: bool) -> tuple[str, str]:
    found = verdict(Ended(**{**vars(ended), "said": ""}))
    if found[0] in (HUNG, DIED):
        return found
    for answer in answers:
        if (error := answer.get("error")) and error["code"] == -32000:
            return TRACEBACK, str(error)[-300:]
    if reads == "never":
        return found
    if not any(answer.get("id") == "last" for answer in answers) or not open_to_end:
        return LOST, f"the last of the requests was not answered: {ended.said[-200:]}"
    return found


def _shrinker(rng: random.Random, folder: Path) -> Callable[[], None]:
    """Sometimes cut the client's own array short while it is worked on."""

    def shrink() -> None:
        os.truncate(folder / "input.npy", 140)

    return shrink if rng.random() < 0.3 else lambda: None


class _Client:
    """One end of a session, which never blocks for good."""

    def __init__(self, target: int, source: int, reads: str):
        self._target, self._source, self._reads = target, source, reads
        self._data = bytearray()
        os.set_blocking(target, False)
        os.set_blocking(source, False)

    def talk(self, data: bytes, meanwhile: Callable[[], None], patience: float = 300.0) -> bool:
        """Send all, reading or not, until the last request is answered; False if the other end closed or hangs."""
        sent, started = 0, time.monotonic()
        while time.monotonic() - started < patience:
            if sent < len(data):
                try:
                    sent += os.write(self._target, data[sent : sent + 4096])
                except BlockingIOError:
                    time.sleep(0.002)
                except BrokenPipeError:
                    return False
                if sent > len(data) // 2:
                    meanwhile()
            elif self._reads == "never":
                return True
            if self._reads == "at once" or (self._reads == "late" and sent == len(data)):
                if self._read() == b"":
                    return False
                if b'"id": "last"' in self._data:
                    return True
        return self._reads == "never"

    def _read(self) -> bytes | None:
        if not select.select([self._source], [], [], 0.01)[0]:
            return None
        try:
            data = os.read(self._source, 1 << 16)
        except BlockingIOError:
            return None
        self._data += data
        return data

    def rest(self) -> list[dict]:
        """All messages that came, after the other end has closed."""
        started = time.monotonic()
        while time.monotonic() - started < 20 and self._read() != b"":
            pass
        return [json.loads(line) for line in self._data.splitlines() if line.endswith(b"}")]


def _message(rng: random.Random, number: int, folder: Path) -> bytes:
    array = {"array": str(folder / "input.npy"), **GRID}
    whole = {
        "models": {}, "bases": {}, "devices": {}, "modelDetails": {"name": rng.choice(("keeper", "none", "nano"))},
        "segment": {"input": array, "model": "keeper", "labels": str(folder / "labels.npy"), "anyModality": True},
        "cancel": {"id": rng.randrange(max(1, number))}, "none": {}, "removeModel": {"name": "none"},
        "control": {"id": rng.randrange(max(1, number)), "action": rng.choice(("pause", "run", "stop", "fly"))},
    }  # fmt: skip
    method = rng.choice([*whole, "segment", "modelDetails"])
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": whole[method]}
    kind = rng.random()
    if kind < 0.08:
        return rng.choice((b"[" * 3000, rng.randbytes(40).replace(b"\n", b""), b"{}", b"[]", b"null", b'"', b"1e999"))
    if kind < 0.2:
        place = rng.choice(list(message))
        message[place] = rng.choice((None, [], {}, -1, 10**30, "x" * 5000, "\ud800", True, {"id": None}))
    elif kind < 0.3 and message["params"]:
        place = rng.choice(list(message["params"]))
        message["params"][place] = rng.choice((None, [], {}, -1, 1e308, "", "\x00", "/dev/zero", "/", True))
    return json.dumps(message).encode()
