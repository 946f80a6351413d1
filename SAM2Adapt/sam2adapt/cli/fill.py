"""``sam2adapt fill``: fill a volume from a few drawn slices."""

import argparse
import sys

from ..shared.requests.actions import Fill
from .options import add_options, request_of
from .progress import Bar


def add_fill_parser(commands) -> None:
    """Add the sub-command ``fill``."""
    parser = commands.add_parser(
        "fill",
        help="fill a volume from a few drawn slices",
        description="Fill the slices between drawn ones. Draw in a label map, with 255 in all other voxels, or in a"
        " .seg.nrrd file, whose empty slices are then filled. Drawn voxels never change.",
    )
    add_options(parser, Fill)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from ..requests.fill import fill

    request = request_of(args, Fill)
    bar = Bar("Filling", "%")
    report = fill(request, progress=lambda share: bar.update(round(100 * share), 100)).report
    bar.close()
    for sentence in (*report["notes"], *report["warnings"]):
        print(sentence, file=sys.stderr)
    for one in report["structures"]:
        dice = one["expected_dice"]
        print(f"{one['name']}: {'nothing to fill' if dice is None else f'expected Dice {dice:.2f}'}")
    seconds = f"filled in {report['seconds']['total']:.1f} s"
    if report["next_slice"] is None:
        print(seconds)
    else:
        print(f"draw slice {report['next_slice']} along {report['axis']} next; {seconds}")
