r"""What pretraining of the base is worth: each recipe with the same budget, then models on data that none has seen.

    python Testing/benchmarks/pretrain_ablation.py --data DATA --work WORK --minutes 10 [--fit-steps 250] \
        [--sets isbi2012,acdc] [--methods dual-lw+detail,full]

Options beside those below are those of ``pretrain.py``. ``--sets`` must be packs that no base is trained on; with
``--research`` they are left out of the pretraining. Finished bases and models in WORK are not made again. The table
goes to ``results/pretraining.md`` and ``.csv``.
"""

import argparse
import csv
import os
from pathlib import Path

import accuracy
import pretrain
from benchmark_sets import PERMISSIVE, packs_of, wanted_sets

RECIPES = ("none", "supervised", "mae", "mae+supervised")


def write(rows: list[dict], about: str, folder: Path) -> None:
    """Write the table as CSV, and as Markdown with a line a recipe and a column a set and method."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "pretraining.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    columns = list(dict.fromkeys((row["data"], row["method"]) for row in rows))
    found = {(row["recipe"], row["data"], row["method"]): row["dice"] for row in rows}
    lines = [
        about, "", f"| recipe | {' | '.join(f'{data}, `{method}`' for data, method in columns)} |",
        "| --- |" + " --- |" * len(columns),
    ]  # fmt: skip
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        cells = [f"{found[recipe, *column]:.4f}" if (recipe, *column) in found else "-" for column in columns]
        lines.append(f"| {recipe} | {' | '.join(cells)} |")
    (folder / "pretraining.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


def main() -> None:
    """Make the bases and models that are missing, and write the table after each."""
    parser = pretrain.options()
    parser.description = __doc__
    parser.add_argument("--recipes", default=",".join(RECIPES), help="(default: %(default)s)")
    parser.add_argument("--sets", default="isbi2012,acdc", help="data sets to measure on (default: %(default)s)")
    parser.add_argument("--methods", default="dual-lw+detail", help="of accuracy.py (default: %(default)s)")
    parser.add_argument("--fit-steps", type=int, default=250, help="steps of each model (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=accuracy.RESULTS, help="(default: %(default)s)")
    args = parser.parse_args()
    sets = wanted_sets(args.sets, args.data)
    if seen := [pack for name in sets for pack in packs_of(name) if pack in PERMISSIVE]:
        raise SystemExit(f"Every base has seen {seen[0]}. Measure on another data set.")
    args.without = ",".join(pack for name in sets for pack in packs_of(name))
    # Bases of a trial have no place among those that the user's models are made on.
    os.environ.setdefault("SAM2ADAPT_HOME", str(args.work / "home"))
    budget = f"{args.steps} steps" if args.steps else f"{args.minutes:g} minutes"
    about = (
        f"Dice on val after {args.fit_steps} steps on bases pretrained for {budget}, batch {args.batch}, seed"
        f" {args.seed}; {accuracy.machine()}"
    )
    rows = []
    for recipe in args.recipes.split(","):
        base = args.work / f"nano-{recipe}.safetensors"
        if not base.is_file():
            own = argparse.Namespace(**vars(args) | {"recipe": recipe, "work": args.work / recipe})
            pretrain.pretrain(own, base)
        accuracy.make_known(str(base))
        for data in sets:
            for method in args.methods.split(","):
                run = accuracy.Run(data, method, str(base), args.fit_steps, args.seed)
                (row,) = accuracy.rows_of(accuracy.finished(run, args.data, args.work))
                rows.append({"recipe": recipe} | row)
                write(rows, about, args.results)


if __name__ == "__main__":
    main()
