r"""Continuing a model with a few corrected volumes: quick adapt against all adapters, seconds an epoch and Dice.

    python Testing/benchmarks/quick_adapt.py --data DATA/acdc --model MODEL --work WORK [--volumes 5]

The volumes are the last of those in the order of ``learning_curve.py``, which its models with up to 20 have not seen.
Times are of the processor, so that what else the machine does counts little; the epoch's validation is not in them.
"""

import argparse
import json
import time
from pathlib import Path

from accuracy import machine
from benchmark_sets import SETS
from learning_curve import DATA_SET, in_order
from sam2adapt.cli.progress import Bar
from sam2adapt.evaluation.cases import Case, find_cases, read_split, select
from sam2adapt.evaluation.evaluate import evaluate
from sam2adapt.imaging.terminology import describe
from sam2adapt.modelfiles.bundle import read_card
from sam2adapt.segmenting.model import load_model
from sam2adapt.training.run import train
from sam2adapt.training.settings import TrainRequest, TrainSettings


def adapt(cases: list[Case], args: argparse.Namespace, epochs: int, quick: bool) -> dict:
    """Continue the model; gives the model's path and CPU seconds of what is done once and of an epoch."""
    card = read_card(args.model)
    output = args.work / f"{'quick' if quick else 'full'}.safetensors"
    request = TrainRequest(
        cases=cases,
        output=output,
        structures=[describe(value, name) for value, name in SETS[DATA_SET].classes.items()],
        base=card["base"]["id"],
        method=card["method"]["name"],
        method_settings=card["method"]["settings"],
        settings=TrainSettings(epochs=epochs, quick=quick, seed=args.seed),
        split={"train": [case.id for case in cases], "val": []},
        init=str(args.model),
        keep_slices=False,
        keep_pieces=True,  # what the network finds
        **card["network"],
    )
    bar, started, ends = Bar(output.stem, "%"), time.process_time(), {}

    def progress(state) -> None:
        ends[state.epoch] = time.process_time()
        bar.update(state.fraction * 100, 100, f"epoch {state.epoch} of {epochs}")

    train(request, progress)
    bar.close()
    seconds = [ends[epoch] - ends.get(epoch - 1, started) for epoch in range(2, epochs + 1)]
    return {
        "output": output,
        "once": ends[1] - started - seconds[0],
        "epoch": sum(seconds) / len(seconds),
        "trained": read_card(output)["training"]["parameters"]["trained"],
    }


def main() -> None:
    """Continue the model both ways; what is known is printed at once, so that a run broken off leaves its part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the pack acdc")
    parser.add_argument("--model", type=Path, required=True, help="model of acdc to continue")
    parser.add_argument("--work", type=Path, required=True, help="folder for the new models")
    parser.add_argument("--volumes", type=int, default=5, help="(default: %(default)s)")
    parser.add_argument("--quick", type=int, default=12, help="epochs (default: %(default)s)")
    parser.add_argument("--full", type=int, default=4, help="epochs (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    cases, split = find_cases(args.data / "images", args.data / "labels"), read_split(args.data / "split.json")
    corrected = in_order(select(cases, split, "train"), split["train"], args.seed)[-args.volumes :]
    val_cases = select(cases, split, "val")

    def show(row: dict, model: Path) -> None:
        row["dice"] = evaluate(load_model(model), val_cases)["dice"]["mean"]
        print(json.dumps({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}), flush=True)

    print(f"{args.volumes} volumes, {len(val_cases)} for validation, seed {args.seed}, {machine()}", flush=True)
    show({"way": "before"}, args.model)
    for way, epochs in (("quick", args.quick), ("full", args.full)):
        found = adapt(corrected, args, epochs, way == "quick")
        output = found.pop("output")
        show({"way": way, "epochs": epochs, **found}, output)


if __name__ == "__main__":
    main()
