"""Does the slice to draw next that filling proposes help? ``python Testing/benchmarks/fill_next.py``

First and last slice of the structures are drawn. Then three more: those that filling proposes, one after the other, or
three evenly spaced ones. Dice is that of all slices from first to last, drawn ones included, so that both are judged on
the same voxels. Writes ``results/fill_next.csv`` and ``fill_next.md``; a run that was stopped goes on.
"""

import argparse
import itertools
import os
from pathlib import Path

import numpy as np
from fill import read_rows, start_without, write_rows
from fill_cases import FillCase, cases_of
from fill_peers import labels_of, sparse
from sam2adapt.filling.drawings import drawings_from_labels
from sam2adapt.filling.filler import START, Filler, Filling

RESULTS = Path(__file__).parent / "results"
FIELDS = ("set", "part", "case", "axis", "seed", "proposed", "even", "dice_proposed", "dice_even")
MORE = 3


def main() -> None:
    """Run, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SAM2ADAPT_DATA", "")))
    parser.add_argument("--sets", nargs="+", default=["acdc", "chaos_ct"])
    parser.add_argument("--part", default="val", choices=("train", "val"))
    parser.add_argument("--limit", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="of the learner")
    parser.add_argument("--start", type=Path, help="weights (default: those that have not seen the set)")
    parser.add_argument("--output", type=Path, default=RESULTS / "fill_next.csv")
    args = parser.parse_args()
    rows = read_rows(args.output)
    done = {(row["set"], row["part"], row["case"], row["axis"], row["seed"]) for row in rows}
    for name in args.sets:
        start = args.start or (start_without(name) if start_without(name).exists() else START)
        for case in cases_of(name, args.data, args.part, args.limit):
            # One CT is one case; along its other directions it is another one.
            axes = range(3) if name in ("chaos_ct", "ts_ct_3mm") else (case.axis,)
            for axis, seed in itertools.product(axes, args.seeds):
                if (name, args.part, case.name, str(axis), str(seed)) not in done:
                    row = {"part": args.part} | measure(case, axis, seed, start)
                    rows.append({key: str(value) for key, value in row.items()})
                    write_rows(args.output, rows, FIELDS)
                    print(" ".join(map(str, row.values())), flush=True)
    write_table(args.output.with_suffix(".md"), rows)


def measure(case: FillCase, axis: int, seed: int, start: Path) -> dict:
    """One row: a volume with both choices of slices, each filled in the end by a filler that has seen no others."""
    case = FillCase(case.set, case.name, case.volume, case.truth, axis)
    used = np.flatnonzero(np.moveaxis(case.truth, axis, 0).any((1, 2)))
    first, last = int(used[0]), int(used[-1])
    filler = Filler(case.volume, seed, start)
    drawn = [first, last]
    for _ in range(MORE):
        following = _fill(filler, case, drawn).next_slice
        if following is None:
            break
        drawn = sorted({*drawn, following})
    even = sorted({round(k) for k in np.linspace(first, last, 2 + MORE)})
    proposed = _dice(Filler(case.volume, seed, start), case, drawn, first, last)
    evenly = proposed if even == drawn else _dice(Filler(case.volume, seed, start), case, even, first, last)
    return {
        "set": case.set, "case": case.name, "axis": axis, "seed": seed, "proposed": " ".join(map(str, drawn)),
        "even": " ".join(map(str, even)), "dice_proposed": f"{proposed:.4f}", "dice_even": f"{evenly:.4f}",
    }  # fmt: skip


def _fill(filler: Filler, case: FillCase, drawn: list[int]) -> Filling:
    names = {value: str(value) for value in case.values}
    return filler.fill(drawings_from_labels(sparse(case, drawn), names))


def _dice(filler: Filler, case: FillCase, drawn: list[int], first: int, last: int) -> float:
    labels = labels_of(case, _fill(filler, case, drawn))
    found, truth = (np.moveaxis(array, case.axis, 0)[first : last + 1] for array in (labels, case.truth))
    pairs = [(found == value, truth == value) for value in case.values]
    return float(np.mean([2 * (a & b).sum() / (a.sum() + b.sum()) for a, b in pairs]))


def write_table(path: Path, rows: list[dict]) -> None:
    """Means over the cases of each set."""
    lines = [
        "# The slice to draw next", "",
        "First and last slice are drawn, and three more: Dice of all slices from first to last, drawn ones included.",
        "Made by `Testing/benchmarks/fill_next.py`.", "",
        "| set | cases and seeds | three proposed | three evenly spaced | better in | worse in |",
        "| --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for name, part in dict.fromkeys((row["set"], row["part"]) for row in rows):
        own = [row for row in rows if (row["set"], row["part"]) == (name, part)]
        both = np.array([[float(row["dice_proposed"]), float(row["dice_even"])] for row in own])
        better, worse = int((both[:, 0] > both[:, 1]).sum()), int((both[:, 0] < both[:, 1]).sum())
        title = name if part == "val" else f"{name} ({part})"
        lines.append(
            f"| {title} | {len(own)} | {both[:, 0].mean():.4f} | {both[:, 1].mean():.4f} | {better} | {worse} |"
        )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
