"""What segmenting a slice costs, against another checkout of this project.

git worktree add ../before 9979816
python Testing/benchmarks/segment_steps.py --against ../before [--sides 256,512] [--markdown FILE]

Both builds take turns with ``sam2adapt segment`` on the same made-up volume, with a model of `nano` and the dual
adapters' lightweight form (``dual-lw``), which the other checkout has trained for two steps; the time of a few slices
is taken off that of more. Seconds are those of the processor, because other programs change those of the clock; of the
rounds, the fastest counts. ``--older-processor`` hides bfloat16.
"""

import argparse
import sys
import tempfile
from pathlib import Path

import builds
import numpy as np
import SimpleITK as sitk

FEW, MANY = 8, 72  # slices


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = builds.options(__doc__, rounds=3)
    options.add_argument("--sides", default="256,512", help="of slices, in pixels (default: %(default)s)")
    args = builds.parse(options, arguments)
    with tempfile.TemporaryDirectory() as folder:
        builds.show(_table(args, Path(folder)), args.markdown)


def _table(args: argparse.Namespace, folder: Path) -> str:
    both, model = (args.against, builds.ROOT), folder / "model.safetensors"
    training = ["train", *builds.write_case(folder), "--base", "nano", "--method", "dual-lw", "--crop", "160"]
    training += ["--steps", "2", "--all-for-training", "--seed", "0", "--device", "cpu", "-o", model]
    builds.run(args.against, training, args, folder)
    kind = "hidden" if args.older_processor else "as the processor has it"
    lines = [f"bfloat16 {kind}; {args.threads} thread(s), fastest of {args.rounds} rounds of {MANY} slices.", ""]
    lines += ["| slice | ms before | now | times as many | voxels with another label |"]
    lines += ["| --- | --- | --- | --- | --- |"]
    for side in map(int, args.sides.split(",")):
        before, now = _milliseconds(both, side, model, args, folder)
        labels = [sitk.GetArrayFromImage(sitk.ReadImage(_output(folder, build, MANY))) for build in both]
        different = np.mean(labels[0] != labels[1])
        lines.append(f"| {side} x {side} | {before:.1f} | {now:.1f} | **{before / now:.2f}** | {different:.2g} |")
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines) + "\n"


def _milliseconds(
    both: tuple[Path, Path], side: int, model: Path, args: argparse.Namespace, folder: Path
) -> list[float]:
    """Of a slice, by each build."""
    for slices in (FEW, MANY):
        sitk.WriteImage(builds.made_up_case(side, slices)[0], folder / f"{slices}.nrrd")
    least = {}
    for _ in range(args.rounds):
        for build in both:
            for slices in (FEW, MANY):
                output = _output(folder, build, slices)
                output.unlink(missing_ok=True)
                command = ["segment", folder / f"{slices}.nrrd", "--model", model, "-o", output, "--device", "cpu"]
                seconds = builds.run(build, command, args, folder).seconds
                least[build, slices] = min(seconds, least.get((build, slices), seconds))
    return [1000 * (least[build, MANY] - least[build, FEW]) / (MANY - FEW) for build in both]


def _output(folder: Path, build: Path, slices: int) -> Path:
    return folder / f"{build.name}-{slices}.seg.nrrd"


if __name__ == "__main__":
    main()
