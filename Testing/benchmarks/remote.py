"""What an engine behind ssh costs: seconds more than a local one, and bytes on the way, for a CT of 512 x 512 x 78.

    python Testing/benchmarks/remote.py [--rounds N]      needs SAM2ADAPT_DATA and OpenSSH's client and server

Both engines are warm. A round segments a region of one volume, which is sent anew each time because its first voxel
changes. The overhead is that of the whole request: hashing, packing, ssh, unpacking, and the labels on their way back.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from serve_client import Client
from ssh_host import SshHost, relay

VOLUME = Path("ct_sample") / "chaos_ct" / "image.nii.gz"
REGION = [200, 232, 200, 232, 38, 40]  # little to compute, so that the difference stands out


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    import SimpleITK as sitk

    image = sitk.ReadImage(str(Path(os.environ["SAM2ADAPT_DATA"]) / VOLUME))
    voxels = sitk.GetArrayFromImage(image).astype(np.int16)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        host = SshHost(work / "host")
        try:
            _compare(host, work, voxels, image, rounds)
        finally:
            host.close()


def _compare(host, work: Path, voxels: np.ndarray, image, rounds: int) -> None:
    geometry = {"origin": image.GetOrigin(), "spacing": image.GetSpacing(), "direction": image.GetDirection()}
    request = {
        "model": "torso-ct", "roi": REGION, "device": "cpu", "anyModality": True,
        "input": {"array": str(work / "v.npy"), **geometry}, "labels": str(work / "l.npy"),
    }  # fmt: skip
    counter = work / "bytes"
    tee = f"tee >(wc -c > {counter})"
    seconds: dict[str, list[float]] = {"local": [], "ssh": [], "ssh, sent before": []}
    labels = {}
    with Client(OMP_NUM_THREADS="1") as local, Client(relay("--host", "gpu"), **host.environment) as remote:
        for client in (local, remote):
            client.receive()
        for number in range(-1, rounds):  # the first warms up
            voxels[0, 0, 0] = number
            np.save(work / "v.npy", voxels)
            for name, client in (("local", local), ("ssh", remote), ("ssh, sent before", remote)):
                began = time.perf_counter()
                client.result("segment", **request)
                if number >= 0:
                    seconds[name].append(time.perf_counter() - began)
                labels[name] = np.load(work / "l.npy")
            assert all(np.array_equal(labels["local"], one) for one in labels.values()), "labels differ"
    print(f"{voxels.shape[2]} x {voxels.shape[1]} x {voxels.shape[0]} voxels, {rounds} rounds, labels bit-equal.\n")
    print("| engine | seconds, median (least to most) | more than local |\n| --- | --- | --- |")
    base = statistics.median(seconds["local"])
    for name, taken in seconds.items():
        middle = statistics.median(taken)
        print(f"| {name} | {middle:.2f} ({min(taken):.2f} to {max(taken):.2f}) | {middle - base:+.2f} |")
    sent = _bytes(tee, counter, request)
    print(f"\nBytes to the host for one volume: {sent:,}, {sent / voxels.nbytes:.3f} of its {voxels.nbytes:,}.")


def _bytes(tee: str, counter: Path, request: dict) -> int:
    """Bytes that cross to an engine for one request, greeting, offer and model file among them."""
    engine = ["bash", "-c", f"{tee} | {sys.executable} -m sam2adapt serve --stream"]
    with tempfile.TemporaryDirectory() as home, Client(relay("--command", *engine), SAM2ADAPT_HOME=home) as client:
        client.receive()
        client.result("segment", **request)
        client.process.stdin.close()
        client.ended()
    end = time.monotonic() + 30
    while not (counter.exists() and counter.read_text("utf-8").strip()) and time.monotonic() < end:
        time.sleep(0.1)
    return int(counter.read_text("utf-8"))


if __name__ == "__main__":
    main()
