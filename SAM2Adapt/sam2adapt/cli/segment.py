"""``sam2adapt segment``: segment one volume into a file, or many into a folder."""

import argparse
import signal
import sys
import threading

from ..shared.errors import BatchError, SettingsError
from ..shared.requests.actions import Segment, SegmentBatch
from .options import add_options, request_of
from .progress import Bar, leads

_FAILURES_SHOWN = 20


def add_segment_parser(commands) -> None:
    """Add the sub-command ``segment``."""
    parser = commands.add_parser(
        "segment",
        help="segment one or many volumes",
        description="Segment a CT or MR volume or another image into a file. Or segment a batch (several files, a"
        " folder, a CSV list) into a folder with a manifest: give the same command again to continue a batch that was"
        " stopped, or start it with torchrun (`torchrun --nproc-per-node 8 -m sam2adapt segment …`) to use several"
        " processes.",
    )
    add_options(parser, SegmentBatch, "inputs", "output", "model", "device", "structures", "roi")
    add_options(parser, Segment, "series", "reference", "dicom_seg", "tta", "uncertainty", "any_modality", "report")
    add_options(parser, SegmentBatch, "format", "page", "show_names")
    parser.set_defaults(run=_run)


def _run(args: argparse.Namespace) -> None:
    from ..requests.segment import asks_for_many

    (_segment_batch if asks_for_many(args.inputs, args.output) else _segment)(args)


def _segment(args: argparse.Namespace) -> None:
    from ..requests.segment import segment

    request = request_of(args, Segment, input=args.inputs[0], labels=args.output)
    bar = Bar("Segmenting", "slice")
    done = segment(
        request,
        loaded=lambda model, reason: print(f"{model.name} on {reason}", file=sys.stderr),
        progress=bar.update,
    )
    bar.close()
    for note in done.report["notes"]:
        print(note, file=sys.stderr)
    _print_structures(done.report)


def _print_structures(report: dict) -> None:
    if not any(s["voxels"] for s in report["structures"]):
        print("No structure was found.")
    for structure in report["structures"]:
        size = f"{structure['ml']:.1f} mL" if structure["ml"] is not None else f"{structure['voxels']} pixels"
        print(f"{structure['name']}: {size}")
    network = report["seconds"]["network"]
    print(f"{report['slices']} slices in {network:.1f} s; {report['seconds']['total']:.1f} s with reading and writing")


def _segment_batch(args: argparse.Namespace) -> None:
    _refuse_single(args)
    request = request_of(args, SegmentBatch)
    from ..requests.segment import segment_batch

    leader, stop = leads(), threading.Event()
    # torchrun ends all processes when one dies, a cluster when their time is up: finish the studies in progress.
    before = signal.signal(signal.SIGTERM, lambda *_: stop.set())
    bar = _BatchBar(leader)
    try:
        summary = segment_batch(request, bar.update, bar.count, stop=stop)
    finally:
        signal.signal(signal.SIGTERM, before)
        bar.close()
    if leader:
        _print_summary(summary)
    if stop.is_set():
        raise BatchError("The batch was stopped.", "Give the same command again to continue it.")
    if leader and summary.failures:  # only one process: torchrun ends all when one fails
        raise BatchError(
            f"{len(summary.failures)} of {len(summary.rows)} studies failed.",
            "See the reasons above. The same command tries only these again.",
        )


class _BatchBar:
    """Progress in whole studies, with the number of failures; only the first of several processes shows it."""

    def __init__(self, shown: bool):
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


def _refuse_single(args: argparse.Namespace) -> None:
    """Refuse options that only a single volume has.

    :raises SettingsError: one of them is given.
    """
    for name in ("series", "reference", "uncertainty", "report"):
        if getattr(args, name):
            raise SettingsError(
                f"'{name}' is an option for a single volume, not for a batch.",
                "Leave it out; the manifest holds the numbers of all volumes.",
                setting=name,
            )


def _print_summary(summary) -> None:
    for row in summary.failures[:_FAILURES_SHOWN]:
        print(f"failed: {row['input']}{' ' + row['series'] if row['series'] else ''}: {row['message']}")
    noted = [row for row in summary.rows if row["status"] == "done" and row["message"]]
    for row in noted[:_FAILURES_SHOWN]:
        print(f"note: {row['message']}")
    if len(noted) > _FAILURES_SHOWN:
        print(f"and {len(noted) - _FAILURES_SHOWN} more notes in the manifest")
    more = len(summary.failures) - _FAILURES_SHOWN
    if more > 0:
        print(f"and {more} more failures")
    left = summary.count("open")
    print(
        f"{summary.count('done')} of {len(summary.rows)} studies are segmented, {len(summary.failures)} failed"
        f"{f', {left} are left' if left else ''}; {summary.now} done by this process in {summary.seconds:.1f} s"
    )
    print(f"manifest: {summary.output / 'manifest.csv'}")
