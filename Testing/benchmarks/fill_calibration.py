"""How the Dice that filling promises is made the one that it expects: ``python Testing/benchmarks/fill_calibration.py``

The probabilities of pixels promise a Dice that is too high where it is low or little was drawn, and too low elsewhere.
Of its logit the slope, what the number of drawn slices counts, and the shift are fitted on training volumes, so that
the mean over structures of what is expected differs least, on average, from the true one.
Writes ``results/fill_calibration.csv``, from which a further run goes on, and ``fill_calibration.md``.
"""

import argparse
import os
from pathlib import Path

import numpy as np
from fill import START, read_rows, start_without, write_rows
from fill_cases import SETS, FillCase, cases_of
from fill_peers import ours
from sam2adapt.filling import decision
from scipy.optimize import minimize
from scipy.special import expit, logit

RESULTS = Path(__file__).parent / "results"
FIELDS = ("set", "case", "density", "drawn", "promised", "dice")
VOLUMES = {"hippocampus": 12, "acdc": 8, "la": 2, "ts_ct_3mm": 1}
FOLDS = 4  # of volumes, to judge the fit on others than those that it was made on
BEFORE = (1.0, 0.0, float(np.log(0.7)))  # the former calibration
BEGIN = (1.0, 0.3, -1.0)  # of the search


def main() -> None:
    """Fill what is missing, fit, and write both."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SAM2ADAPT_DATA", "")))
    parser.add_argument("--output", type=Path, default=RESULTS / "fill_calibration.csv")
    args = parser.parse_args()
    rows = read_rows(args.output)
    done = {(row["set"], row["case"], row["density"]) for row in rows}
    for name, count in VOLUMES.items():
        for case in cases_of(name, args.data, "train", count):
            for density in SETS[name][1]:
                if (name, case.name, density) not in done:
                    rows.append(measure(case, density))
                    write_rows(args.output, rows, FIELDS)
                    print(" ".join(rows[-1].values()), flush=True)
    text = report(rows)
    args.output.with_suffix(".md").write_text(text, encoding="utf-8")
    print(text)


def measure(case: FillCase, density: str) -> dict[str, str]:
    """One row: in how many slices each structure is drawn, what was promised of it, and its Dice on those between."""
    drawn = case.drawn(density)
    start = start_without(case.set)
    labels, filling = ours(case, drawn, start if start.exists() else START)
    between = [k for k in range(drawn[0], drawn[-1] + 1) if k not in drawn]
    found, truth = (np.moveaxis(array, case.axis, 0)[between] for array in (labels, case.truth))
    masks = [(found == value, truth == value) for value in case.values]
    dice = [2 * (a & b).sum() / (a.sum() + b.sum()) if a.any() or b.any() else np.nan for a, b in masks]
    counts = [int((np.moveaxis(case.truth, case.axis, 0)[drawn] == value).any((1, 2)).sum()) for value in case.values]
    slope, gain, shift = decision._CALIBRATION
    promised = expit((logit(np.array(filling.expected_dice)) - gain * np.log(np.add(counts, 0.5)) - shift) / slope)
    numbers = [";".join(f"{one:.4f}" for one in values) for values in (promised, dice)]
    numbers.insert(0, ";".join(map(str, counts)))
    return dict(zip(FIELDS, (case.set, case.name, density, *numbers), strict=True))


def fit(rows: list[dict]) -> np.ndarray:
    """Slope, gain and shift with the least mean error."""
    best = np.array(BEGIN)
    for _ in range(3):  # the search ends early where it is bent
        best = minimize(lambda x: errors(rows, x).mean(), best, method="Nelder-Mead").x
    return best


def errors(rows: list[dict], calibration: np.ndarray | tuple[float, float, float]) -> np.ndarray:
    """How far the mean that is expected of each filling is from the true one."""
    slope, gain, shift = calibration
    result = []
    for row in rows:
        counts, promised, dice = (np.array(row[key].split(";"), float) for key in ("drawn", "promised", "dice"))
        expected = expit(slope * logit(promised) + gain * np.log(counts + 0.5) + shift)
        result.append(np.nanmean(expected) - np.nanmean(dice))
    return np.abs(result)


def report(rows: list[dict]) -> str:
    """The fit, and what it brings on volumes that it was not made on."""
    volumes = list(dict.fromkeys((row["set"], row["case"]) for row in rows))
    left_out = []
    for fold in range(FOLDS):
        own = set(volumes[fold::FOLDS])
        parts = [[row for row in rows if ((row["set"], row["case"]) in own) == inside] for inside in (False, True)]
        left_out += errors(parts[1], fit(parts[0])).tolist()
    best = fit(rows)
    lines = [
        "# The Dice that filling expects", "",
        f"Mean error over {len(rows)} fillings of {len(volumes)} training volumes. Made by",
        "`Testing/benchmarks/fill_calibration.py`.", "",
        "| | slope | drawn slices | shift | mean error |", "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for title, way in (("before", BEFORE), ("in the engine", decision._CALIBRATION), ("best fit", best)):
        cells = [f"{one:.2f}" for one in way]
        lines.append(f"| {title} | {' | '.join(cells)} | {errors(rows, way).mean():.4f} |")
    lines.append(f"| fitted on other volumes | | | | {np.mean(left_out):.4f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
