"""``sam2adapt report``: a page with pictures and volumes of a result or of a batch."""

import argparse

from ..shared import paths
from ..shared.requests.report_actions import Report, ReportBatch
from .options import add_options, request_of
from .progress import Bar


def add_report_parser(commands) -> None:
    """Add the sub-command ``report``."""
    parser = commands.add_parser(
        "report",
        help="show a result or a batch on a page (HTML)",
        description="Make a page with pictures and volumes of a segmented volume, or of a whole batch: then with a"
        " gallery to sort, filter and mark the results. The page is one file, needs no network, and names no file"
        " unless you ask for it.",
    )
    add_options(parser, Report)
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from ..requests.report import report, report_batch

    request = request_of(args, Report)
    if request.labels is None and paths.is_dir(request.input):
        bar = Bar("Drawing", "volume")
        report_batch(
            ReportBatch(folder=request.input, output=request.output, show_names=request.show_names), bar.update
        )
        bar.close()
    else:
        report(request)
    print(f"page: {request.output}")
