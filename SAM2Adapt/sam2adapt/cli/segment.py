"""``sam2adapt segment``: one volume into one file, or many into a folder."""

import argparse
import signal
import sys
import threading
import time
from pathlib import Path

from ..imaging.image_files import LABEL_SUFFIXES, suffix_of
from ..modelfiles.catalog import find_model
from ..shared import paths
from ..shared.errors import BatchError, OutputError, SettingsError
from ..shared.files import check_output, write_json

_FAILURES_SHOWN = 20


def add_segment_parser(commands) -> None:
    """Add the sub-command ``segment``."""
    parser = commands.add_parser(
        "segment",
        help="segment a volume, or many",
        description="Segment a CT or MR volume or an image; or several files, all volumes of a folder, or those of a "
        "CSV list, into a folder with a manifest. The same command goes on with a batch that was stopped, and under "
        "torchrun (`torchrun --nproc-per-node 8 -m sam2adapt segment …`) several processes share it.",
    )
    parser.add_argument(
        "inputs", type=Path, nargs="+", metavar="INPUT",
        help="NIfTI, NRRD, MHA, PNG, TIFF or JPEG file, DICOM file or folder; for a batch several of them, a folder "
        'that is searched with all below it, or a .csv file with a column "input"',
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=Path, required=True,
        help=".seg.nrrd (named segments), .nii.gz, .nrrd, .mha, .png; for a batch a folder",
    )  # fmt: skip
    parser.add_argument("--model", required=True, help="name of a model (see `sam2adapt models`) or a model file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    parser.add_argument("--structures", type=_names, help="only these, by name, separated by commas")
    parser.add_argument("--roi", type=_roi, help="i0,i1,j0,j1,k0,k1: label only these voxels (ends excluded)")
    parser.add_argument("--series", help="SeriesInstanceUID, for a DICOM folder with several series")
    parser.add_argument("--tta", action="store_true", help="average three scales: slower, a little better")
    parser.add_argument("--uncertainty", type=Path, help="also write each voxel's uncertainty, 0 to 1")
    parser.add_argument("--any-modality", action="store_true", help="do not refuse another modality than the model's")
    parser.add_argument("--json", type=Path, help="also write volumes, times and settings")
    parser.add_argument(
        "--format", default=".seg.nrrd", choices=LABEL_SUFFIXES, help="of a batch's outputs (default: .seg.nrrd)"
    )
    parser.set_defaults(run=_run)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _roi(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if len(numbers) != 6:
        raise argparse.ArgumentTypeError("six numbers are needed: i0,i1,j0,j1,k0,k1")
    return numbers


def _run(args: argparse.Namespace) -> None:
    (_segment_batch if _is_batch(args) else _segment)(args)


def _segment(args: argparse.Namespace) -> None:
    from ..imaging.volume import read_volume, write_labels, write_volume
    from .progress import Bar

    _check_output(args.output)
    if args.uncertainty:
        _check_output(args.uncertainty)
    if args.json:
        check_output(args.json)
    seconds, started = {}, time.perf_counter()
    volume = read_volume(args.inputs[0], args.series)
    seconds["read"] = time.perf_counter() - started
    find_model(args.model)

    from ..machine.device import choose_device  # torch: not before all that was asked for is known to be possible
    from ..segmenting.model import load_model
    from ..segmenting.predict import Options, segment

    device, reason = choose_device(args.device)
    model = load_model(args.model, device)
    seconds["model"] = time.perf_counter() - started - seconds["read"]
    print(f"{model.name} on {reason}", file=sys.stderr)
    options = Options(args.structures, args.roi, args.tta, args.uncertainty is not None, args.any_modality)
    bar = Bar("Segmenting", "slice")
    result = segment(volume, model, options, bar.update)
    bar.close()
    seconds |= result.seconds
    before = time.perf_counter()
    write_labels(args.output, result.labels, result.structures, volume)
    if args.uncertainty:
        write_volume(args.uncertainty, result.uncertainty)
    seconds["write"] = time.perf_counter() - before
    seconds["total"] = time.perf_counter() - started
    report = _report(args, model, options, result, seconds)
    _print_structures(report)
    if args.json:
        write_json(args.json, report)


def _check_output(path: Path) -> None:
    """Refuse before the work what could not be written after it."""
    if suffix_of(path) not in LABEL_SUFFIXES:
        raise OutputError(
            f"'{path.name}' has no suffix of a format that can be written.", f"Use one of {', '.join(LABEL_SUFFIXES)}."
        )
    check_output(path, libraries=True)


def _report(args: argparse.Namespace, model, options, result, seconds: dict[str, float]) -> dict:
    return {
        "input": str(args.inputs[0]), "output": str(args.output), "model": model.name, "digest": model.card["digest"],
        "settings": options.to_json(), "device": str(result.device), "slices": result.slices,
        "structures": result.sizes,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
    }  # fmt: skip


def _print_structures(report: dict) -> None:
    if not any(s["voxels"] for s in report["structures"]):
        print("No structure was found.")
    for structure in report["structures"]:
        size = f"{structure['ml']:.1f} mL" if structure["ml"] is not None else f"{structure['voxels']} pixels"
        print(f"{structure['name']}: {size}")
    network = report["seconds"]["network"]
    print(f"{report['slices']} slices in {network:.1f} s; {report['seconds']['total']:.1f} s with reading and writing")


def _is_batch(args: argparse.Namespace) -> bool:
    first = args.inputs[0]
    if len(args.inputs) > 1 or first.suffix.lower() == ".csv" or paths.is_dir(args.output, OutputError):
        return True
    return paths.is_dir(first) and suffix_of(args.output) not in LABEL_SUFFIXES


def _segment_batch(args: argparse.Namespace) -> None:
    _check_batch(args)
    from ..batch.segment_folder import segment_folder
    from ..machine.team import Team
    from ..segmenting.predict import Options

    leader = Team.from_environment().rank == 0
    stop = threading.Event()
    # torchrun ends all processes when one has died, and a cluster those whose time is up: what is in work is finished.
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    bar = _BatchBar(leader)
    try:
        summary = segment_folder(
            args.inputs, args.output, args.model,
            Options(args.structures, args.roi, args.tta, any_modality=args.any_modality),
            device=args.device, suffix=args.format, progress=bar.update, finished=bar.count, stop=stop,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGTERM, before)
        bar.close()
    if leader:
        _print_summary(summary)
    if stop.is_set():
        raise BatchError("The batch was stopped.", "Give the same command again to go on with it.")
    if leader and summary.failures:  # one process says so: torchrun ends all when one fails
        raise BatchError(
            f"{len(summary.failures)} of {len(summary.rows)} studies failed.",
            "See the reasons above; the same command tries only these again.",
        )


class _BatchBar:
    """Progress over whole studies, in the first of several processes, and how many failed."""

    def __init__(self, shown: bool):
        from .progress import Bar

        self._bar = Bar("Segmenting", "volume") if shown else None
        self._done, self._failed = -1, 0

    def update(self, done: float, total: int, name: str) -> None:
        if self._bar and int(done) > self._done:
            self._done = int(done)
            self._bar.update(self._done, total, f"{self._failed} failed" if self._failed else "")

    def count(self, record: dict) -> None:
        self._failed += record["status"] == "failed"

    def close(self) -> None:
        if self._bar:
            self._bar.close()


def _check_batch(args: argparse.Namespace) -> None:
    if suffix_of(args.output) in LABEL_SUFFIXES and not paths.is_dir(args.output, OutputError):
        raise OutputError(f"'{args.output}' is the name of one file.", "Give a folder for the outputs of a batch.")
    for option in ("series", "uncertainty", "json"):
        if getattr(args, option):
            raise SettingsError(
                f"A batch takes no '{option}': it is for a single volume.",
                "Leave it out; the manifest holds the numbers of all volumes.",
                setting=option,
            )


def _print_summary(summary) -> None:
    for row in summary.failures[:_FAILURES_SHOWN]:
        print(f"failed: {row['input']}{' ' + row['series'] if row['series'] else ''}: {row['message']}")
    more = len(summary.failures) - _FAILURES_SHOWN
    if more > 0:
        print(f"and {more} more that failed")
    left = summary.count("open")
    print(
        f"{summary.count('done')} of {len(summary.rows)} studies are segmented, {len(summary.failures)} failed"
        f"{f', {left} are left' if left else ''}; {summary.now} done by this process in {summary.seconds:.1f} s"
    )
    print(f"manifest: {summary.output / 'manifest.csv'}")
