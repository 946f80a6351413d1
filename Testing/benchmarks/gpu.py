"""What this project costs on a machine with an NVIDIA GPU: one run of at most ten minutes, which needs no network.

python Testing/benchmarks/gpu.py [--data DATA] [--minutes 9] [--sections networks,labels] [--device cpu --quick]

Networks alone beside SAM2ImagePredictor and nnU-Net 2-D, labels of the GPU against those of the processor, ``segment``
of 512 x 512 x 500 voxels, memory by batch, training steps and ``fill``, the most important first. After each section
``results/gpu.md`` and ``gpu.json`` are written, so that a run that is killed keeps what it has. A section that fails
says why in its place, and the others go on. It needs the engine's packages (``SAM2Adapt/Resources/requirements.txt``),
a PyTorch for the GPU, and for nnU-Net ``dynamic-network-architectures``; weights and data come with the repository.
"""

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "SAM2Adapt"))
from on_gpu import SECTIONS
from sam2adapt.cli.app import exit_status
from sam2adapt.shared.errors import DeviceError, SettingsError
from sam2adapt.shared.files import atomic_write, check_output, write_json

RESULTS = Path(__file__).resolve().parent / "results" / "gpu.md"


def parser() -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--data", type=Path, help="folder with the data set ct_sample (default: what comes with it)")
    options.add_argument(
        "--device", help="cuda, cuda:N, or cpu to try the script (default: the GPU, which must be there)"
    )
    options.add_argument("--minutes", type=float, default=9.0, help="for all of it (default: %(default)s)")
    options.add_argument("--sections", default=",".join(SECTIONS), help="some of %(default)s (default: all)")
    options.add_argument("--rounds", type=int, default=5, help="at most (default: %(default)s)")
    options.add_argument("--threads", type=int, help="of the processor (default: as in use)")
    options.add_argument("--quick", action="store_true", help="tiny slices and one round, to see that everything works")
    options.add_argument(
        "--output", type=Path, help="page; its numbers go beside it as .json (default: results/gpu.md; none with cpu)"
    )
    options.add_argument("--add", action="store_true", help="keep the other sections of a former run in the output")
    return options


def main(arguments: list[str] | None = None) -> None:
    """Measure, write and print.

    :param arguments: options of the command line (default: those of this process).
    :raises UserError: before the work, what makes it impossible.
    :raises SystemExit: 1, after the work, if a section failed.
    """
    started = time.monotonic()
    args = parser().parse_args(arguments)
    names = _check(args)
    _check_packages()
    import torch
    from on_gpu import run
    from on_gpu.budget import Budget
    from on_gpu.page import page
    from speed import material
    from speed.context import Context

    device = _device(args.device)
    if args.data:
        material.data_file(args.data, material.CT)
    if args.threads:
        torch.set_num_threads(args.threads)
    if device.type == "cuda":
        torch.cuda.set_device(device)
        run.check_gpu(device)
    output = args.output or (RESULTS if device.type == "cuda" else None)
    result = _begin(args, run.describe(device), output)
    earlier = result["minutes"]

    def publish() -> None:
        result["minutes"] = round(earlier + (time.monotonic() - started) / 60, 1)
        if output:
            write_json(output.with_suffix(".json"), result)
            with atomic_write(output) as file:
                file.write(page(result).encode())

    context = Context(
        data=args.data, device=device, rounds=1 if args.quick else args.rounds, quick=args.quick,
        say=lambda text: print(text, file=sys.stderr, flush=True),
    )  # fmt: skip
    budget = Budget(args.minutes * 60 - (time.monotonic() - started))
    rest = run.run(context, names, budget, result, publish)
    if rest and output:
        _go_on(arguments, rest, budget.left() / 60)
    for name in rest:  # without files there is no other process to hand them to
        result["sections"][name] = {"skipped": "An error before had broken the GPU for this process."}
    print(page(result))
    failed = [name for name, entry in result["sections"].items() if "error" in entry]
    if failed:
        print(f"Failed: {', '.join(failed)}; the page says why.", file=sys.stderr)
        raise SystemExit(1)


def _check(args: argparse.Namespace) -> list[str]:
    """Refuse before the work what would spoil it; the sections, the most important first."""
    asked = [name.strip() for name in args.sections.split(",") if name.strip()]
    unknown = [name for name in asked if name not in SECTIONS]
    if unknown or not asked:
        raise SettingsError(
            f"There is no section '{unknown[0]}'." if unknown else "No section is named.",
            f"Give --sections some of {','.join(SECTIONS)}.",
        )
    if args.rounds < 1 or (args.threads is not None and args.threads < 1) or not args.minutes > 0:
        raise SettingsError("Without a round, a thread or time nothing can be measured.", "Give numbers above 0.")
    if args.output:
        check_output(args.output)
        check_output(args.output.with_suffix(".json"))
    return [name for name in SECTIONS if name in asked]


def _check_packages() -> None:
    """Refuse if Python lacks what all sections need.

    :raises SettingsError: a package is missing.
    """
    try:
        from on_gpu import run  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingsError(
            f"This Python has no package '{error.name}'.",
            "Install what SAM2Adapt/Resources/requirements.txt names, in the way that its first lines describe.",
        ) from error


def _device(name: str | None) -> Any:
    """The device to measure on.

    :raises DeviceError: there is no GPU and none was asked for by name, or it is not there.
    """
    from sam2adapt.machine.device import choose_device

    device, reason = choose_device(name or "auto")
    if name is None and device.type != "cuda":
        why = reason.removeprefix("CPU: ") if device.type == "cpu" else "the only GPU here is an Apple GPU"
        raise DeviceError(
            f"Nothing was measured, because PyTorch can use no NVIDIA GPU on this machine: {why}.",
            "Run this on a machine with one, with a PyTorch built for it, or try it out with --device cpu --quick.",
        )
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"'{device}' is not measured here.", "Choose cuda, cuda:N or cpu.")
    return device


def _begin(args: argparse.Namespace, machine: dict[str, Any], output: Path | None) -> dict[str, Any]:
    """An empty result, or with --add the former one."""
    result = {"machine": machine, "quick": args.quick, "minutes": 0.0, "sections": {}}
    file = output.with_suffix(".json") if output else None
    if args.add and file and file.is_file():
        former = json.loads(file.read_text("utf-8"))
        kept = {name: former["machine"][name] for name in ("device", "commit")} | {"quick": former["quick"]}
        if kept != {name: machine[name] for name in ("device", "commit")} | {"quick": args.quick}:
            raise SettingsError(
                f"'{file}' was measured on {kept['device']} at commit {kept['commit']}, or with other slices.",
                "Leave out --add, or name another output.",
            )
        result |= {"sections": former["sections"], "minutes": former["minutes"]}
    return result


def _go_on(arguments: Sequence[str] | None, rest: list[str], minutes: float) -> None:
    """Start anew with the sections that are left, in this process's place: what broke the GPU is gone then."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    changed = ["--sections", ",".join(rest), "--minutes", f"{max(minutes, 0.001):.3f}", "--add"]
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, str(Path(__file__).resolve()), *given, *changed])


if __name__ == "__main__":
    sys.exit(exit_status(main, parser()))
