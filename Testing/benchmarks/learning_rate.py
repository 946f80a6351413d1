r"""Which learning rate suits short trainings on ``nano``: the same runs at several rates, each method by itself.

    python Testing/benchmarks/learning_rate.py --data DATA --work WORK [--data-set acdc] [--steps 250] \
        [--methods lora,dual-lw,nano,full,BasicUNet] [--rates 0.001,0.003]

The rate is that of what a method adds; weights that the base had (``full``, the decoder's upscaling) keep theirs of
0.0003. Finished runs in WORK are not repeated. The table goes to ``results/learning_rate.md``.
"""

import argparse
from pathlib import Path

import accuracy
from benchmark_sets import ALL_SETS


def main() -> None:
    """Do the runs that are missing, and write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the packs")
    parser.add_argument("--work", type=Path, required=True, help="folder for models and finished runs")
    parser.add_argument("--data-set", choices=ALL_SETS, default="acdc", help="(default: %(default)s)")
    parser.add_argument("--methods", default="lora,dual-lw,nano,full,BasicUNet", help="(default: %(default)s)")
    parser.add_argument("--rates", default="0.001,0.003", help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, default=250, help="(default: %(default)s)")
    parser.add_argument("--base", default="nano", help="(default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--results", type=Path, default=accuracy.RESULTS, help="(default: %(default)s)")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    accuracy.make_known(args.base)
    rates = [float(rate) for rate in args.rates.split(",")]
    about = f"Dice on val of {args.data_set} after {args.steps} steps on `{Path(args.base).stem}`, seed {args.seed}"
    lines = [
        f"{about}; {accuracy.machine()}",
        "",
        f"| method | {' | '.join(f'rate {rate:g}' for rate in rates)} |",
        f"|{' --- |' * (1 + len(rates))}",
    ]
    for method in args.methods.split(","):
        cells = []
        for rate in rates:
            run = accuracy.Run(args.data_set, method, args.base, args.steps, args.seed, rate)
            rows = accuracy.rows_of(accuracy.finished(run, args.data, args.work))
            cells.append(", ".join(f"{row['dice']:.4f}" for row in rows))
        lines.append(f"| `{method}` | {' | '.join(cells)} |")
        args.results.mkdir(parents=True, exist_ok=True)
        (args.results / "learning_rate.md").write_text("\n".join([*lines, ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
