r"""Train every method from the same base with the same budget on real data sets, and write how well each does.

    python Testing/benchmarks/accuracy.py --data DATA --work WORK [--sets acdc,drive] [--methods head,lora] \
        [--seeds 0,1] [--steps 1000]

DATA holds the packs (images/, labels/, split.json). Methods of one data set see the same samples in the same order,
augmented alike, for as many steps of the optimiser; none is chosen by its validation score, the last weights count.
Each finished run is a JSON file in WORK and is not repeated; a broken one goes on from its last whole epoch. The tables
in ``results`` are written anew from all finished runs after each. After a change of ``SETS``, take another WORK.
"""

import argparse
import csv
import importlib.util
import json
import platform
import statistics
from dataclasses import dataclass
from pathlib import Path

import SimpleITK as sitk
import torch
from sam2adapt.adapters import METHODS
from sam2adapt.bundle import read_bundle
from sam2adapt.evaluate import evaluate
from sam2adapt.files import atomic_write
from sam2adapt.model import load_model
from sam2adapt.progress import Bar
from sam2adapt.terminology import describe
from sam2adapt.training.cases import Case, find_cases, read_split, select
from sam2adapt.training.losses import IGNORE
from sam2adapt.training.run import TrainRequest, train
from sam2adapt.training.settings import TrainSettings

RESULTS = Path(__file__).resolve().parent / "results"
REFERENCE = "head"
ANY_WAY_UP = {"rotation": 180.0, "flips": [0, 1]}


@dataclass(frozen=True)
class DataSet:
    """What the benchmark has to know of a data set.

    :param classes: names of the label values.
    :param settings: those of ``TrainSettings`` that the data ask for.
    :param field_of_view: only pixels inside ``fov/`` are evaluated.
    :param distances: what the unit of HD95 is.
    :param steps: of the optimiser, enough to tell the methods apart.
    """

    classes: dict[int, str]
    settings: dict
    field_of_view: bool = False
    distances: str = "pixels"
    steps: int = 250


