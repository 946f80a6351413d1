"""Closes the pipe to an engine behind a relay at random bytes, and looks what is left on both sides.

    python Testing/support/cut_stream.py [--count N] [--seed N]

Gateway, session, stream and relay are the real ones; the request itself computes nothing, so that a cut takes a second.
"""

import argparse
import hashlib
import os
import random
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
from serve_client import Client
from ssh_host import engines, relay, until

# An engine whose request writes the input's voxels as labels.
ENGINE = """
import os
os.environ["SAM2ADAPT_HOME"] = os.environ["FAR_HOME"]
import numpy as np
from sam2adapt.server import methods
from sam2adapt.server.remote import gateway
def segment(engine, request, task):
    np.save(request.labels, np.load(request.input["array"]))
    return {"structures": []}
methods.METHODS["segment"] = segment
gateway.take_slot = lambda: None
gateway.serve_stream()"""
# Passes bytes on in both ways, and closes one of them after so many; at the end it writes how many there were.
PIPE = """
import os, subprocess, sys, threading
way, cut, counts = sys.argv[1], int(sys.argv[2]), sys.argv[3]
engine = subprocess.Popen([sys.executable, "-c", sys.argv[4], "sam2adapt"], stdin=-1, stdout=-1, bufsize=0)
passed = {"there": 0, "back": 0}
def carry(name, source, target):
    while data := os.read(source, 65536):
        if name == way:
            data = data[:cut - passed[name]]
        while data:
            done = os.write(target, data)
            passed[name], data = passed[name] + done, data[done:]
        if name == way and passed[name] >= cut:
            break
    os.close(target)
    if name == "back":
        os.close(source)
def safely(*arguments):
    try:
        carry(*arguments)
    except OSError:
        pass
there = threading.Thread(target=safely, args=("there", 0, engine.stdin.fileno()), daemon=True)
back = threading.Thread(target=safely, args=("back", engine.stdout.fileno(), 1), daemon=True)
there.start(); back.start(); back.join(); engine.wait()
open(counts, "w").write(f"{passed['there']} {passed['back']}")"""
NEVER = 1 << 60


def cut_once(folder: Path, way: str, cut: int) -> tuple[str, list[int]]:
    """Send one request through a pipe that closes; fails if anything is left.

    :param way: "there" or "back"; ``cut``: bytes after which it closes.
    :return: "answer", or the sentence of the relay; and the bytes that passed there and back, [] if not known.
    """
    for name in ("here", "far", "tmp"):
        (folder / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    voxels = rng.integers(-1000, 1000, (4, 128, 128), dtype=np.int16)
    np.save(folder / "v.npy", voxels)
    (folder / "m.safetensors").write_bytes(rng.bytes(100_000))
    image = {"array": str(folder / "v.npy"), "origin": [0] * 3, "spacing": [1] * 3, "direction": [1, *[0, 0, 0, 1] * 2]}
    labels, counts = folder / "l.npy", folder / "counts"
    command = relay("--command", sys.executable, "-c", PIPE, way, str(cut), str(counts), ENGINE)
    variables = {"SAM2ADAPT_HOME": str(folder / "here"), "FAR_HOME": str(folder / "far"), "TMPDIR": str(folder / "tmp")}
    outcomes = []
    with Client(command, **variables) as client:
        first = client.receive()
        if first["method"] == "failed":
            outcomes.append(first)
        else:
            running = client.send("segment", model=str(folder / "m.safetensors"), input=image, labels=str(labels))
            while not outcomes:
                message = client.receive()
                if message.get("method") == "failed" or message.get("id") == running:
                    outcomes.append(message)
            if "result" in outcomes[0]:
                client.process.stdin.close()
        assert client.ended() == 0
    failed = [message for message in client.seen if message.get("method") == "failed"]
    assert len(failed) + ("result" in outcomes[0]) == 1, client.seen
    assert all(message["params"]["data"]["kind"] == "RemoteError" for message in failed), failed
    until(lambda: not engines(folder / "here"), "a process is left", 60)
    until(lambda: not list((folder / "tmp").iterdir()), "a temporary folder is left", 60)
    for path in (folder / "far" / "remote").rglob("*"):
        if path.is_file() and not path.name.endswith(".part"):
            assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name.partition(".")[0], "half a file"
    if labels.exists():
        assert np.array_equal(np.load(labels), voxels), "half an answer"
    assert labels.exists() or failed
    assert not list(folder.glob(".*.part")), "a part is left"
    passed = list(map(int, counts.read_text("utf-8").split())) if counts.exists() and counts.read_text("utf-8") else []
    return (failed[0]["params"]["message"] if failed else "answer"), passed


def cut_often(count: int, seed: int) -> Counter:
    """Cut at random bytes, alternately on the way there and back; gives how often there was which outcome."""
    found, random_ = Counter(), random.Random(seed)
    with tempfile.TemporaryDirectory() as work:
        outcome, passed = cut_once(Path(work) / "whole", "there", NEVER)
        assert outcome == "answer" and passed, outcome
        for number in range(count):
            way = number % 2
            cut = random_.randrange(passed[way] + 1)
            try:
                outcome, _ = cut_once(Path(work) / str(number), ("there", "back")[way], cut)
            except AssertionError as error:
                raise AssertionError(f"{('there', 'back')[way]}, cut at byte {cut}: {error}") from error
            found[("there", "back")[way], outcome.replace(work, "")] += 1
    return found


def main() -> None:
    """Cut and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=30)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(sys.path)
    found = cut_often(given.count, given.seed)
    for (way, outcome), number in sorted(found.items()):
        print(f"{number:4}  cut on the way {way}: {outcome}")
    print(f"{sum(found.values())} cuts: no hang, no process, temporary folder or half file left.")


if __name__ == "__main__":
    main()
