"""The command line: ``python -m sam2adapt``, also installed as ``sam2adapt``.

Exit status 0, or 2 with a sentence and a remedy for what a user can mend, or 1 with a traceback for a defect of ours.
Imports of torch stand inside the functions, so that ``--help`` and ``models`` answer at once.
"""

import argparse
import json
import sys
import time
from pathlib import Path

from . import __version__
from .cli_benchmark import add_benchmark_parser
from .cli_models import add_info_parser, add_models_parser
from .cli_rank import add_rank_parser
from .cli_train import add_train_parser, cases_and_classes
from .errors import OutputError, SettingsError, UserError
from .files import atomic_write, check_folder
from .image_files import LABEL_SUFFIXES, suffix_of


def main(arguments: list[str] | None = None) -> int:
    """Run one command and give its exit status."""
    args = _parser().parse_args(arguments)
    try:
        args.run(args)
    except UserError as error:
        print(f"sam2adapt: {error.message}\n{error.remedy}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sam2adapt: stopped; nothing half-written was left.", file=sys.stderr)
        return 130
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam2adapt", description="Prompt-free segmentation with adapted SAM2 networks."
    )
    parser.add_argument("--version", action="version", version=f"sam2adapt {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_segment_parser(commands)
    add_train_parser(commands)
    _add_evaluate_parser(commands)
    add_rank_parser(commands)
    add_models_parser(commands)
    add_info_parser(commands)
    add_benchmark_parser(commands)
    _add_serve_parser(commands)
    return parser


def _add_segment_parser(commands) -> None:
    parser = commands.add_parser(
        "segment", help="segment a volume", description="Segment a CT or MR volume or an image."
    )
    parser.add_argument("input", type=Path, help="NIfTI, NRRD, MHA, PNG, TIFF or JPEG file, DICOM file or folder")
    parser.add_argument(
        "-o", "--output", type=Path, required=True, help=".seg.nrrd (named segments), .nii.gz, .nrrd, .mha, .png"
    )
    parser.add_argument("--model", required=True, help="name of a model (see `sam2adapt models`) or a model file")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    parser.add_argument("--structures", type=_names, help="only these, by name, separated by commas")
    parser.add_argument("--roi", type=_roi, help="i0,i1,j0,j1,k0,k1: label only these voxels (ends excluded)")
    parser.add_argument("--series", help="SeriesInstanceUID, for a DICOM folder with several series")
    parser.add_argument("--tta", action="store_true", help="average three scales: slower, a little better")
    parser.add_argument("--uncertainty", type=Path, help="also write each voxel's uncertainty, 0 to 1")
    parser.add_argument("--any-modality", action="store_true", help="do not refuse another modality than the model's")
    parser.add_argument("--json", type=Path, help="also write volumes, times and settings")
    parser.set_defaults(run=_segment)


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _roi(text: str) -> tuple[int, ...]:
    numbers = tuple(int(part) for part in text.split(","))
    if len(numbers) != 6:
        raise argparse.ArgumentTypeError("six numbers are needed: i0,i1,j0,j1,k0,k1")
    return numbers


def _segment(args: argparse.Namespace) -> None:
    from .device import choose_device
    from .model import load_model
    from .predict import Options, segment
    from .progress import Bar
    from .volume import read_volume, write_labels, write_volume

    _check_output(args.output)
    if args.uncertainty:
        _check_output(args.uncertainty)
    seconds, started = {}, time.perf_counter()
    volume = read_volume(args.input, args.series)
    seconds["read"] = time.perf_counter() - started
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
    write_labels(args.output, result.labels, model.structures, volume)
    if args.uncertainty:
        write_volume(args.uncertainty, result.uncertainty)
    seconds["write"] = time.perf_counter() - before
    seconds["total"] = time.perf_counter() - started
    report = _report(args, model, result, seconds, str(model.device))
    _print_structures(report)
    if args.json:
        write_json(args.json, report)


def _check_output(path: Path) -> None:
    """Refuse before the work what could not be written after it."""
    if suffix_of(path) not in LABEL_SUFFIXES:
        raise OutputError(
            f"'{path.name}' has no suffix of a format that can be written.", f"Use one of {', '.join(LABEL_SUFFIXES)}."
        )
    check_folder(path.parent)


def _report(args: argparse.Namespace, model, result, seconds: dict[str, float], device: str) -> dict:
    import numpy as np

    counts = np.bincount(result.labels.array.ravel(), minlength=256)
    millilitres = float(np.prod(result.labels.spacing)) / 1000 if result.labels.physical else None
    structures = [
        {
            "id": s.id, "name": s.name, "voxels": int(counts[s.id]),
            "ml": round(int(counts[s.id]) * millilitres, 3) if millilitres else None,
        }
        for s in model.structures
    ]  # fmt: skip
    return {
        "input": str(args.input), "output": str(args.output), "model": model.name, "digest": model.card["digest"],
        "device": device, "slices": result.slices, "structures": structures,
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


def _add_evaluate_parser(commands) -> None:
    parser = commands.add_parser("evaluate", help="measure a model on labelled cases")
    parser.add_argument("--model", required=True, help="name of a model or a model file")
    parser.add_argument("--images", type=Path, required=True, help="folder of images, or an MSD / nnU-Net folder")
    parser.add_argument("--labels", type=Path, help="folder of labels of the same names")
    parser.add_argument("--split", type=Path, help='JSON {"train": [...], "val": [...]}')
    parser.add_argument("--subset", default="val", choices=("train", "val"), help="part of the split (default: val)")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--json", type=Path, help="write all numbers here")
    parser.add_argument("--csv", type=Path, help="write one line a case and class here")
    parser.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> None:
    from .device import choose_device
    from .evaluate import evaluate
    from .model import load_model
    from .progress import Bar
    from .training.cases import read_split, select

    cases, _ = cases_and_classes(args.images, args.labels, None)
    if args.split:
        cases = select(cases, read_split(args.split), args.subset)
    if not cases:
        raise SettingsError(f"The split's '{args.subset}' is empty.", "Choose another --subset.")
    device, _ = choose_device(args.device)
    model = load_model(args.model, device)
    bar = Bar("Evaluating", "case")
    result = evaluate(model, cases, bar.update)
    bar.close()
    unit = result["distance_unit"]
    for name in result["dice"]:
        values = {m: result[m][name] for m in ("dice", "iou", "hd95", "assd", "auc")}
        shown = {
            m: "-" if v is None else f"{v:.4f}" if m in ("dice", "iou", "auc") else f"{v:.2f} {unit}"
            for m, v in values.items()
        }
        print(f"{name}: " + ", ".join(f"{measure} {value}" for measure, value in shown.items()))
    print(f"{len(cases)} cases, mIoU with background {result['miou_with_background']:.4f}")
    if args.json:
        write_json(args.json, result)
    if args.csv:
        _write_csv(args.csv, result)


def _add_serve_parser(commands) -> None:
    text = "answer requests (JSON-RPC 2.0, one a line) on standard input until it closes; for Slicer"
    commands.add_parser("serve", help=text, description=f"{text[0].upper()}{text[1:]}.").set_defaults(run=_serve)


def _serve(_: argparse.Namespace) -> None:
    from .serve import serve

    serve()


def write_json(path: Path, content: dict) -> None:
    """Write JSON by atomic rename."""
    with atomic_write(path) as file:
        file.write(json.dumps(content, indent=1, ensure_ascii=False).encode())


def _write_csv(path: Path, result: dict) -> None:
    import csv
    import io

    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(["case", "class", "dice", "iou", "hd95", "assd"])
    for case in result["cases"]:
        for name in case["dice"]:
            writer.writerow([case["id"], name, *(case[m][name] for m in ("dice", "iou", "hd95", "assd"))])
    with atomic_write(path) as file:
        file.write(text.getvalue().encode())
