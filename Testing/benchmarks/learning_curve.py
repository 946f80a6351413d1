r"""Dice on the validation cases against the number of corrected volumes, as a user who corrects ever more sees it.

    python Testing/benchmarks/learning_curve.py --data DATA/acdc --work WORK [--counts 1,2,5,10,20] [--steps 250]

Each run starts anew from the base and takes as many steps of the optimiser, so what grows is only what there is to
learn from. The volumes are nested: the first of the five are the two. Of every patient one volume is taken, end
diastole and end systole by turns. Finished runs are JSON files in WORK and are not repeated.
"""

import argparse
import json
import random
import time
from pathlib import Path

from accuracy import machine
from benchmark_sets import SETS
from contenders import Contender, fit
from sam2adapt.evaluation.cases import Case, find_cases, read_split, select
from sam2adapt.evaluation.evaluate import evaluate
from sam2adapt.imaging.terminology import describe
from sam2adapt.shared.files import atomic_write
from sam2adapt.training.settings import TrainRequest, TrainSettings

RESULTS = Path(__file__).resolve().parent / "results"
DATA_SET = "acdc"


def in_order(cases: list[Case], entries: list[str], seed: int) -> list[Case]:
    """One volume of each patient, in an order drawn with the seed."""
    patients = sorted(entries)
    random.Random(seed).shuffle(patients)
    volumes = [[case for case in cases if case.id.startswith(patient)] for patient in patients]
    return [found[number % len(found)] for number, found in enumerate(volumes)]


def perform(cases: list[Case], val_cases: list[Case], output: Path, args: argparse.Namespace) -> dict:
    """Train on the cases, and evaluate the exported model as a user would get it."""
    classes = SETS[DATA_SET].classes
    request = TrainRequest(
        cases=cases,
        output=output,
        structures=[describe(value, name) for value, name in classes.items()],
        base=args.base,
        method=args.method,
        settings=TrainSettings(steps=args.steps, seed=args.seed),
        split={"train": [case.id for case in cases], "val": []},
        keep_slices=False,
        keep_pieces=True,  # what the network finds, alike for all numbers of volumes
    )
    started = time.process_time()
    model, training = fit(request, Contender(args.method))
    seconds = time.process_time() - started
    metrics = evaluate(model, val_cases)
    return {
        "volumes": len(cases), "slices": _slices(cases), "base": args.base, "method": args.method, "steps": args.steps,
        "seed": args.seed, "cpu_minutes": round(seconds / 60, 2), "machine": machine(), "dice": metrics["dice"],
        "hd95": metrics["hd95"], "training": training,
    }  # fmt: skip


def _slices(cases: list[Case]) -> int:
    from sam2adapt.imaging.volume import read_labels

    return sum(int(read_labels(case.label).array[0].any(axis=(1, 2)).sum()) for case in cases)


def write_results(results: list[dict]) -> None:
    """Write ``learning_curve.md`` and ``learning_curve.png``."""
    RESULTS.mkdir(exist_ok=True)
    names = [name for name in results[0]["dice"] if name != "mean"]
    first = results[0]
    title = f"**acdc** (val, 20 volumes), base `{first['base']}`, method `{first['method']}`, {first['steps']} steps"
    lines = [
        f"{title}, seed {first['seed']}, {first['machine']}",
        "",
        f"| corrected volumes | slices with structures | Dice | {' | '.join(names)} | CPU minutes |",
        "| --- |" + " --- |" * (len(names) + 3),
    ]
    for result in results:
        dice = [f"{result['dice'][name]:.3f}" for name in ("mean", *names)]
        lines.append(f"| {result['volumes']} | {result['slices']} | {' | '.join(dice)} | {result['cpu_minutes']:.1f} |")
    (RESULTS / "learning_curve.md").write_text("\n".join([*lines, ""]), encoding="utf-8")
    _figure(results, names)


def _figure(results: list[dict], names: list[str]) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2, 3.2), layout="constrained")
    axes = figure.subplots()
    counts = [result["volumes"] for result in results]
    for name in names:
        axes.plot(counts, [result["dice"][name] for result in results], "o-", alpha=0.5, label=name)
    axes.plot(counts, [result["dice"]["mean"] for result in results], "ko-", linewidth=2, label="mean")
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set(xlabel="corrected volumes", ylabel="Dice on 20 other volumes", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize=8)
    figure.savefig(RESULTS / "learning_curve.png", dpi=110)


def main() -> None:
    """Do the runs that are missing and write table and figure after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the pack acdc")
    parser.add_argument("--work", type=Path, required=True, help="folder for models and finished runs")
    parser.add_argument("--counts", default="1,2,5,10,20", help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=250, help="of the optimiser (default: %(default)s)")
    parser.add_argument("--method", default="dual-lw", help="(default: %(default)s)")
    parser.add_argument("--base", default="nano", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    cases, split = find_cases(args.data / "images", args.data / "labels"), read_split(args.data / "split.json")
    ordered = in_order(select(cases, split, "train"), split["train"], args.seed)
    val_cases, results = select(cases, split, "val"), []
    for count in map(int, args.counts.split(",")):
        name = f"curve-{args.method}-{args.base}-{args.steps}-{args.seed}-{count}"
        path = args.work / f"{name}.json"
        if not path.is_file():
            result = perform(ordered[:count], val_cases, args.work / f"{name}.safetensors", args)
            with atomic_write(path) as file:
                file.write(json.dumps(result, indent=1).encode())
        results.append(json.loads(path.read_text("utf-8")))
        print(f"{count} volumes: Dice {results[-1]['dice']['mean']:.3f}", flush=True)
        write_results(results)


if __name__ == "__main__":
    main()
