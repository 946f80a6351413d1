"""``sam2adapt evaluate``: compare a model with the labels of cases."""

import argparse
import functools
import sys

from ..shared.requests.actions import Evaluate
from .options import add_options, request_of
from .progress import Bar


def add_evaluate_parser(commands) -> None:
    """Add the sub-command ``evaluate``."""
    parser = commands.add_parser(
        "evaluate",
        help="measure a model on labelled cases",
        description="Segment labelled cases with a model and compare the results with the labels: Dice, IoU, HD95, ASSD"
        " and AUC of each class.",
    )
    add_options(parser, Evaluate)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from ..requests.evaluate import evaluate

    bar = Bar("Evaluating", "case")
    result = evaluate(request_of(args, Evaluate), bar.update, functools.partial(print, file=sys.stderr))
    bar.close()
    unit = result["distance_unit"]
    for name in result["dice"]:
        values = {m: result[m][name] for m in ("dice", "iou", "hd95", "assd", "auc")}
        shown = {
            m: "-" if v is None else f"{v:.4f}" if m in ("dice", "iou", "auc") else f"{v:.2f} {unit}"
            for m, v in values.items()
        }
        if left := result["left_out"].get(name):
            shown["assd"] += f" (HD95 and ASSD without {left} case{'s' * (left > 1)} that only one side shows)"
        print(f"{name}: " + ", ".join(f"{measure} {value}" for measure, value in shown.items()))
    print(f"{len(result['cases'])} cases, mIoU with background {result['miou_with_background']:.4f}")
