r"""What is learnt from a few cases in a few minutes: the preset that the panel proposes, U-Nets, and a random forest.

    python Testing/benchmarks/learning_from_little.py --data DATA --work WORK --choose
    python Testing/benchmarks/learning_from_little.py --data DATA --work WORK [--sets acdc,la] [--counts 5] \
        [--seeds 0,1,2] [--minutes 10] [--methods nano,BasicUNet,PlainConvUNet,forest]

A cell is one method on one drawing of cases of a set: trained for as many minutes as all others, reading and validation
included, and measured on the set's validation cases, of which no epoch is chosen. Each finished cell is a row of
``results/learning_from_little.csv``; a command does the cells that are missing, and writes the table after each. Run it
on a machine that does nothing else: the load at the end of each cell stands in its row.

What is in one piece in the volumes drawn loses its smaller pieces, as the product does it, whatever found it (of the
forest, the better of both counts).

``--choose`` finds, for each U-Net and set, crop and rate among a few, in a third of the minutes, on training cases
alone: drawn ones to learn from, and as many others to judge on. ``results/learning_from_little.json`` keeps them.
"""

import argparse
import csv
import itertools
import json
import os
import random
from collections import defaultdict
from pathlib import Path

import numpy as np
import torch
from benchmark_sets import ALL_SETS, by_patient, parts_of, wanted_sets
from contenders import CONTENDERS, OUTSIDERS, fit
from pixel_forest import PixelForest
from sam2adapt.evaluation.cases import Case
from sam2adapt.evaluation.evaluate import evaluate
from sam2adapt.imaging.terminology import describe
from sam2adapt.shared.files import write_json
from sam2adapt.training.prepare import fingerprint
from sam2adapt.training.settings import TrainRequest, TrainSettings, usual_rate

RESULTS = Path(__file__).resolve().parent / "results"
ROWS, CHOSEN = RESULTS / "learning_from_little.csv", RESULTS / "learning_from_little.json"
FIELDS = ("set", "method", "count", "seed", "minutes", "dice", "classes", "steps", "load", "threads")
SETS = ("acdc", "la", "hippocampus", "curvas2d", "spider2d")
PICTURES = {"curvas2d": 4, "spider2d": 4}  # cases of two dimensions that stand for one volume: 20 for five
FOREST, PROPOSED = "forest", "nano"
METHODS = (PROPOSED, *OUTSIDERS, FOREST)
CROPS, RATES = (96, 160, 224), (1e-3, 3e-3)  # that U-Nets may have
GAIN = 0.03  # by which the proposed preset is asked to be ahead, on average over sets


def drawing(name: str, cases: list[Case], count: int, seed: int) -> list[Case]:
    """Cases to learn from, drawn with a seed; smaller drawings are part of larger ones. Of a patient, one volume."""
    patients = by_patient(cases)
    order = list(patients)
    random.Random(seed).shuffle(order)
    chosen = order[: count * PICTURES.get(name, 1)]
    return [patients[patient][number % len(patients[patient])] for number, patient in enumerate(chosen)]


def perform(name: str, method: str, cases: list[Case], tests: list[Case], seed: int, args: argparse.Namespace,
            minutes: float, given: dict) -> dict:  # fmt: skip
    """Train one method and measure it.

    :param given: settings of the training that are not the set's own.
    :return: Dice of the structures and their "mean", and the steps, or trees, that there was time for.
    """
    known = ALL_SETS[name]
    structures = [describe(value, title) for value, title in known.classes.items()]
    settings = TrainSettings(max_minutes=minutes, epochs=10_000, seed=seed, **known.settings | given)
    if method == FOREST:
        learnt = fingerprint(cases, structures, settings)
        forest = PixelForest(structures, learnt.slices, torch.get_num_threads(), seed)
        trees = forest.fit(cases, minutes)
        return {"dice": forest.evaluate(tests, learnt.pieces.steps()), "steps": trees}
    contender = CONTENDERS[method]
    options = {"output": args.work / f"{name}-{method}-{len(cases)}-{seed}.safetensors", "structures": structures}
    output = options["output"]
    for path in (output, output.with_suffix(".run") / "checkpoint.pt"):
        path.unlink(missing_ok=True)  # of a run that was broken off: its minutes are not known
    request = TrainRequest(
        cases=cases, method=contender.method, method_settings=contender.settings, settings=settings,
        split={"train": [case.id for case in cases], "val": []}, keep_slices=False,
        train_upscaling=True if method == PROPOSED else None, **options,
    )  # fmt: skip
    model, training = fit(request, contender)
    return {"dice": evaluate(model, tests)["dice"], "steps": training.get("steps", "")}


