r"""From filling to a model: Dice of models that learnt from drawn slices, filled ones with them, or whole volumes.

    python Testing/benchmarks/fill_to_model.py --data DATA/acdc --work WORK --minutes 10 --seeds 0,1,2

Of five training volumes every third slice counts as drawn. ``drawn`` trains on these slices alone, ``filled`` also on
what ``sam2adapt fill`` makes of those between, and ``whole`` on all slices as they are in truth; all three for as many
minutes, or, on a machine that does other things too, for as many steps (``--steps``). Finished runs are JSON files in
WORK and are not repeated. ``results/fill_to_model.md`` gets the table. Settings are chosen with ``--choose 20``, which
measures on 20 other training volumes in the place of the validation volumes, and with an ``--output`` elsewhere.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
from learning_curve import in_order
from sam2adapt.evaluation.cases import Case, find_cases, read_split, select
from sam2adapt.evaluation.evaluate import evaluate
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import read_labels, read_volume, write_labels
from sam2adapt.requests.fill import fill
from sam2adapt.requests.train import train
from sam2adapt.segmenting.model import load_model
from sam2adapt.shared.files import write_json
from sam2adapt.shared.labels.annotation import IGNORE
from sam2adapt.shared.requests.actions import Fill, Train

RESULTS = Path(__file__).resolve().parent / "results"
CLASSES = {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}
ARMS = ("whole", "filled", "drawn")
VOLUMES, EVERY = 5, 3


def make_folders(cases: list[Case], work: Path) -> dict[str, float]:
    """Write the images and, for each arm, the labels; gives the Dice of the filled slices of each volume."""
    structures = [describe(value, name) for value, name in {**CLASSES, IGNORE: "not annotated"}.items()]
    found = {}
    for folder in ("images", *ARMS):
        (work / folder).mkdir(parents=True, exist_ok=True)
    for case in cases:
        image = work / "images" / case.image.name
        if not image.exists():
            image.symlink_to(case.image.resolve())
        volume, truth = read_volume(case.image), read_labels(case.label).array[0]
        sparse = np.full_like(truth, IGNORE)
        drawn = sorted({*range(0, len(truth), EVERY), len(truth) - 1})
        sparse[drawn] = truth[drawn]
        for arm, labels in (("whole", truth), ("drawn", sparse)):
            write_labels(work / arm / case.image.name, volume.with_array(labels), structures, volume)
        request = Fill(
            input=case.image, drawings=work / "drawn" / case.image.name, structures=list(CLASSES.values()),
            masks=work / "filled" / case.image.name, for_training=True,
        )  # fmt: skip
        masks = fill(request).result.masks
        between = [k for k in range(len(truth)) if k not in drawn]
        scores = [_dice(masks[value - 1][between], truth[between] == value) for value in CLASSES]
        found[case.id] = round(float(np.mean(scores)), 4)
    return found


def _dice(mask: np.ndarray, truth: np.ndarray) -> float:
    return 2 * float((mask & truth).sum()) / max(1, int(mask.sum()) + int(truth.sum()))


def perform(arm: str, seed: int, val: list[Case], args: argparse.Namespace) -> dict:
    """Train one model and measure it on the validation volumes."""
    output = args.work / f"{_run_name(arm, seed, args)}.safetensors"
    request = Train(
        images=args.work / "images", labels=args.work / arm, preset=args.preset, seed=seed, output=output,
        classes=[{"id": value, "name": name} for value, name in CLASSES.items()], all_for_training=True,
        filled_weight=args.filled_weight, max_minutes=None if args.steps else args.minutes, steps=args.steps,
        epochs=10_000, keep_pieces=True,
    )  # fmt: skip
    cpu, started = time.process_time(), time.perf_counter()
    trained = train(request)
    minutes, cpu = (time.perf_counter() - started) / 60, (time.process_time() - cpu) / 60
    started = time.perf_counter()
    metrics = evaluate(load_model(output), val)
    measuring = (time.perf_counter() - started) / 60
    return {
        "arm": arm, "seed": seed, "dice": metrics["dice"], "hd95": metrics["hd95"], "epochs": trained["epochs"],
        "steps": args.steps, "minutes": round(minutes, 2), "cpu_minutes": round(cpu, 2),
        "measuring_minutes": round(measuring, 2),
    }  # fmt: skip


def _run_name(arm: str, seed: int, args: argparse.Namespace) -> str:
    budget = f"{args.steps}-steps" if args.steps else f"{args.minutes:g}-minutes"
    weight = f"-{args.filled_weight:g}" if arm == "filled" else ""
    return f"{arm}{weight}-{seed}-{budget}-{f'train{args.choose}' if args.choose else 'val'}"


def write_table(results: list[dict], filled: dict[str, float], args: argparse.Namespace, volumes: int) -> None:
    """Write the table and what became of the targets."""
    budget = f"{args.steps} steps" if args.steps else f"{args.minutes:g} minutes"
    seeds = sorted({row["seed"] for row in results})
    means = {arm: _mean(results, arm) for arm in ARMS}
    title = (
        f"**acdc**, {VOLUMES} training volumes, every {EVERY}rd slice and the last drawn, {budget} each, preset"
        f" `{args.preset}`, filled slices weigh {args.filled_weight:g}; Dice on {volumes} other volumes,"
        f" {os.cpu_count()} cores shared with others. Filled slices themselves: {np.mean([*filled.values()]):.3f}."
    )
    lines = [
        title,
        "",
        f"| trained on | {' | '.join(f'seed {seed}' for seed in seeds)} | mean | {' | '.join(CLASSES.values())} |",
        "| --- |" + " --- |" * (len(seeds) + 1 + len(CLASSES)),
    ]
    titles = {"whole": "whole volumes", "filled": "drawn and filled slices", "drawn": "drawn slices only"}
    for arm in ARMS:
        rows = {row["seed"]: row for row in results if row["arm"] == arm}
        cells = [f"{rows[seed]['dice']['mean']:.3f}" if seed in rows else "-" for seed in seeds]
        classes = [f"{np.mean([row['dice'][name] for row in rows.values()]):.3f}" if rows else "-"
                   for name in CLASSES.values()]  # fmt: skip
        lines.append(f"| {titles[arm]} | {' | '.join(cells)} | {means[arm]:.3f} | {' | '.join(classes)} |")
    share, gain = means["filled"] / means["whole"], means["filled"] - means["drawn"]
    verdict = (
        f"Share of whole volumes: {share:.3f} (target 0.95, {'holds' if share >= 0.95 else 'falls short'}); gain over"
        f" drawn slices: {gain:+.3f} (target +0.03, {'holds' if gain >= 0.03 else 'falls short'})."
    )
    lines += ["", verdict, ""]
    RESULTS.mkdir(exist_ok=True)
    args.output.write_text("\n".join(lines), encoding="utf-8")
    print("\n".join(lines))


def _mean(results: list[dict], arm: str) -> float:
    values = [row["dice"]["mean"] for row in results if row["arm"] == arm]
    return float(np.mean(values)) if values else float("nan")


def main() -> None:
    """Do the runs that are missing, seed by seed, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the pack acdc")
    parser.add_argument("--work", type=Path, required=True, help="folder for labels, models and finished runs")
    parser.add_argument("--minutes", type=float, default=10, help="of each training (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="of the optimiser, in the place of --minutes")
    parser.add_argument("--seeds", default="0,1,2", help="(default: %(default)s)")
    parser.add_argument("--preset", default="nano", help="(default: %(default)s)")
    parser.add_argument("--filled-weight", type=float, default=Train.filled_weight, help="(default: %(default)s)")
    parser.add_argument("--arms", default=",".join(ARMS), help="(default: %(default)s)")
    parser.add_argument("--choose", type=int, metavar="N", help="measure on N other training volumes, not on val")
    parser.add_argument("--output", type=Path, default=RESULTS / "fill_to_model.md")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    cases, split = find_cases(args.data / "images", args.data / "labels"), read_split(args.data / "split.json")
    ordered = in_order(select(cases, split, "train"), split["train"], 0)
    chosen, others = ordered[:VOLUMES], ordered[VOLUMES:]
    val = others[: args.choose] if args.choose else select(cases, split, "val")
    filled = make_folders(chosen, args.work)
    results = []
    for seed in map(int, args.seeds.split(",")):
        for arm in args.arms.split(","):
            path = args.work / f"{_run_name(arm, seed, args)}.json"
            if not path.is_file():
                write_json(path, perform(arm, seed, val, args))
            results.append(json.loads(path.read_text(encoding="utf-8")))
            print(f"{arm}, seed {seed}: Dice {results[-1]['dice']['mean']:.3f}", flush=True)
    write_table(results, filled, args, len(val))


if __name__ == "__main__":
    main()
