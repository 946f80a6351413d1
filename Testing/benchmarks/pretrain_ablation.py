r"""What pretraining of the base is worth: each recipe with the same budget, then models on data that none has seen.

    python Testing/benchmarks/pretrain_ablation.py --data DATA --work WORK --minutes 10 [--fit-steps 250] \
        [--sets isbi2012,acdc] [--methods dual-lw+detail,full] [--start nano] [--fit-seeds 0,1,2] [--choose 10]

Options beside those below are those of ``pretrain.py``. ``--sets`` must be packs that no base is trained on; with
``--research`` they are left out of the pretraining. Finished bases and models in WORK are not made again. The table
goes to ``results/pretraining.md`` and ``.csv``; with ``--start``, where ``none`` is the base that all go on from, to
``pretraining_continued``. Recipes are chosen with ``--choose``, on training cases, and with ``--results`` elsewhere.
"""

import argparse
import csv
import itertools
import os
import statistics
from collections import defaultdict
from pathlib import Path

import accuracy
import pretrain
from benchmark_sets import PERMISSIVE, packs_of, wanted_sets

RECIPES = ("none", "supervised", "mae", "mae+supervised")


def write(rows: list[dict], about: str, output: Path) -> None:
    """Write the table as CSV, and as Markdown with a line a recipe, a column a set and method, and their mean.

    :param output: file without its ending.
    """
    output.parent.mkdir(parents=True, exist_ok=True)
    with output.with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    cells = defaultdict(list)
    for row in rows:
        cells[row["recipe"], row["data"], row["method"]].append(row["dice"])
    columns = list(dict.fromkeys((row["data"], row["method"]) for row in rows))
    seeds = ", ".join(sorted({str(row["seed"]) for row in rows}))
    lines = [
        f"{about}; seeds of the models: {seeds}, with the range where there are several", "",
        f"| recipe | {' | '.join(f'{data}, `{method}`' for data, method in columns)} | mean |",
        "| --- |" + " --- |" * (len(columns) + 1),
    ]  # fmt: skip
    for recipe in dict.fromkeys(row["recipe"] for row in rows):
        own = [cells[recipe, *column] for column in columns]
        mean = f"{statistics.mean(map(statistics.mean, own)):.4f}" if all(own) else "-"
        lines.append(f"| {recipe} | {' | '.join(map(_cell, own))} | {mean} |")
    output.with_suffix(".md").write_text("\n".join([*lines, ""]), encoding="utf-8")


def _cell(dice: list[float]) -> str:
    if not dice:
        return "-"
    spread = f" ({min(dice):.4f} to {max(dice):.4f})" if len(dice) > 1 else ""
    return f"{statistics.mean(dice):.4f}{spread}"


def main() -> None:
    """Make the bases and models that are missing, and write the table after each."""
    parser = pretrain.options()
    parser.description = __doc__
    parser.add_argument("--recipes", default=",".join(RECIPES), help="(default: %(default)s)")
    parser.add_argument("--sets", default="isbi2012,acdc", help="data sets to measure on (default: %(default)s)")
    parser.add_argument("--methods", default="dual-lw+detail", help="of accuracy.py (default: %(default)s)")
    parser.add_argument("--fit-steps", type=int, default=250, help="steps of each model (default: %(default)s)")
    parser.add_argument("--fit-seeds", default="0", help="of each model (default: %(default)s)")
    parser.add_argument("--fit-rate", type=float, help="of learning of each model (default: 0.001)")
    parser.add_argument("--fit-batch", type=int, help="slices of a step of each model (default: as always)")
    parser.add_argument("--fit-crop", type=int, help="side of the models' crops, pixels (default: as always)")
    parser.add_argument("--choose", type=int, metavar="N", help="test on N patients of the training part, not on val")
    parser.add_argument("--results", type=Path, default=accuracy.RESULTS, help="(default: %(default)s)")
    args = parser.parse_args()
    sets = wanted_sets(args.sets, args.data)
    if seen := [pack for name in sets for pack in packs_of(name) if pack in PERMISSIVE]:
        raise SystemExit(f"Every base has seen {seen[0]}. Measure on another data set.")
    args.without = ",".join(pack for name in sets for pack in packs_of(name))
    # Bases of a trial have no place among those that the user's models are made on.
    os.environ.setdefault("SAM2ADAPT_HOME", str(args.work / "home"))
    budget = f"{args.steps} steps" if args.steps else f"{args.minutes:g} minutes"
    tested = f"{args.choose} training patients kept apart" if args.choose else "val"
    about = (
        f"Dice on {tested} after {args.fit_steps} steps on bases pretrained for {budget}, batch"
        f" {args.batch}, seed {args.seed}"
        f"{f', from {args.start}' if args.start else ''}; {accuracy.machine()}"
    )
    output = args.results / ("pretraining_continued" if args.start else "pretraining")
    given = {"rate": args.fit_rate, "batch": args.fit_batch, "crop": args.fit_crop, "choose": args.choose}
    seeds = [int(seed) for seed in args.fit_seeds.split(",")]
    bases, rows = {}, []
    for recipe in args.recipes.split(","):
        bases[recipe] = args.work / f"nano-{recipe}.safetensors"
        if not bases[recipe].is_file():
            own = argparse.Namespace(**vars(args) | {"recipe": recipe, "work": args.work / recipe})
            pretrain.pretrain(own, bases[recipe])
        accuracy.make_known(str(bases[recipe]))
    for seed, data, method, recipe in itertools.product(seeds, sets, args.methods.split(","), bases):
        run = accuracy.Run(data, method, str(bases[recipe]), args.fit_steps, seed, **given)
        (row,) = accuracy.rows_of(accuracy.finished(run, args.data, args.work))
        rows.append({"recipe": recipe} | row)
        write(rows, about, output)


if __name__ == "__main__":
    main()
