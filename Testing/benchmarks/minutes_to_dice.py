"""Whether a training reaches in half of the minutes the Dice of another checkout of this project.

git worktree add ../before 9979816
python Testing/benchmarks/minutes_to_dice.py --against ../before --data DATA --work WORK [--sets acdc,hippocampus]

The other checkout trains on a few volumes for ``--minutes``, this one for a share of them; Dice is that of the best
epoch on one volume of each case of ``val``, validations included in the time. On a machine that has other work, name
the seconds that a step takes in both (``training_steps.py --clock``) with ``--step-seconds``: then steps are counted
instead of minutes. Finished runs stay in WORK and are not repeated.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

import builds
from benchmark_sets import SETS

sys.path.insert(0, str(builds.ROOT / "SAM2Adapt"))
from sam2adapt.evaluation.cases import find_cases


def main(arguments: list[str] | None = None) -> None:
    """Train what is missing, and print."""
    options = builds.options(__doc__, rounds=1)
    options.add_argument("--data", type=Path, required=True, help="folder of the data sets")
    options.add_argument("--work", type=Path, required=True, help="folder for the runs")
    options.add_argument("--sets", default="acdc,hippocampus", help="(default: %(default)s)")
    options.add_argument("--preset", default="nano", help="(default: %(default)s)")
    options.add_argument("--volumes", type=int, default=5, help="to train on (default: %(default)s)")
    options.add_argument("--minutes", type=float, default=10, help="of the other checkout (default: %(default)s)")
    options.add_argument("--share", type=float, default=0.5, help="of them for this one (default: %(default)s)")
    options.add_argument("--step-seconds", help="of the other checkout and this one: count steps, not minutes")
    options.set_defaults(threads=2)
    args = builds.parse(options, arguments)
    args.work.mkdir(parents=True, exist_ok=True)
    unit = f"in steps of {args.step_seconds} s" if args.step_seconds else "by the clock"
    lines = [f"`{args.preset}`, {args.volumes} volumes, {args.threads} threads, minutes {unit}.", ""]
    lines += ["| | seed | minutes before | Dice | minutes now | Dice | it had as much after |", "| --- " * 7 + "|"]
    for name in args.sets.split(","):
        for seed in range(args.rounds):
            lines.append(_row(name, seed, args))
            print(lines[-1], file=sys.stderr, flush=True)
    builds.show("\n".join(lines) + "\n", args.markdown)


def _row(name: str, seed: int, args: argparse.Namespace) -> str:
    minutes = args.minutes, args.minutes * args.share
    curves = [_curve(build, name, seed, m, args) for build, m in zip((args.against, builds.ROOT), minutes, strict=True)]
    before, now = (max(dice for _, dice in curve) for curve in curves)
    share = next((share for share, dice in curves[1] if dice >= before), None)
    reached = "not" if share is None else f"{share * minutes[1]:.1f} minutes"
    return f"| {name} | {seed} | {minutes[0]:g} | {before:.3f} | {minutes[1]:g} | {now:.3f} | {reached} |"


def _curve(build: Path, name: str, seed: int, minutes: float, args: argparse.Namespace) -> list[tuple[float, float]]:
    """Share of the run that was done, and Dice, at each validation."""
    run = args.work / f"{name}-{args.preset}-{args.volumes}-{build.name}-{minutes:g}-{seed}"
    output, done = run / "model.safetensors", run / "done.json"
    if not done.exists():
        run.mkdir(exist_ok=True)
        limit = ["--max-minutes", str(minutes)]
        if args.step_seconds:
            seconds = [float(text) for text in args.step_seconds.split(",")][build == builds.ROOT]
            limit = ["--steps", str(round(60 * minutes / seconds))]
        data, classes = args.data / name, SETS[name].classes
        command = ["train", "--images", data / "images", "--labels", data / "labels", "--split", run / "split.json"]
        command += ["--classes", ",".join(f"{value}={text}" for value, text in classes.items()), *limit]
        command += ["--preset", args.preset, "--seed", str(seed), "--device", "cpu", "-o", output]
        (run / "split.json").write_text(json.dumps(_split(data, args.volumes)))
        builds.run(build, command, args, run)
        done.write_text("{}")
    rows = list(csv.DictReader((run / "model.run" / "log.csv").open()))
    last = float(rows[-1]["seconds"])
    return [(float(row["seconds"] or 0) / last, float(row["dice mean"])) for row in rows if row["dice mean"]]


def _split(data: Path, volumes: int) -> dict[str, list[str]]:
    """One volume of each case, of cine MR the two phases by turns: the first few to train on, and all of ``val``."""
    parts, cases = json.loads((data / "split.json").read_text()), find_cases(data / "images", data / "labels")
    chosen = {}
    for part in ("train", "val"):
        volumes_of = [[case.id for case in cases if case.id.startswith(entry)] for entry in parts[part]]
        chosen[part] = [names[number % len(names)] for number, names in enumerate(volumes_of)]
    return {"train": chosen["train"][:volumes], "val": chosen["val"]}


if __name__ == "__main__":
    main()
