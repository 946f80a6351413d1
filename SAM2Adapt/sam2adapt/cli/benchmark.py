"""``sam2adapt benchmark``: start the benchmarks, scripts of the repository that are not installed."""

import argparse
import importlib
import sys
from pathlib import Path

from ..shared import paths
from ..shared.errors import SettingsError

# In the repository; this folder does not exist beside an installed engine.
SCRIPTS = Path(__file__).resolve().parents[3] / "Testing" / "benchmarks"


def add_benchmark_parser(commands) -> None:
    """Add the sub-command ``benchmark``; the script parses all arguments after WHAT."""
    parser = commands.add_parser(
        "benchmark",
        help="measure the cost of the methods, or the speed of this machine (needs the repository)",
        description="Run a benchmark of the repository. methods: parameters, computation and memory of every method."
        " speed: time and memory of segmenting, training and starting, compared with other networks.",
    )
    parser.add_argument("what", choices=("methods", "speed"), metavar="WHAT", help="methods or speed")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="...", help="its options; WHAT --help lists them")
    parser.set_defaults(run=_benchmark)


def _benchmark(args: argparse.Namespace) -> None:
    name = f"benchmark_{args.what}"
    if not paths.is_file(SCRIPTS / f"{name}.py"):
        raise SettingsError(
            f"The benchmark '{args.what}' is not installed: it is a script of SAM2Adapt's repository.",
            f"In a copy of the repository, run `python Testing/benchmarks/{name}.py` with the same options.",
        )
    sys.path.insert(0, str(SCRIPTS))  # as if Python had started the script
    importlib.import_module(name).main(args.options, f"sam2adapt benchmark {args.what}")
