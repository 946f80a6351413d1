"""Seconds, slices per second and peak memory of one `sam2adapt segment`, measured from outside the process.

python Testing/benchmarks/segment_cost.py VOLUME --model torso-ct
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def main() -> None:
    """Run the command once and print what it cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volume", type=Path)
    parser.add_argument("--model", required=True)
    parser.add_argument("options", nargs="*", help="further options of `sam2adapt segment`, after --")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "sam2adapt", "segment", args.volume, "-o", Path(folder) / "out.seg.nrrd"]
        command += ["--model", args.model, "--json", report, *args.options]
        started = time.perf_counter()
        subprocess.run([str(part) for part in command], check=True)
        seconds = time.perf_counter() - started
        result = json.loads(report.read_text("utf-8"))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / (1024**2 if sys.platform == "darwin" else 1024)
    print(f"process: {seconds:.1f} s with start-up, peak memory {peak:.0f} MiB")
    print(f"network: {result['slices'] / result['seconds']['network']:.1f} slices/s on {result['device']}")
    print(f"whole command without start-up: {result['slices'] / result['seconds']['total']:.1f} slices/s")
    print("seconds: " + ", ".join(f"{name} {value:.2f}" for name, value in result["seconds"].items()))


if __name__ == "__main__":
    main()
