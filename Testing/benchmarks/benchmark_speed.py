"""What segmenting, starting and training cost on this machine, beside other networks.

python Testing/benchmarks/benchmark_speed.py [--data DATA] [--sections network,segment] [--json FILE] [--markdown FILE]

Takes about a quarter of an hour; also started by ``sam2adapt benchmark speed``.
"""

import argparse
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "SAM2Adapt"))
from sam2adapt.cli.app import exit_status
from sam2adapt.cli.progress import Bar
from sam2adapt.shared.errors import SettingsError
from sam2adapt.shared.files import atomic_write, check_output, write_json
from speed import SECTIONS


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog=prog,
        description="Measure networks, segmentation, engine, training and memory in one run in which everything that"
        " is compared takes turns, and say which targets are reached. All of it takes about a quarter of an hour.",
    )
    options.add_argument("--sections", default=",".join(SECTIONS), help="some of %(default)s (default: all)")
    options.add_argument(
        "--only", default="", metavar="REGEX",
        help="of the networks only rows whose words it is found in, for instance 'tiny (bare|lora) exported .* 256'",
    )  # fmt: skip
    options.add_argument("--data", type=Path, help="folder with the data sets acdc and ct_sample (default: made-up CT)")
    options.add_argument("--device", default="auto", help="auto, cpu, cuda, cuda:N or mps (default: auto)")
    options.add_argument("--threads", type=int, help="of the processor (default: as in use)")
    options.add_argument("--rounds", type=int, default=5, help="(default: %(default)s)")
    options.add_argument("--quick", action="store_true", help="one round of few slices, to see that everything works")
    options.add_argument("--json", type=Path, help="also write all numbers here")
    options.add_argument("--markdown", type=Path, help="also write the tables here")
    return options


def main(arguments: list[str] | None = None, prog: str | None = None) -> None:
    """Measure and print.

    :param arguments: options of the command line (default: those of this process); ``prog``: its name in ``--help``.
    """
    args = parser(prog).parse_args(arguments)
    sections = _sections(args.sections)
    _check(args)
    import torch  # not before --help is answered and all options are known to be possible
    from sam2adapt.machine.device import choose_device
    from speed.context import Context
    from speed.report import markdown
    from speed.run import measure

    if args.threads:
        torch.set_num_threads(args.threads)
    steps = _Steps()
    context = Context(
        data=args.data, device=choose_device(args.device)[0], rounds=1 if args.quick else args.rounds, only=args.only,
        quick=args.quick, say=steps.say, progress=steps.progress,
    )  # fmt: skip
    result = measure(context, sections)
    steps.end()
    text = markdown(result)
    print(text)
    if args.json:
        write_json(args.json, result)
    if args.markdown:
        with atomic_write(args.markdown) as file:
            file.write(text.encode())


class _Steps:
    """What is being done, each step with a bar of its own."""

    def __init__(self):
        self._bar = None

    def say(self, text: str) -> None:
        """Begin a step."""
        self.end()
        print(text, file=sys.stderr, flush=True)
        self._bar = Bar("Measuring", "call")

    def progress(self, done: int, total: int) -> None:
        """Say how much of the step is done."""
        self._bar.update(done, total)

    def end(self) -> None:
        """Leave the terminal in order."""
        if self._bar:
            self._bar.close()


def _sections(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in SECTIONS]
    if unknown or not names:
        raise SettingsError(
            f"There is no section '{unknown[0]}' of the benchmark." if unknown else "No section is named.",
            f"Give --sections some of {','.join(SECTIONS)}.",
        )
    return names


def _check(args: argparse.Namespace) -> None:
    """Refuse before the work what would spoil it."""
    for path in filter(None, (args.json, args.markdown)):
        check_output(path)
    try:
        re.compile(args.only)
    except re.error as error:
        raise SettingsError(
            f"--only '{args.only}' is no regular expression: {error}.", "Give a part of a row's words."
        ) from error
    if args.rounds < 1 or (args.threads is not None and args.threads < 1):
        raise SettingsError("Less than one round or thread cannot be measured.", "Give numbers from 1 upwards.")


if __name__ == "__main__":
    sys.exit(exit_status(main, parser()))
