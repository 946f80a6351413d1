"""How long a request takes to answer that it was cancelled, of a local engine and behind a relay; needs no ssh or data.

    python Testing/benchmarks/remote_cancel.py [--rounds N]

It is cancelled while its volume of 512 x 512 x 80 voxels of noise is sent, and while its model computes. The engines
take turns.
"""

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from serve_client import COMMAND, Client
from ssh_host import relay


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    stages = (("relay", "sending"), ("local", "segmenting"), ("relay", "segmenting"))
    taken: dict[tuple[str, str], list[float]] = {stage: [] for stage in stages}
    with tempfile.TemporaryDirectory() as folder:
        far = relay("--command", "env", f"SAM2ADAPT_HOME={folder}/far", *COMMAND, "--stream")
        with Client(far) as relayed, Client() as local:
            clients = {"relay": relayed, "local": local}
            for client in clients.values():
                client.receive()
            for number in range(rounds):
                for (name, stage), seconds in taken.items():
                    seconds.append(_cancelled(clients[name], Path(folder), stage, number))
    print("| engine | cancelled while | seconds, median (least to most) |\n| --- | --- | --- |")
    for (name, stage), seconds in taken.items():
        middle = statistics.median(seconds)
        print(f"| {name} | {stage} | {middle:.2f} ({min(seconds):.2f} to {max(seconds):.2f}) |")


def _cancelled(client: Client, folder: Path, stage: str, number: int) -> float:
    if stage == "sending":  # another volume than before
        voxels = np.random.default_rng(number).integers(-1000, 1000, (80, 512, 512), dtype=np.int16)
    else:
        voxels = np.full((40, 256, 256), number, np.int16)
        voxels[:, 64:192, 64:192] = 60
        voxels[:, :64] = -1000
    np.save(folder / f"{stage}.npy", voxels)
    image = {
        "array": str(folder / f"{stage}.npy"), "origin": [0] * 3, "spacing": [1] * 3,
        "direction": [1, *[0, 0, 0, 1] * 2],
    }  # fmt: skip
    running = client.send("segment", model="torso-ct", input=image, labels=str(folder / "l.npy"), anyModality=True,
                          device="cpu", tta=True)  # fmt: skip
    while client.progress(running)["stage"] != stage:
        pass
    began = time.perf_counter()
    client.notify("cancel", id=running)
    error = client.answer(running)["error"]
    assert error["data"]["kind"] == "CancelledError", error
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
