"""Parameters, computation and memory of every method, and which of the papers' claims hold.

python Testing/benchmarks/benchmark_methods.py [--bases T,S,B+,L] [--json FILE]

Needs no weights and takes about a minute; also started by ``sam2adapt benchmark methods``.
"""

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "SAM2Adapt"))
from sam2adapt.cli.app import exit_status
from sam2adapt.cli.progress import Bar
from sam2adapt.shared.errors import SettingsError
from sam2adapt.shared.files import atomic_write, check_output, megabytes

_SHORT = {"T": "tiny", "S": "small", "B+": "base_plus", "L": "large"}


def main(arguments: list[str] | None = None, prog: str | None = None) -> None:
    """Measure and print.

    :param arguments: options of the command line (default: those of this process); ``prog``: its name in ``--help``.
    """
    args = parser(prog).parse_args(arguments)
    bases = _bases(args.bases)
    if args.json:
        check_output(args.json)
    from methods.claims import run  # torch: not before --help is answered and all options are known to be possible

    bar = Bar("Measuring", "network")
    result = run(bases, bar.update)
    bar.close()
    print("\n".join(_report(result)))
    if args.json:
        with atomic_write(args.json) as file:
            file.write(json.dumps(result.to_json(), indent=1, ensure_ascii=False).encode())


def parser(prog: str | None = None) -> argparse.ArgumentParser:
    """The options."""
    options = argparse.ArgumentParser(
        prog=prog,
        description="Compute parameters, computation and memory of every method, without weights, and say which"
        " published claims hold. Takes about a minute.",
    )
    options.add_argument("--bases", default="T,S,B+,L", help="of T, S, B+ and L, separated by commas (default: all)")
    options.add_argument("--json", type=Path, help="also write all numbers here")
    return options


def _bases(text: str) -> list[str]:
    known = {name.lower(): base for short, base in _SHORT.items() for name in (short, base)}
    names = [name.strip().lower() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in known]
    if unknown or not names:
        raise SettingsError(
            f"There is no base '{unknown[0]}' to measure." if unknown else "No base is named.",
            f"Give --bases some of {','.join(_SHORT)}.",
        )
    return list(dict.fromkeys(known[name] for name in names))


def _report(result) -> list[str]:
    lines = []
    for base in result.sizes:
        lines += [f"{base}: {result.image_parameters(base):,} parameters in image mode", *_table(_sizes(result, base))]
        lines.append("")
    lines += ["Kept by the mask decoder's transformer for the backward pass, one image:", *_table(_memory(result)), ""]
    verdicts = result.verdicts()
    lines += ["Claims:", *_table(_claims([v for v in verdicts if v.against is None])), ""]
    return [*lines, "Claim of 87 % less computation, against:", *_table(_reductions(verdicts))]


def _sizes(result, base: str) -> list[list[str]]:
    rows = [["method", "trained", "of full", "of image mode", "model file", "training form", "exported form"]]
    for variant, sizes in result.sizes[base].items():
        if len(rows) == 1:
            rows[0] += [f"GMAC {side}" for side in sizes.costs]
        forms = [f"{form.parameters / 1e6:.2f} M, {megabytes(form.bytes)}" for form in (sizes.training, sizes.exported)]
        costs = [f"{cost.gmac:.2f} ({cost.gmac_without_attention:.2f})" for cost in sizes.costs.values()]
        shares = [f"{share:.2%}" for share in result.shares(base, variant)]
        rows.append([variant, f"{sizes.trained:,}", *shares, megabytes(sizes.file_bytes), *forms, *costs])
    return rows


def _memory(result) -> list[list[str]]:
    rows = [["image", "attentions", "low-rank", "saved", "whole, frozen", "whole, trained", "low-rank", "saved"]]
    for side, memory in result.memory.items():
        frozen, trained, low = memory.frozen, memory.trained, memory.low_rank
        attentions = [megabytes(kept.attentions) for kept in (trained, low)]
        whole = [megabytes(kept.transformer) for kept in (frozen, trained, low)]
        rows.append([str(side), *attentions, f"{memory.saved:.1%}", *whole, f"{memory.saved_in_all:.1%}"])
    return rows


def _claims(verdicts: list) -> list[list[str]]:
    rows = [["method", "claim", "for", "measured", "verdict"]]
    for verdict in verdicts:
        condition = verdict.base or f"all bases, at {verdict.side}"
        rows.append([verdict.method, verdict.claim, condition, f"{verdict.measured:.2%}", verdict.words])
    return rows


def _reductions(verdicts: list) -> list[list[str]]:
    """One row for each method, base and size, one column for each that it is compared with."""
    rows: dict[tuple, dict[str, str]] = {}
    for verdict in verdicts:
        if verdict.against is not None:
            cells = rows.setdefault((verdict.method, verdict.base, str(verdict.side)), {})
            cells[verdict.against] = f"{verdict.measured:.1%} {verdict.words}"
    others = next(iter(rows.values()))
    return [["method", "base", "image", *others], *([*key, *cells.values()] for key, cells in rows.items())]


def _table(rows: list[list[str]]) -> list[str]:
    """Lines of left-aligned columns, as wide as they need to be."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


if __name__ == "__main__":
    sys.exit(exit_status(main, parser()))
