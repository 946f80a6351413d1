"""``sam2adapt rank``: which volumes, and which of their slices, to correct next."""

import argparse
import sys
from pathlib import Path

from ..shared.errors import UserError
from ..shared.requests.actions import Rank
from .options import add_options, request_of
from .progress import Bar
from .remedies import shell_remedy


def add_rank_parser(commands) -> None:
    """Add the sub-command ``rank``."""
    parser = commands.add_parser(
        "rank",
        help="say which volumes to correct next",
        description="Sort unlabelled volumes by how unsure a model is about them, the least sure first.",
    )
    add_options(parser, Rank, "inputs", "model", "top", "slices", "any_modality", "device", "report")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> None:
    """Rank and print; name each volume that cannot be ranked, and go on with the others."""
    from ..requests.rank import rank

    def failed(path: Path, error: UserError) -> None:
        print(f"{path}: {error.message} {shell_remedy(error, args.parser)}", file=sys.stderr)

    request = request_of(args, Rank)
    bar = Bar("Ranking", "volume")
    report = rank(request, bar.update, failed)
    bar.close()
    for row in report["ranked"][: request.top]:
        print(_line(row))
        for note in row["notes"]:
            print(note, file=sys.stderr)


def _line(row: dict) -> str:
    places = ", ".join(str(one["index"]) for one in row["slices"])
    nothing = "" if row["found"] else ", nothing found"
    return (
        f"{row['score']:.3f}  {Path(row['input']).name}: uncertainty {row['uncertainty']:.3f}, "
        f"disagreement {row['disagreement']:.3f}{nothing}; slices {places or 'none'}"
    )
