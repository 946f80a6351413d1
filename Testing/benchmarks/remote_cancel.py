"""How long a request takes to answer that it was cancelled, of a local engine and behind a relay; needs no ssh or data.

    python Testing/benchmarks/remote_cancel.py [--rounds N]

It is cancelled while its volume of 512 x 512 x 80 voxels of noise is sent; while a model computes 40 slices of 256 x
256 pixels, or a colour picture of 960 x 960; while structures are filled; each round at another moment of
the work. The engines take turns.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from serve_client import COMMAND, Client
from ssh_host import relay

SENDING, SLICES, PICTURE, FILLING = "sending", "segmenting slices", "segmenting a picture", "filling"
STAGES = (
    ("relay", SENDING), ("local", SLICES), ("relay", SLICES), ("local", PICTURE), ("relay", PICTURE),
    ("local", FILLING), ("relay", FILLING),
)  # fmt: skip
VOLUMES = itertools.count()  # each is another one, so that nothing is remembered
SHARE = 0.7  # of the work, up to which the moments to cancel are spread


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    taken: dict[tuple[str, str], list[float]] = {stage: [] for stage in STAGES}
    with tempfile.TemporaryDirectory() as folder:
        far = relay("--command", "env", f"SAM2ADAPT_HOME={folder}/far", *COMMAND, "--stream")
        with Client(far) as relayed, Client() as local:
            clients = {"relay": relayed, "local": local}
            for client in clients.values():
                client.receive()
            lasting = {stage: _lasts(clients[stage[0]], Path(folder), stage[1]) for stage in STAGES}
            for number in range(rounds):
                for (name, stage), seconds in taken.items():
                    wait = SHARE * lasting[name, stage] * number / rounds
                    seconds.append(_cancelled(clients[name], Path(folder), stage, wait))
    print("| engine | cancelled while | seconds, median (least to most) |\n| --- | --- | --- |")
    for (name, stage), seconds in taken.items():
        middle = statistics.median(seconds)
        print(f"| {name} | {stage} | {middle:.2f} ({min(seconds):.2f} to {max(seconds):.2f}) |")


def _lasts(client: Client, folder: Path, stage: str) -> float:
    """Seconds of the work of a request that is not cancelled; 0 of sending, which is cancelled as it begins."""
    if stage == SENDING:
        return 0.0
    seconds = []
    for _ in range(2):  # the first prepares the model, too
        running = _begun(client, folder, stage)
        began = time.perf_counter()
        assert "result" in client.answer(running)
        seconds.append(time.perf_counter() - began)
    return seconds[-1]


def _cancelled(client: Client, folder: Path, stage: str, wait: float) -> float:
    running = _begun(client, folder, stage)
    time.sleep(wait)
    began = time.perf_counter()
    client.notify("cancel", id=running)
    answer = client.answer(running)
    if "result" in answer:  # faster than the one before: there was nothing left to cancel
        return _cancelled(client, folder, stage, wait / 2)
    assert answer["error"]["data"]["kind"] == "CancelledError", answer
    return time.perf_counter() - began


def _begun(client: Client, folder: Path, stage: str) -> int:
    """The ID of a request whose work has begun."""
    method, params = _request(folder, stage, next(VOLUMES))
    running = client.send(method, **params)
    while client.progress(running)["stage"] != stage.split(maxsplit=1)[0]:
        pass
    return running


def _request(folder: Path, stage: str, number: int) -> tuple[str, dict]:
    """Method and parameters of a request that takes some seconds."""
    if stage == SENDING:  # another volume than before
        voxels = np.random.default_rng(number).integers(-1000, 1000, (80, 512, 512), dtype=np.int16)
    elif stage == PICTURE:
        voxels = np.random.default_rng(number).integers(0, 255, (1, 960, 960, 3), dtype=np.uint8)
    else:
        voxels = np.full((40, 256, 256), number, np.int16)
        voxels[:, 64:192, 64:192] = 60
        voxels[:, :64] = -1000
    np.save(folder / "v.npy", voxels)
    image = {
        "array": str(folder / "v.npy"), "origin": [0] * 3, "spacing": [1] * 3, "direction": [1, *[0, 0, 0, 1] * 2],
    }  # fmt: skip
    if stage == FILLING:
        drawn = np.zeros((3, *voxels.shape), np.uint8)
        for structure in range(3):
            drawn[structure, ::8, 60 + 40 * structure : 90 + 40 * structure, 80:160] = 1
        np.save(folder / "drawn.npy", drawn)
        files = {"drawings": str(folder / "drawn.npy"), "masks": str(folder / "m.npy")}
        return "fill", {"input": image, "structures": ["a", "b", "c"], **files}
    model = "retinal-vessels" if stage == PICTURE else "torso-ct"
    return "segment", {
        "model": model, "input": image, "labels": str(folder / "l.npy"), "anyModality": True, "device": "cpu",
        "tta": True,
    }  # fmt: skip


if __name__ == "__main__":
    main()
