"""``sam2adapt benchmark``: starts the benchmarks, which are scripts of the repository and not installed."""

import argparse
import importlib
import sys
from pathlib import Path

from ..shared import paths
from ..shared.errors import SettingsError

# Above the engine in the repository; in an installed engine nothing is there.
SCRIPTS = Path(__file__).resolve().parents[3] / "Testing" / "benchmarks"


def add_benchmark_parser(commands) -> None:
    """Add ``benchmark``; all that follows WHAT is for the script."""
    parser = commands.add_parser(
        "benchmark",
        help="measure what methods cost, and how fast everything is here (from the repository)",
        description="Start a benchmark of the repository: methods counts parameters, computation and memory of every"
        " method, speed measures seconds and memory of everything beside other networks.",
    )
    parser.add_argument("what", choices=("methods", "speed"), metavar="WHAT", help="methods or speed")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="its options; WHAT --help lists them")
    parser.set_defaults(run=_benchmark)


def _benchmark(args: argparse.Namespace) -> None:
    name = f"benchmark_{args.what}"
    if not paths.is_file(SCRIPTS / f"{name}.py"):
        raise SettingsError(
            f"The benchmark '{args.what}' is not installed with the engine: it is a script of SAM2Adapt's repository.",
            f"In a copy of the repository, run `python Testing/benchmarks/{name}.py` with the same options.",
        )
    sys.path.insert(0, str(SCRIPTS))  # as for a script that Python is started with
    importlib.import_module(name).main(args.options, f"sam2adapt benchmark {args.what}")
