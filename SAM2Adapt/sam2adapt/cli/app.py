"""The command line: ``python -m sam2adapt``, also installed as ``sam2adapt``.

Exit status 0, or 2 with a sentence and a remedy for what a user can mend, or 1 with a traceback for a defect of ours.
Imports of torch stand inside the functions, so that ``--help`` and ``models`` answer at once.
"""

import argparse
import io
import sys
from pathlib import Path

from .. import __version__
from ..machine.allocation import keep_freed_memory
from ..shared.errors import SettingsError, UserError
from ..shared.files import atomic_write, check_output, write_json
from .benchmark import add_benchmark_parser
from .fill import add_fill_parser
from .models import add_info_parser, add_models_parser
from .rank import add_rank_parser
from .remedies import shell_remedy
from .segment import add_segment_parser
from .train import add_train_parser, cases_and_classes


def main(arguments: list[str] | None = None) -> int:
    """Run one command and give its exit status."""
    _print_anything()
    args = _parser().parse_args(arguments)
    keep_freed_memory()
    try:
        args.run(args)
    except UserError as error:
        print(f"sam2adapt: {error.message}\n{shell_remedy(error, args.parser)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sam2adapt: stopped; nothing half-written was left.", file=sys.stderr)
        return 130
    return 0


def _print_anything() -> None:
    """Print characters that the terminal's encoding lacks as escapes, where Python would end with an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam2adapt", description="Prompt-free segmentation with adapted SAM2 networks."
    )
    parser.add_argument("--version", action="version", version=f"sam2adapt {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_segment_parser(commands)
    add_fill_parser(commands)
    add_train_parser(commands)
    _add_evaluate_parser(commands)
    add_rank_parser(commands)
    add_models_parser(commands)
    add_info_parser(commands)
    add_benchmark_parser(commands)
    _add_serve_parser(commands)
    for command in commands.choices.values():
        command.set_defaults(parser=command)  # for the flags that its remedies name
    return parser


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
    from ..evaluation.cases import read_split, select
    from ..modelfiles.catalog import find_model
    from .progress import Bar

    for path in filter(None, (args.json, args.csv)):
        check_output(path)
    cases, _ = cases_and_classes(args.images, args.labels, None)
    if args.split:
        cases = select(cases, read_split(args.split), args.subset)
    if not cases:
        raise SettingsError(f"The split's '{args.subset}' is empty.", "Choose the other part.", setting="subset")
    find_model(args.model)

    from ..evaluation.evaluate import evaluate
    from ..machine.device import choose_device  # torch: not before all that was asked for is known to be possible
    from ..segmenting.model import load_model

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
    from ..server.server import serve

    serve()


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
