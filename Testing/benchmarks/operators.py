"""Where the time of a segmenting network goes, by PyTorch's operators.

python Testing/benchmarks/operators.py [--side 256] [--variant dual-lw] [--half]

One thread, `nano` with random weights in the form that segments, slices of random numbers as many as in a batch; shares
of the processor's time, from ``torch.profiler``.
"""

import argparse
import sys
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "SAM2Adapt"))
from speed.networks import build

PIXELS = 8 * 256 * 256  # of a batch on a CPU
RUNS = 5
LEAST = 0.01  # smaller shares are added up


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=256, help="of a slice, in pixels (default: %(default)s)")
    parser.add_argument("--variant", default="dual-lw", help="method, or bare (default: %(default)s)")
    parser.add_argument("--half", action="store_true", help="in bfloat16")
    args = parser.parse_args()
    torch.set_num_threads(1)
    network = build("nano", args.variant, "exported")
    images = torch.randn(max(1, PIXELS // args.side**2), 3, args.side, args.side)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=args.half):
        network(images)
        with profile(activities=[ProfilerActivity.CPU]) as found:
            for _ in range(RUNS):
                network(images)
    times = {row.key: row.self_cpu_time_total for row in found.key_averages()}
    whole = sum(times.values())
    print(f"{whole / 1000 / RUNS / len(images):.1f} ms a slice\n\n| operator | share |\n| --- | --- |")
    shares = sorted(((time / whole, name) for name, time in times.items()), reverse=True)
    for share, name in shares:
        if share >= LEAST:
            print(f"| `{name}` | {share:.0%} |")
    print(f"| others | {sum(share for share, _ in shares if share < LEAST):.0%} |")


if __name__ == "__main__":
    main()
