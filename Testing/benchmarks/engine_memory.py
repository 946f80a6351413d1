"""Memory of the engine: the peak of one long volume, and what 1,000 requests leave behind.

``python Testing/benchmarks/engine_memory.py`` segments 512 x 512 x 1000 voxels (int16) with the bundled model torso-ct
and then asks 1,000 small things; it prints both against their targets: input + labels + 1 GB above an idle engine with
the model loaded, and 20 MB. Linux only.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np

_REPOSITORY = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(_REPOSITORY / "SAM2Adapt"), str(_REPOSITORY / "Testing" / "support")]
os.environ["PYTHONPATH"] = os.pathsep.join([sys.path[0], os.environ.get("PYTHONPATH", "")])  # for the engine

from speed import memory  # noqa: E402
from speed.server import Server  # noqa: E402

MODEL = "torso-ct"
_GRID = {"origin": [0, 0, 0], "spacing": [0.8, 0.8, 1.0], "direction": [1, 0, 0, 0, 1, 0, 0, 0, 1]}
_SETTLING = 100  # requests after which the engine has what it keeps


def params(folder: Path, slices: int, side: int = 512) -> dict:
    """A request for a volume of a body in air, with noise."""
    rows, columns = np.indices((side, side)) / side - 0.5
    plane = np.where(rows**2 + columns**2 < 0.16, 40, -1000)
    noise = np.random.default_rng(0).integers(-20, 20, (8, side, side))
    path = folder / f"{slices}.npy"
    array = np.lib.format.open_memmap(path, "w+", np.int16, (slices, side, side))
    for number in range(slices):
        array[number] = plane + noise[number % 8]
    array.flush()
    source = {"array": str(path), "name": "body", "modality": "CT", **_GRID}
    return {"input": source, "model": MODEL, "labels": str(folder / "labels.npy"), "device": "cpu"}


def long_volume(server: Server, folder: Path, slices: int) -> bool:
    """Print the peak of a long volume; whether it keeps to the target."""
    server.result("segment", **params(folder, 4))
    request = params(folder, slices)
    voxels = slices * 512 * 512
    idle = memory.held(server.process.pid)
    memory.forget_peak(server.process.pid)
    seconds = server.result("segment", **request)["seconds"]["total"]
    above = memory.peak(server.process.pid) - idle
    limit = 3 * voxels + 10**9  # int16 and uint8
    print(f"512 x 512 x {slices}: {above / 1e6:.0f} MB above the idle engine ({idle / 1e6:.0f} MB), at most"
          f" {limit / 1e6:.0f} MB; {seconds:.0f} s", flush=True)  # fmt: skip
    return above <= limit


def many_requests(server: Server, folder: Path, count: int) -> bool:
    """Print what many requests leave behind; whether it keeps to the target."""
    request = params(folder, 2, side=64)
    asked = (("models", {}), ("modelDetails", {"name": MODEL}), ("segment", request), ("bases", {}))
    before = 0
    for number in range(_SETTLING + count):
        if number == _SETTLING:
            before = memory.held(server.process.pid)
        method, values = asked[number % len(asked)]
        server.result(method, **values)
    left = memory.held(server.process.pid) - before
    print(f"{count} requests: {left / 1e6:.1f} MB more than before, at most 20 MB")
    return left < 20e6


def main() -> int:
    """Measure both; 1 if a target was missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=1000, help="(default: %(default)s)")
    parser.add_argument("--requests", type=int, default=1000, help="(default: %(default)s)")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, Server(1) as server:
        kept = [long_volume(server, Path(folder), args.slices)] if args.slices else []
        kept += [many_requests(server, Path(folder), args.requests)] if args.requests else []
    return int(not all(kept))


if __name__ == "__main__":
    sys.exit(main())
