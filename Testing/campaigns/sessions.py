"""Tries with the engine server: sessions of random messages, with clients of every kind."""

import json
import os
import random
import select
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
from children import Child, Ended, verdict
from outcomes import DIED, HUNG, LOST, SURVIVED, TRACEBACK, Found, Verdict
from sam2adapt.server.server import Server
from world import GRID, STAND_IN, World

MESSAGES = 500  # of a session
_LAST = b'"id": "last"'
_CLIENTS = {"reads at once": 14, "reads late": 3, "never reads": 2, "closes early": 1}


def session(rng: random.Random, world: World, folder: Path) -> Found:
    """A session of random messages; the server ends with it, and a client that reads gets its answers."""
    np.save(folder / "input.npy", np.random.default_rng(0).integers(0, 900, (2, 12, 12), np.int16))
    to_child, to_us = os.pipe(), os.pipe()
    kind = rng.choices(list(_CLIENTS), list(_CLIENTS.values()))[0]

    def serve() -> int:
        os.environ["SAM2ADAPT_HOME"] = str(world.home)
        Server(os.fdopen(0, "rb"), os.fdopen(os.dup(1), "wb")).run()
        return 0

    child = Child(serve, folder, (to_child[0], to_us[1]))
    os.close(to_child[0])
    os.close(to_us[1])
    client = _Client(to_child[1], to_us[0], kind)
    lines = [_message(rng, number, world, folder) for number in range(MESSAGES - 1)]
    asked = _valid(lines)
    lines.append(json.dumps({"jsonrpc": "2.0", "id": "last", "method": "models", "params": {}}).encode())
    open_to_end = client.talk(b"\n".join(lines) + b"\n", _shrinker(rng, folder))
    os.close(to_child[1])
    answers = client.rest() if kind.startswith("reads") else []
    client.close()
    ended = child.ended()
    found = _verdict(ended, answers, kind, open_to_end, asked)
    return Found([found], MESSAGES, Counter({kind: found[0] == SURVIVED}), Counter([kind]))


def _valid(lines: list[bytes]) -> set[int]:
    """The ids of the messages that are requests in the right form."""
    valid = set()
    for line in lines:
        try:
            message = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(message, dict) and isinstance(message.get("id"), int) and not isinstance(message["id"], bool):
            valid.add(message["id"])
    return valid


def _verdict(ended: Ended, answers: list[dict], kind: str, open_to_end: bool, asked: set[int]) -> Verdict:
    found = verdict(Ended(**{**vars(ended), "said": ""}))
    if found[0] in (HUNG, DIED):
        return found
    for answer in answers:
        if (error := answer.get("error")) and error["code"] == -32000:
            return TRACEBACK, str(error)[-300:]
    if not kind.startswith("reads"):
        return found
    if not any(answer.get("id") == "last" for answer in answers) or not open_to_end:
        return LOST, f"the last of the requests was not answered: {ended.said[-200:]}"
    missing = asked - {answer.get("id") for answer in answers}
    return (LOST, f"{len(missing)} requests were not answered, {min(missing)} for instance") if missing else found


def _shrinker(rng: random.Random, folder: Path) -> Callable[[], None]:
    """Sometimes cut the client's own array short while it is worked on."""

    def shrink() -> None:
        os.truncate(folder / "input.npy", 140)

    return shrink if rng.random() < 0.3 else lambda: None


class _Client:
    """One end of a session, which never blocks for good."""

    def __init__(self, target: int, source: int, kind: str):
        self._target, self._source, self._kind = target, source, kind
        self._data, self._is_answered = bytearray(), False
        os.set_blocking(target, False)
        os.set_blocking(source, False)

    def talk(self, data: bytes, meanwhile: Callable[[], None], patience: float = 300.0) -> bool:
        """Send all, reading or not, until the last request is answered; False if the other end closed or hangs."""
        sent, started, reads = 0, time.monotonic(), self._kind.startswith("reads")
        while time.monotonic() - started < patience:
            if sent < len(data):
                try:
                    sent += os.write(self._target, data[sent : sent + 4096])
                except BlockingIOError:
                    select.select([self._source] if reads else [], [self._target], [], 0.05)
                except BrokenPipeError:
                    return False
                if sent > len(data) // 2:
                    meanwhile()
                    if self._kind == "closes early":
                        return True
            elif not reads:
                return True
            if reads and (self._kind != "reads late" or sent == len(data)):
                if self._read(0.05 if sent == len(data) else 0) == b"":
                    return False
                if self._is_answered:
                    return True
        return not reads

    def _read(self, seconds: float) -> bytes | None:
        if not select.select([self._source], [], [], seconds)[0]:
            return None
        try:
            data = os.read(self._source, 1 << 16)
        except BlockingIOError:
            return None
        self._is_answered = self._is_answered or _LAST in self._data[-len(_LAST) :] + data
        self._data += data
        return data

    def rest(self) -> list[dict]:
        """All messages that came, after the other end has closed."""
        started = time.monotonic()
        while time.monotonic() - started < 20 and self._read(0.05) != b"":
            pass
        return [json.loads(line) for line in self._data.splitlines() if line.endswith(b"}")]

    def close(self) -> None:
        """Close the end that reads."""
        os.close(self._source)


def _message(rng: random.Random, number: int, world: World, folder: Path) -> bytes:
    earlier = rng.randrange(max(0, number - 30), number) if number else 0
    methods = _methods(rng, world, folder, earlier)
    method = rng.choices(list(methods), [share for share, _ in methods.values()])[0]
    message = {"jsonrpc": "2.0", "id": number, "method": method, "params": methods[method][1]}
    kind = rng.random()
    if kind < 0.08:
        return rng.choice((b"[" * 50_000, rng.randbytes(40).replace(b"\n", b""), b"{}", b"[]", b"null", b'"', b"1e999"))
    if kind < 0.2:
        place = rng.choice(list(message))
        message[place] = rng.choice((None, [], {}, -1, 10**30, "x" * 5000, "\ud800", True, {"id": None}))
    elif kind < 0.3 and message["params"]:
        place = rng.choice(list(message["params"]))
        message["params"][place] = rng.choice((None, [], {}, -1, 1e308, "", "\x00", "/dev/zero", "/proc/self", True))
    return json.dumps(message).encode()


def _methods(rng: random.Random, world: World, folder: Path, earlier: int) -> dict[str, tuple[float, dict]]:
    """How often of a hundred each method is asked for, and with what."""
    given = {"input": {"array": str(folder / "input.npy"), **GRID}, "model": "keeper", "anyModality": True}
    labels = str(folder / f"labels-{rng.randrange(3)}.npy")
    model = rng.choice(("keeper", "none", str(world.model), "", "keeper@1.0", "../keeper"))
    return {
        "cancel": (25, {"id": earlier}),
        "control": (20, {"id": earlier, "action": rng.choice(("pause", "run", "stop", "fly"))}),
        "none": (15, {}),
        "bases": (8, {}),
        "devices": (5, {}),
        "models": (8, {}),
        "modelDetails": (10, {"name": model}),
        "removeModel": (2, {"name": "none"}),
        "exportModel": (2, {"name": model, "path": str(folder / "copy.safetensors")}),
        "addModel": (2, {"path": str(rng.choice((world.model, folder, folder / "none.safetensors")))}),
        "seriesFiles": (1, {"input": str(world.images), "series": "1.2"}),
        "segment": (3, {**given, "labels": labels}),
        "rank": (0.5, {**given}),
        "estimate": (0.5, {"base": STAND_IN, "method": "head", "cases": []}),
    }