def choose(name: str, args: argparse.Namespace) -> dict[str, dict]:
    """Crop and rate of each U-Net, the best on training cases that it has not learnt from."""
    train = parts_of(name, args.data, args.work).train
    both = drawing(name, train, 10, 0)
    cases, tests = both[: len(both) // 2], both[len(both) // 2 :]
    found = {}
    for method in OUTSIDERS:
        scores = {}
        for crop, rate in itertools.product(CROPS, RATES):
            given = {"crop": crop, "learning_rate": rate}
            score = perform(name, method, cases, tests, 0, args, args.minutes / 3, given)["dice"]["mean"]
            scores[crop, rate] = score
            print(f"{name}, {method}, crop {crop}, rate {rate:g}: {score:.3f}", flush=True)
        crop, rate = max(scores, key=scores.get)
        found[method] = {"crop": crop, "learning_rate": rate}
    return found


def run_cells(args: argparse.Namespace) -> None:
    """Do the cells that are missing, and write row and table after each."""
    chosen = json.loads(CHOSEN.read_text("utf-8")) if CHOSEN.is_file() else {}
    cells = itertools.product(
        wanted_sets(args.sets, args.data), map(int, args.counts.split(",")), map(int, args.seeds.split(",")),
        args.methods.split(","),
    )  # fmt: skip
    for name, count, seed, method in cells:
        rows = read_rows()
        if any((r["set"], r["method"], int(r["count"]), int(r["seed"])) == (name, method, count, seed) for r in rows):
            continue
        if method in OUTSIDERS and name not in chosen:
            raise SystemExit(f"Crop and rate of {method} on {name} are not chosen yet: run --choose --sets {name}.")
        parts = parts_of(name, args.data, args.work)
        cases, tests = drawing(name, parts.train, count, seed), parts.tests[name]
        given = chosen[name][method] if method in OUTSIDERS else {"learning_rate": usual_rate("nano")}
        found = perform(name, method, cases, tests, seed, args, args.minutes, given)
        row = {
            "set": name, "method": method, "count": count, "seed": seed, "minutes": f"{args.minutes:g}",
            "dice": f"{found['dice']['mean']:.4f}", "steps": found["steps"], "load": f"{os.getloadavg()[1]:.1f}",
            "classes": ";".join(f"{value:.4f}" for key, value in found["dice"].items() if key != "mean"),
            "threads": torch.get_num_threads(),
        }  # fmt: skip
        new = not ROWS.exists()
        with ROWS.open("a", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, FIELDS)
            if new:
                writer.writeheader()
            writer.writerow(row)
        print(f"{name}, {count}, seed {seed}, {method}: {row['dice']}", flush=True)
        ROWS.with_suffix(".md").write_text(table(read_rows()), encoding="utf-8")


def read_rows() -> list[dict]:
    """The cells that are done."""
    if not ROWS.exists():
        return []
    with ROWS.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def table(rows: list[dict]) -> str:
    """Mean and range of Dice over seeds, a line for each set and number of cases, and by how much ours is ahead."""
    cells = defaultdict(lambda: defaultdict(list))
    for row in rows:
        cells[row["set"], int(row["count"])][row["method"]].append(float(row["dice"]))
    methods = [method for method in METHODS if any(method in own for own in cells.values())]
    lines = [
        "# Learning from little", "",
        f"Dice on the validation cases after {rows[0]['minutes']} minutes on {rows[0]['threads']} threads, mean over",
        "drawings of cases with their range; no epoch is chosen. Of sets of pictures, four count as one volume. Crop",
        "and rate of the U-Nets were chosen on training cases.",
        "Made by `Testing/benchmarks/learning_from_little.py`.", "",
        f"| set | volumes | {' | '.join(methods)} | ahead of the best other |",
        f"| --- | --- |{' --- |' * (len(methods) + 1)}",
    ]  # fmt: skip
    ahead = []
    for (name, count), own in sorted(cells.items()):
        others = [np.mean(values) for method, values in own.items() if method != PROPOSED]
        gain = np.mean(own[PROPOSED]) - max(others) if own[PROPOSED] and others else np.nan
        ahead += [gain] if np.isfinite(gain) and count == 5 else []
        shown = " | ".join(_cell(own[method]) for method in methods)
        lines.append(f"| {name} | {count} | {shown} | {gain:+.3f} |")
    if ahead:
        holds = "holds" if np.mean(ahead) >= GAIN and min(ahead) > 0 else "falls short"
        mean, least = np.mean(ahead), min(ahead)
        lines += [
            "",
            f"Of five volumes, ahead by {mean:+.3f} on average over {len(ahead)} sets, by {least:+.3f} on the",
        ]
        lines += [f"least (asked: {GAIN:+.2f}, and ahead on each): {holds}."]
    return "\n".join([*lines, ""])


def _cell(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else f"{values[0]:.3f}"


def main() -> None:
    """Choose settings, or do what is missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the packs")
    parser.add_argument("--work", type=Path, required=True, help="folder for models")
    parser.add_argument("--sets", default=",".join(SETS), help="(default: %(default)s)")
    parser.add_argument("--counts", default="5", help="volumes to learn from (default: %(default)s)")
    parser.add_argument("--seeds", default="0,1,2", help="of drawings and trainings (default: %(default)s)")
    parser.add_argument("--methods", default=",".join(METHODS), help="(default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=10, help="of each training (default: %(default)s)")
    parser.add_argument("--choose", action="store_true", help="choose crop and rate of the U-Nets instead")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if not args.choose:
        run_cells(args)
        return
    chosen = json.loads(CHOSEN.read_text("utf-8")) if CHOSEN.is_file() else {}
    for name in wanted_sets(args.sets, args.data):
        if name not in chosen:
            write_json(CHOSEN, chosen := chosen | {name: choose(name, args)})


if __name__ == "__main__":
    main()
