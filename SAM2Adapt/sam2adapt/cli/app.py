"""The command line: ``python -m sam2adapt``, also installed as ``sam2adapt``.

Exit status: 0; 2 with a sentence and a remedy if the user can fix the problem; 1 with a traceback for a bug of ours.
Functions import torch only when they need it, so that ``--help`` and ``models`` answer at once.
"""

import argparse
import functools
import io
import sys
from collections.abc import Callable

from .. import __version__
from ..machine.allocation import keep_freed_memory
from ..shared.errors import UserError
from ..shared.safety import private
from ..shared.safety.texts import visible
from .benchmark import add_benchmark_parser
from .evaluate import add_evaluate_parser
from .fill import add_fill_parser
from .models import add_info_parser, add_models_parser
from .rank import add_rank_parser
from .remedies import shell_remedy
from .report import add_report_parser
from .segment import add_segment_parser
from .train import add_train_parser


def main(arguments: list[str] | None = None) -> int:
    """Run one command and return its exit status."""
    _escape_what_cannot_be_printed()
    args = _parser().parse_args(arguments)
    keep_freed_memory()
    if args.command not in ("serve", "train"):  # which do so themselves, train after it has claimed what it resumes
        private.sweep()
    return exit_status(lambda: args.run(args), args.parser)


def exit_status(work: Callable[[], None], parser: argparse.ArgumentParser) -> int:
    """Do a command's work; print a ``UserError`` to standard error, with the flags of this parser in its remedy."""
    try:
        work()
    except UserError as error:
        print(f"sam2adapt: {visible(error.message)}\n{visible(shell_remedy(error, parser))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sam2adapt: stopped; no incomplete file is left.", file=sys.stderr)
        return 130
    return 0


def _escape_what_cannot_be_printed() -> None:
    """Print characters that the terminal's encoding lacks as escapes; by default Python raises an error.

    Characters that a terminal obeys are escaped too: texts from files are printed, and a card must not be able to move
    the cursor.
    """
    for stream, keep in ((sys.stdout, "\n\t"), (sys.stderr, "\n\t\r")):  # bars go back to the start of their line
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
        if stream is not None and not hasattr(stream, "write_raw"):
            stream.write_raw = stream.write
            stream.write = functools.partial(_write_visibly, stream.write, keep)


def _write_visibly(write: Callable[[str], int], keep: str, text: str) -> int:
    write(visible(text, keep))
    return len(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sam2adapt",
        description="Segment CT, MR and other images with adapted SAM2 networks, and train such networks.",
    )
    parser.add_argument("--version", action="version", version=f"sam2adapt {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    add_segment_parser(commands)
    add_fill_parser(commands)
    add_train_parser(commands)
    add_evaluate_parser(commands)
    add_rank_parser(commands)
    add_report_parser(commands)
    add_models_parser(commands)
    add_info_parser(commands)
    add_benchmark_parser(commands)
    _add_serve_parser(commands)
    for command in commands.choices.values():
        command.set_defaults(parser=command)  # its flags appear in remedies
    return parser


def _add_serve_parser(commands) -> None:
    text = "answer JSON-RPC 2.0 requests, one per line, on standard input until it closes; for Slicer"
    parser = commands.add_parser("serve", help=text, description=f"{text[0].upper()}{text[1:]}.")
    parser.add_argument(
        "--stream", action="store_true", help="for Slicer on another computer: files cross the same stream"
    )
    parser.add_argument(
        "--tidy", action="store_true", help="only delete what other computers sent whose time is over, and end"
    )
    parser.set_defaults(run=_serve)


def _serve(args: argparse.Namespace) -> None:
    if args.tidy:
        from ..server.held.stores import remove_expired

        print(f"Deleted: {remove_expired()}.")
    elif args.stream:
        from ..server.remote.gateway import serve_stream

        serve_stream()
    else:
        from ..server.server import serve

        serve()