SETS = {
    "acdc": DataSet(
        {1: "right ventricle", 2: "myocardium", 3: "left ventricle"}, {}, distances="mm, at the nominal spacing"
    ),
    "isbi2012": DataSet({1: "cell"}, {"size": 512, **ANY_WAY_UP}),
    "drive": DataSet({1: "vessel"}, {"size": 584, **ANY_WAY_UP}, field_of_view=True),
    "cvc_clinicdb": DataSet({1: "polyp"}, {"size": 128, "scale": 0.4, **ANY_WAY_UP}, steps=800),
}
VARIANTS = {  # methods with settings of their own
    "lora-all": ("lora", {"encoder": ["qkv", "proj", "mlp"], "decoder": ["attn", "mlp"]}),
}
COLUMNS = {
    "dice": "Dice", "iou": "IoU", "hd95": "HD95", "miou_with_background": "mIoU with background", "auc": "AUC",
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """One training of one method."""

    data: str
    method: str
    base: str
    steps: int
    seed: int

    @property
    def name(self) -> str:
        """Name of its files."""
        return f"{self.data}-{self.method}-{self.base}-{self.steps}-{self.seed}"


def cases_of(run: Run, data: Path, work: Path) -> tuple[list[Case], list[Case]]:
    """Training and validation cases; what lies outside the field of view is marked as not annotated in the latter."""
    root = data / run.data
    cases, split = find_cases(root / "images", root / "labels"), read_split(root / "split.json")
    train_cases, val_cases = (select(cases, split, part) for part in ("train", "val"))
    if SETS[run.data].field_of_view:
        val_cases = [_inside(case, root / "fov", work / "labels" / run.data) for case in val_cases]
    return train_cases, val_cases


def _inside(case: Case, fields: Path, folder: Path) -> Case:
    folder.mkdir(parents=True, exist_ok=True)
    label = sitk.ReadImage(str(case.label))
    field = sitk.ReadImage(str(fields / case.label.name))
    sitk.WriteImage(sitk.Mask(label, field, outsideValue=IGNORE), str(folder / case.label.name))
    return Case(case.id, case.image, folder / case.label.name)


def perform(run: Run, data: Path, work: Path) -> dict:
    """Train, and evaluate the exported model as a user would get it."""
    known = SETS[run.data]
    train_cases, val_cases = cases_of(run, data, work)
    method, method_settings = VARIANTS.get(run.method, (run.method, {}))
    request = TrainRequest(
        cases=train_cases,
        output=work / f"{run.name}.safetensors",
        structures=[describe(value, name) for value, name in known.classes.items()],
        base=run.base,
        method=method,
        method_settings=method_settings,
        settings=TrainSettings(steps=run.steps, seed=run.seed, **known.settings),
        split={"train": [case.id for case in train_cases], "val": []},
    )
    request.resume = (request.folder / "checkpoint.pt").is_file()
    bar = Bar(run.name, "%")

    def progress(state) -> None:
        bar.update(state.fraction * 100, 100, f"loss {state.loss:.3f}" if state.epoch else "preparing")

    train(request, progress)
    bar.close()
    card = read_bundle(request.output).card
    metrics = evaluate(load_model(request.output), val_cases)
    return {"run": vars(run), "machine": machine(), "training": card["training"], "base": card["base"]} | metrics


def machine() -> str:
    """Processor and threads."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    if torch.cuda.is_available():
        model = f"{torch.cuda.get_device_name()}, {model}"
    return f"{model}, threads: {torch.get_num_threads()}"


def row_of(result: dict) -> dict:
    """One line of ``methods.csv``."""
    run, training = result["run"], result["training"]
    counts = training["parameters"]
    measures = {name: result[name]["mean"] if isinstance(result[name], dict) else result[name] for name in COLUMNS}
    return {
        **run,
        **{name: None if value is None else round(value, 4) for name, value in measures.items()},
        "batch_size": training["settings"]["batch_size"],
        "trained": counts["trained"],
        "trained_share": round(counts["trained"] / counts["total"], 4),
        "minutes": training["minutes"],
        "machine": result["machine"],
    }


def write_tables(rows: list[dict], folder: Path) -> None:
    """Write ``methods.csv``, ``methods.md`` and, where matplotlib is, ``methods.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    order = [list(SETS), [*METHODS, *VARIANTS]]
    rows = sorted(rows, key=lambda r: (order[0].index(r["data"]), r["steps"], order[1].index(r["method"]), r["seed"]))
    with (folder / "methods.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    groups: dict[tuple, dict[str, list[dict]]] = {}
    for row in rows:
        group = groups.setdefault((row["data"], row["base"], row["steps"]), {})
        group.setdefault(row["method"], []).append(row)
    text = "\n".join(_table(*key, methods) for key, methods in groups.items())
    (folder / "methods.md").write_text(text, encoding="utf-8")
    if importlib.util.find_spec("matplotlib"):
        _figure(groups, folder / "methods.png")


def _table(data: str, base: str, steps: int, methods: dict[str, list[dict]]) -> str:
    known = SETS[data]
    # Only where the evaluation was restricted to it is a ROC area of a thin structure worth its column.
    measures = [name for name in COLUMNS if name != "auc" or known.field_of_view]
    batch = next(iter(methods.values()))[0]["batch_size"]
    field = "; inside the field of view" if known.field_of_view else ""
    lines = [
        f"**{data}** (val), base `{base}`, {steps} steps, batch {batch}; HD95 in {known.distances}{field}",
        "",
        "| method | "
        + " | ".join(COLUMNS[name] for name in measures)
        + " | against `head` | trained | minutes | seeds |",
        "| --- |" + " --- |" * (len(measures) + 4),
    ]
    for method, rows in methods.items():
        share = f"{rows[0]['trained_share']:.1%} ({rows[0]['trained']:,})"
        cells = [_mean(rows, name) for name in measures]
        minutes = f"{statistics.mean(row['minutes'] for row in rows):.1f}"
        seeds = ", ".join(str(row["seed"]) for row in rows)
        lines.append(f"| {' | '.join([method, *cells, _verdict(rows, methods), share, minutes, seeds])} |")
    return "\n".join([*lines, ""])


def _mean(rows: list[dict], name: str) -> str:
    values = [row[name] for row in rows if row[name] is not None]
    digits = 1 if name == "hd95" else 4
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def _verdict(rows: list[dict], methods: dict[str, list[dict]]) -> str:
    """Mean difference of Dice to the reference with the same seeds; better is only what is better with each."""
    if rows[0]["method"] == REFERENCE or REFERENCE not in methods:
        return "-"
    reference = {row["seed"]: row["dice"] for row in methods[REFERENCE]}
    gains = [row["dice"] - reference[row["seed"]] for row in rows if row["seed"] in reference]
    if not gains:
        return "-"
    return f"{statistics.mean(gains):+.4f} {'better' if min(gains) > 0 else '**not better**'}"


def _figure(groups: dict[tuple, dict[str, list[dict]]], path: Path) -> None:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.8 * len(groups), 2.6), layout="constrained")
    panels = figure.subplots(1, len(groups), squeeze=False)[0]
    for axes, ((data, _, steps), methods) in zip(panels, groups.items(), strict=True):
        for method, rows in methods.items():
            color = "0.4" if method == REFERENCE else "tab:blue"
            axes.plot([row["dice"] for row in rows], [method] * len(rows), "o", color=color)
        axes.invert_yaxis()
        axes.margins(y=0.15)
        axes.grid(axis="x", alpha=0.4)
        axes.set(title=f"{data}, {steps} steps", xlabel="Dice (val), a point a seed")
    figure.savefig(path, dpi=120)


def main() -> None:
    """Do the runs that are missing, one after the other, and write the tables after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the packs")
    parser.add_argument("--work", type=Path, required=True, help="folder for models and finished runs")
    parser.add_argument("--sets", default=",".join(SETS), help="data sets (default: %(default)s)")
    parser.add_argument("--methods", default="head,lora,dual-hp,dual-lw,balr", help="(default: %(default)s)")
    parser.add_argument("--seeds", default="0", help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, help="of the optimiser (default: what ``SETS`` says of each)")
    parser.add_argument("--base", default="nano", help="(default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where the tables go (default: %(default)s)")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    wanted = [
        Run(data, method, args.base, args.steps or SETS[data].steps, int(seed))
        for data in args.sets.split(",") for seed in args.seeds.split(",") for method in args.methods.split(",")
    ]  # fmt: skip
    for run in wanted:
        path = args.work / f"{run.name}.json"
        if not path.is_file():
            result = perform(run, args.data, args.work)
            with atomic_write(path) as file:
                file.write(json.dumps(result, indent=1).encode())
            print(f"{run.name}: Dice {result['dice']['mean']:.4f}", flush=True)
        write_tables([row_of(json.loads(done.read_text())) for done in args.work.glob("*.json")], args.results)


if __name__ == "__main__":
    main()
