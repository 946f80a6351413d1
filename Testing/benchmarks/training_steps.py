"""What a step of training costs, against another checkout of this project.

git worktree add ../before 9979816
python Testing/benchmarks/training_steps.py --against ../before [--ways nano,nano-wide,dual-lw] [--markdown FILE]

Both builds take turns with ``sam2adapt train`` on the same made-up volume, 8 slices of 160 x 160 pixels with four
classes a step; the time of a few steps is taken off that of more. Seconds are those of the processor, because other
programs change those of the clock; of the rounds, the fastest counts. With several threads, ``--clock`` tells what a
user waits, on a machine with as many idle cores. ``--older-processor`` hides bfloat16.
"""

import argparse
import csv
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import builds

WAYS = ("nano", "nano-wide", "dual-lw")
PRESETS = ("nano", "nano-wide")
FEW = 2  # steps of the shorter run


class Run(NamedTuple):
    """A training: what it cost, and the mean loss of its last epoch."""

    cost: builds.Cost
    loss: float


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = builds.options(__doc__, rounds=2)
    options.add_argument("--ways", default=",".join(WAYS), help="presets or methods (default: %(default)s)")
    options.add_argument("--steps", type=int, default=14, help="of the longer run (default: %(default)s)")
    args = builds.parse(options, arguments)
    with tempfile.TemporaryDirectory() as folder:
        builds.show(_table(args, Path(folder)), args.markdown)


def _table(args: argparse.Namespace, folder: Path) -> str:
    case = builds.write_case(folder)
    kind = "hidden" if args.older_processor else "as the processor has it"
    unit = "clock" if args.clock else "processor"
    header = f"bfloat16 {kind}; seconds of the {unit}, {args.threads} thread(s), "
    header += f"fastest of {args.rounds} rounds of {args.steps} steps."
    columns = "| | s a step before | now | times as many | loss before, now | peak memory before, now |"
    lines = [header, "", columns, "| --- | --- | --- | --- | --- | --- |"]
    both = (args.against, builds.ROOT)
    for way in args.ways.split(","):
        few, many = ({build: [] for build in both} for _ in range(2))
        for _ in range(args.rounds):
            for build in both:
                few[build].append(_train(build, way, FEW, args, folder, case))
                many[build].append(_train(build, way, args.steps, args, folder, case))
        before, now = (_seconds(few[build], many[build], args.steps) for build in both)
        old, new = (many[build][0] for build in both)
        lines.append(
            f"| `{way}` | {before:.3f} | {now:.3f} | **{before / now:.2f}** | {old.loss:.4f}, {new.loss:.4f}"
            f" | {old.cost.peak:.0f}, {new.cost.peak:.0f} MB |"
        )
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines) + "\n"


def _seconds(few: list[Run], many: list[Run], steps: int) -> float:
    return (min(run.cost.seconds for run in many) - min(run.cost.seconds for run in few)) / (steps - FEW)


def _train(build: Path, way: str, steps: int, args: argparse.Namespace, folder: Path, case: list) -> Run:
    output = folder / f"{build.name}-{way}-{steps}.safetensors"
    output.unlink(missing_ok=True)
    chosen = ["--preset", way] if way in PRESETS else ["--base", "nano", "--method", way]
    command = [
        "train", *case, *chosen, "--crop", "160", "--batch-size", "8", "--steps", str(steps),
        "--all-for-training", "--seed", "0", "--device", "cpu", "-o", output,
    ]  # fmt: skip
    cost = builds.run(build, command, args, folder)
    rows = list(csv.DictReader((folder / f"{output.stem}.run" / "log.csv").open()))
    return Run(cost, float(rows[-1]["loss"]))


if __name__ == "__main__":
    main()
