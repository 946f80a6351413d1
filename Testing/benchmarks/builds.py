"""Two checkouts of this project that take turns, for benchmarks that compare them."""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk

ROOT = Path(__file__).resolve().parents[2]
_OLDER = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}


class Cost(NamedTuple):
    """Of a process: seconds of the processor or, with ``--clock``, of the clock, and peak memory in MB."""

    seconds: float
    peak: float


def options(description: str, rounds: int) -> argparse.ArgumentParser:
    """The options that such benchmarks have in common."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--against", type=Path, required=True, help="root of the other checkout")
    parser.add_argument("--rounds", type=int, default=rounds, help="(default: %(default)s)")
    parser.add_argument("--threads", type=int, default=1, help="(default: %(default)s)")
    parser.add_argument("--clock", action="store_true", help="seconds of the clock, not of the processor")
    parser.add_argument("--older-processor", action="store_true", help="a processor without bfloat16")
    parser.add_argument("--markdown", type=Path, help="also write the table here")
    return parser


def parse(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """The options, with a checkout that is one."""
    args = parser.parse_args(arguments)
    if not (args.against / "SAM2Adapt/sam2adapt").is_dir():
        parser.error("--against: name a checkout, as 'git worktree add ../before 9979816' makes one.")
    args.against = args.against.resolve()
    return args


def show(text: str, markdown: Path | None) -> None:
    """Print a table, and write it."""
    print(text)
    if markdown:
        markdown.write_text(text, encoding="utf-8")


def run(build: Path, command: list, args: argparse.Namespace, folder: Path) -> Cost:
    """Run ``sam2adapt`` of a checkout.

    :param folder: for its log and settings.
    :raises SystemExit: it failed.
    """
    packages = [build / "SAM2Adapt"]
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads), "SAM2ADAPT_HOME": str(folder / "home")}
    if args.older_processor:
        packages, environment = [ROOT / "Testing/support/older_processor", *packages], environment | _OLDER
    environment["PYTHONPATH"] = os.pathsep.join(map(str, packages))
    words = [sys.executable, "-m", "sam2adapt", *map(str, command)]
    with (folder / "log").open("w+") as log:
        started = time.perf_counter()
        process = subprocess.Popen(words, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.perf_counter() - started
        if status:
            log.seek(0)
            raise SystemExit(f"{build}: {log.read()[-2000:]}")
    return Cost(elapsed if args.clock else usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def write_case(folder: Path) -> list:
    """Twelve slices of smooth noise with three structures; options of ``train`` that name them."""
    for name, image in zip(("images", "labels"), made_up_case(192, 12), strict=True):
        (folder / name).mkdir()
        sitk.WriteImage(image, folder / name / "case.nii.gz")
    return ["--images", folder / "images", "--labels", folder / "labels", "--classes", "1=one,2=two,3=three"]


def made_up_case(side: int, slices: int) -> tuple[sitk.Image, ...]:
    """Smooth noise of side x side x slices voxels of 1.5 x 1.5 x 8 mm, and three structures: ranges of grey levels."""
    generator = np.random.default_rng(0)
    noise = sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(generator.normal(size=(slices, side, side))), 6)
    grey = sitk.GetArrayFromImage(noise)
    labels = np.digitize(grey, np.quantile(grey, (0.6, 0.75, 0.9))).astype(np.uint8)
    scaled = (1000 * (grey - grey.min()) / np.ptp(grey)).astype(np.int16)
    images = tuple(map(sitk.GetImageFromArray, (scaled, labels)))
    for image in images:
        image.SetSpacing((1.5, 1.5, 8.0))
    return images
