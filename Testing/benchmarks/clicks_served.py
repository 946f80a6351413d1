"""Seconds from a click to its answer through the engine server, on 256 x 256 pixels, once the slice is prepared.

python Testing/benchmarks/clicks_served.py --model MODEL [--clicks 30]
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from sam2adapt.imaging.volume import Volume
from serve_client import Client, described

SIZE, SLICES = 256, 12


def main() -> None:
    """Prepare a slice, click into it, and print the times."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="name or file")
    parser.add_argument("--structure", default="left ventricle")
    parser.add_argument("--clicks", type=int, default=30)
    args = parser.parse_args()
    random = np.random.default_rng(0)
    rows, columns = np.indices((SIZE, SIZE))
    disc = np.hypot(rows - 128, columns - 128) < 30
    voxels = (100 * disc + random.normal(100, 15, (SLICES, SIZE, SIZE))).astype(np.float32)
    volume = Volume(voxels[None], np.zeros(3), np.array([1.4, 1.4, 8.0]), np.eye(3), "made up", "MR")
    with tempfile.TemporaryDirectory() as folder, Client() as server:
        server.receive()
        path = Path(folder)
        params = {
            "input": described(volume, path), "model": args.model, "structure": args.structure, "anyModality": True,
            "roi": [0, SIZE, 0, SIZE, 6, 7], "device": "cpu",
        }  # fmt: skip
        first = _seconds(server, params)
        files = {name: str(path / f"{name}.npy") for name in ("labels", "masks")}
        np.save(files["labels"], disc[None].astype(np.uint8))
        seconds, began = [], _cpu_seconds(server)
        for _ in range(args.clicks):
            place = [*random.integers(60, 196, 2).tolist(), 6]
            gesture = {"kind": "point", "positive": not disc[place[1], place[0]], "voxels": [place]}
            seconds.append(_seconds(server, {**params, **files, "gestures": [gesture]}))
        cpu = (_cpu_seconds(server) - began) / args.clicks
    print(
        f"first slice with start of the model {first:.1f} s; a click {1e3 * np.median(seconds):.0f} ms"
        f" (most {1e3 * max(seconds):.0f}), of these {1e3 * cpu:.0f} ms of one core;"
        f" {np.median(seconds) / first:.3f} of the first slice"
    )


def _cpu_seconds(server: Client) -> float:
    """What the server's process has computed so far (Linux)."""
    fields = Path(f"/proc/{server.process.pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _seconds(server: Client, params: dict) -> float:
    began = time.perf_counter()
    answer = server.answer(server.send("correct", **params))
    if "error" in answer:
        raise RuntimeError(answer["error"]["message"])
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
