"""What a step of training costs, against another checkout of this project.

git worktree add ../before 9979816
python Testing/benchmarks/training_steps.py --against ../before [--ways nano,nano-wide,dual-lw] [--markdown FILE]

Both builds take turns with ``sam2adapt train`` on the same made-up volume, 8 slices of 160 x 160 pixels with four
classes a step; the time of a few steps is taken off that of more. Seconds are those of the processor, because other
programs change those of the clock; of the rounds, the fastest counts. ``--older-processor`` hides bfloat16.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[2]
WAYS = ("nano", "nano-wide", "dual-lw")
PRESETS = ("nano", "nano-wide")
FEW = 2  # steps of the shorter run
OLDER = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


class Run(NamedTuple):
    """A training: seconds of the processor, peak memory in MB, and the mean loss of its last epoch."""

    seconds: float
    peak: float
    loss: float


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--against", type=Path, required=True, help="root of the other checkout")
    options.add_argument("--ways", default=",".join(WAYS), help="presets or methods (default: %(default)s)")
    options.add_argument("--steps", type=int, default=14, help="of the longer run (default: %(default)s)")
    options.add_argument("--rounds", type=int, default=2, help="(default: %(default)s)")
    options.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    options.add_argument("--older-processor", action="store_true", help="a processor without bfloat16")
    options.add_argument("--markdown", type=Path, help="also write the table here")
    args = options.parse_args(arguments)
    if not (args.against / "SAM2Adapt/sam2adapt").is_dir():
        options.error("--against: name a checkout, as 'git worktree add ../before 9979816' makes one.")
    with tempfile.TemporaryDirectory() as folder:
        text = _table(args, Path(folder))
    print(text)
    if args.markdown:
        args.markdown.write_text(text)


def _table(args: argparse.Namespace, folder: Path) -> str:
    _write_case(folder)
    kind = "hidden" if args.older_processor else "as the processor has it"
    header = f"bfloat16 {kind}; {args.threads} thread(s), fastest of {args.rounds} rounds of {args.steps} steps."
    columns = "| | s a step before | now | times as many | loss before, now | peak memory before, now |"
    lines = [header, "", columns, "| --- | --- | --- | --- | --- | --- |"]
    builds = (args.against.resolve(), ROOT)
    for way in args.ways.split(","):
        few, many = ({build: [] for build in builds} for _ in range(2))
        for _ in range(args.rounds):
            for build in builds:
                few[build].append(_train(build, way, FEW, args, folder))
                many[build].append(_train(build, way, args.steps, args, folder))
        before, now = (_seconds(few[build], many[build], args.steps) for build in builds)
        old, new = (many[build][0] for build in builds)
        lines.append(
            f"| `{way}` | {before:.3f} | {now:.3f} | **{before / now:.2f}** | {old.loss:.4f}, {new.loss:.4f}"
            f" | {old.peak:.0f}, {new.peak:.0f} MB |"
        )
        print(lines[-1], file=sys.stderr, flush=True)
    return "\n".join(lines) + "\n"


def _seconds(few: list[Run], many: list[Run], steps: int) -> float:
    return (min(run.seconds for run in many) - min(run.seconds for run in few)) / (steps - FEW)


def _train(build: Path, way: str, steps: int, args: argparse.Namespace, folder: Path) -> Run:
    output = folder / f"{build.name}-{way}-{steps}.safetensors"
    output.unlink(missing_ok=True)
    chosen = ["--preset", way] if way in PRESETS else ["--base", "nano", "--method", way]
    command = [
        sys.executable, "-m", "sam2adapt", "train", "--images", folder / "images", "--labels", folder / "labels",
        "--classes", "1=one,2=two,3=three", *chosen, "--crop", "160", "--batch-size", "8", "--steps", str(steps),
        "--all-for-training", "--seed", "0", "--device", "cpu", "-o", output,
    ]  # fmt: skip
    packages = [build / "SAM2Adapt"]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "SAM2ADAPT_HOME": str(folder / "home")}
    if args.older_processor:
        packages, environment = [ROOT / "Testing/support/older_processor", *packages], environment | OLDER
    environment["PYTHONPATH"] = os.pathsep.join(map(str, packages))
    with (folder / "log").open("w+") as log:
        process = subprocess.Popen(list(map(str, command)), env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        if status:
            log.seek(0)
            raise SystemExit(f"{build}: {log.read()[-2000:]}")
    rows = list(csv.DictReader((folder / f"{output.stem}.run" / "log.csv").open()))
    return Run(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, float(rows[-1]["loss"]))


def _write_case(folder: Path) -> None:
    """Twelve slices of smooth noise of 192 x 192 pixels, with three structures of ranges of grey levels."""
    generator = np.random.default_rng(0)
    noise = sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(generator.normal(size=(12, 192, 192))), 6)
    grey = sitk.GetArrayFromImage(noise)
    labels = np.digitize(grey, np.quantile(grey, (0.6, 0.75, 0.9))).astype(np.uint8)
    scaled = (1000 * (grey - grey.min()) / np.ptp(grey)).astype(np.int16)
    for name, array in (("images", scaled), ("labels", labels)):
        (folder / name).mkdir()
        image = sitk.GetImageFromArray(array)
        image.SetSpacing((1.5, 1.5, 8.0))
        sitk.WriteImage(image, folder / name / "case.nii.gz")


if __name__ == "__main__":
    main()
