r"""Train every method with the same budget on real data sets, and write how well each does.

    python Testing/benchmarks/accuracy.py --data DATA --work WORK [--sets acdc,drive] [--methods head,lora] \
        [--seeds 0,1] [--steps 1000 | --times 4] [--batch 4] [--crop 128] [--rate 0.003] [--base-rate 0.0003] \
        [--size 1024] [--largest] [--base tiny | base_plus | large | own | FILE]
    python Testing/benchmarks/accuracy.py --data DATA --work WORK --sets paper --base tiny

DATA holds the packs (images/, labels/, split.json). What is trained on one data set sees the same samples in the same
order, augmented alike, for as many steps of the optimiser; none is chosen by its validation score, the last averaged
weights count. ``vessels`` is trained on two packs and tested on each; ``paper`` stands for the protocols of the papers.
Each finished run is a JSON file in WORK and is not repeated; a broken one goes on from its last whole epoch. Several
commands may work in one WORK on different sets. Tables and pictures in ``results`` are made anew after each run; rows
that WORK does not repeat, of another machine for instance, stay. After a change of the sets' settings, take another
WORK.
"""

import argparse
import ctypes
import gc
import json
import platform
import shutil
import statistics
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import accuracy_tables
import torch
import worst_cases
from accuracy_tables import case_dice
from benchmark_sets import ALL_SETS, SETS, Parts, parts_of, to_choose, wanted_sets
from contenders import CONTENDERS, OWN_BASE, Contender, fit
from sam2adapt.evaluation.evaluate import evaluate
from sam2adapt.imaging.terminology import describe
from sam2adapt.shared.errors import UserError
from sam2adapt.shared.files import atomic_write, bases_folder, make_folder
from sam2adapt.shared.presets import PRESETS
from sam2adapt.training.settings import TrainRequest, TrainSettings, usual_rate

RESULTS = Path(__file__).resolve().parent / "results"
_SETTINGS = ("batch_size", "crop", "learning_rate", "base_learning_rate")  # that the table shows
_LARGEST = ("largest_together", "largest_component")
METHODS = "head,lora,dual-hp,dual-lw,balr,nano,nano-wide,balanced,max,full,BasicUNet,PlainConvUNet"


@dataclass(frozen=True)
class Run:
    """One training of one method.

    :param base: a name, a file, or ``OWN_BASE``.
    :param rate: of learning; None: the usual one for the base, for networks of others too.
    :param base_rate: of learning of weights that the base had; None: as always. Networks of others have none.
    :param batch: slices of a step; ``crop``: side of what is cut from them, pixels; None: as always.
    :param size: longest side of a typical picture on the network's grid, pixels; None: as the data set has it.
    :param largest: of structures in one piece keep the largest one, of all together and then of each.
    :param choose: test on so many patients of the training part, which are not trained on; None: on the test cases.
    """

    data: str
    method: str
    base: str
    steps: int
    seed: int
    rate: float | None = None
    batch: int | None = None
    crop: int | None = None
    largest: bool = False
    base_rate: float | None = None
    size: int | None = None
    choose: int | None = None

    @property
    def base_name(self) -> str:
        """The base, short."""
        return Path(self.base).stem

    @property
    def name(self) -> str:
        """Name of its files."""
        options = (
            ("", self.rate), ("base", self.base_rate), ("b", self.batch), ("c", self.crop), ("s", self.size),
            ("k", self.choose),
        )  # fmt: skip
        given = "".join(f"-{letter}{value:g}" for letter, value in options if value is not None)
        largest = "-largest" * self.largest
        return f"{self.data}-{self.method}-{self.base_name}-{self.steps}-{self.seed}{given}{largest}"


def request_of(run: Run, parts: Parts, work: Path) -> TrainRequest:
    """The training that a run stands for."""
    known, contender = ALL_SETS[run.data], CONTENDERS[run.method]
    preset = PRESETS[contender.preset] if contender.preset else None
    own = preset if run.base == OWN_BASE else None
    base = own.base if own else run.base
    asked = {
        "size": run.size or (own and own.size),
        "batch_size": run.batch,
        "crop": run.crop,
        "base_learning_rate": run.base_rate,
    }
    settings = known.settings | {name: value for name, value in asked.items() if value}
    return TrainRequest(
        cases=parts.train,
        output=work / f"{run.name}.safetensors",
        structures=[describe(value, name) for value, name in known.classes.items()],
        base=base,
        method=contender.method,
        method_settings=contender.settings,
        settings=TrainSettings(steps=run.steps, seed=run.seed, learning_rate=run.rate or usual_rate(base), **settings),
        split={"train": [case.id for case in parts.train], "val": []},
        train_upscaling=preset.train_upscaling or None if preset else None,
        postprocessing={key: list(known.classes) for key in _LARGEST} if run.largest and known.in_one else {},
        keep_slices=False,
        keep_pieces=True,  # ``largest`` decides
    )


def perform(run: Run, data: Path, work: Path) -> dict:
    """Train, and evaluate the exported model as a user would get it on each pack's test cases."""
    parts = parts_of(run.data, data, work)
    parts = to_choose(parts, run.choose) if run.choose else parts
    reset_peak()
    model, training = fit(request_of(run, parts, work), CONTENDERS[run.method])
    memory = peak_megabytes()
    tests = {pack: evaluate(model, cases) for pack, cases in parts.tests.items()}
    return {
        "name": run.name, "run": asdict(run) | {"base": run.base_name}, "machine": machine(), "peak_mb": memory,
        "training": training, "tests": tests,
    }  # fmt: skip


def machine() -> str:
    """Processor and threads."""
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").is_file():
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        model = next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), model)
    if torch.cuda.is_available():
        model = f"{torch.cuda.get_device_name()}, {model}"
    return f"{model}, threads: {torch.get_num_threads()}"


def reset_peak() -> None:
    """Start the measurement of the largest memory: of the GPU if there is one, else, on Linux, of this process."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    elif sys.platform == "linux":
        gc.collect()
        if hasattr(library := ctypes.CDLL(None), "malloc_trim"):  # what earlier runs freed does not count
            library.malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_megabytes() -> int | None:
    """Largest memory since ``reset_peak``; a process's includes Python and libraries."""
    if torch.cuda.is_available():
        return round(torch.cuda.max_memory_allocated() / 1e6)
    if sys.platform != "linux":
        return None
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text("utf-8").splitlines())
    return round(int(lines["VmHWM"].split()[0]) * 1024 / 1e6)


def rows_of(result: dict) -> list[dict]:
    """Lines of the table, one for each pack that was tested."""
    run, training = result["run"], result["training"]
    settings, counts, rows = training["settings"], training["parameters"], []
    for pack, metrics in result["tests"].items():
        measures = {name: metrics[name] for name in accuracy_tables.MEASURES}
        means = {name: value["mean"] if isinstance(value, dict) else value for name, value in measures.items()}
        spread = statistics.pstdev(score for case in metrics["cases"] if (score := case_dice(case)) is not None)
        rows.append({
            **{name: run[name] for name in ("data", "method", "base", "steps", "seed")},
            **{name: settings[name] for name in _SETTINGS},
            "size": run.get("size"), "largest": run.get("largest", False),
            "test": pack, "cases": len(metrics["cases"]),
            **{name: None if value is None else round(value, 4) for name, value in means.items()},
            "dice_spread": round(spread, 4),
            "trained": counts["trained"], "trained_share": round(counts["trained"] / counts["total"], 4),
            "minutes": training["minutes"], "peak_mb": result["peak_mb"], "machine": result["machine"],
        })  # fmt: skip
    return rows


def write_results(work: Path, data: Path, folder: Path) -> None:
    """Tables and figure of all finished runs, and pictures of the worst cases of each set's best model."""
    results = [json.loads(path.read_text("utf-8")) for path in sorted(work.glob("*.json"))]
    rows = accuracy_tables.with_former([row for result in results for row in rows_of(result)], folder)
    accuracy_tables.write(sorted(rows, key=_order), folder)
    worst_cases.write(results, rows, data, work, folder)


def _order(row: dict) -> tuple:
    data, method = (list(names).index(row[key]) for names, key in ((ALL_SETS, "data"), (CONTENDERS, "method")))
    alike = (row["base"], *(row[name] or 0 for name in accuracy_tables.ALIKE[3:]))
    return data, row["test"], *alike, method, row["seed"]


def make_known(base: str) -> None:
    """Put a base file of ours into the user's folder of bases, where the models that are made on it look for it."""
    if base.endswith(".safetensors"):
        shutil.copy(base, make_folder(bases_folder()))


def finished(run: Run, data: Path, work: Path) -> dict:
    """Result of a run: read if it is there, else made and kept.

    :raises SystemExit: with what a user can mend, for instance base weights that are not here.
    """
    path = work / f"{run.name}.json"
    if not path.is_file():
        try:
            result = perform(run, data, work)
        except UserError as error:
            raise SystemExit(f"{run.name}: {error}") from error
        with atomic_write(path) as file:
            file.write(json.dumps(result, indent=1).encode())
        dice = ", ".join(f"{pack} {metrics['dice']['mean']:.4f}" for pack, metrics in result["tests"].items())
        print(f"{run.name}: Dice {dice}, {result['training']['minutes']} minutes", flush=True)
    return json.loads(path.read_text("utf-8"))


def planned(args: argparse.Namespace) -> list[Run]:
    """Runs of the options: for each set and seed all methods."""
    if unknown := [name for name in args.methods.split(",") if name not in CONTENDERS]:
        raise SystemExit(f"There is no method '{unknown[0]}'. Choose from {', '.join(CONTENDERS)}.")

    def fits(contender: Contender) -> bool:
        return contender.preset is not None or args.base != OWN_BASE

    def steps(data: str) -> int:
        return args.steps or ALL_SETS[data].steps * args.times

    given = {name: getattr(args, name) for name in ("rate", "base_rate", "batch", "crop", "size", "largest")}
    return [
        Run(data, method, args.base, steps(data), int(seed), **given)
        for data in wanted_sets(args.sets, args.data)
        for seed in args.seeds.split(",")
        for method in args.methods.split(",")
        if fits(CONTENDERS[method])
    ]


def main() -> None:
    """Do the runs that are missing, one after the other, and write the results after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the packs")
    parser.add_argument("--work", type=Path, required=True, help="folder for models and finished runs")
    parser.add_argument("--sets", default=",".join(SETS), help="data sets, or paper (default: %(default)s)")
    parser.add_argument("--methods", default=METHODS, help="(default: %(default)s)")
    parser.add_argument("--seeds", default="0", help="(default: %(default)s)")
    parser.add_argument("--steps", type=int, help="of the optimiser (default: as each data set has them)")
    parser.add_argument("--times", type=int, default=1, help="so many times each data set's own steps")
    parser.add_argument("--rate", type=float, help="of learning (default: the usual one for the base)")
    parser.add_argument("--base-rate", type=float, help="of learning of the base's own weights (default: 0.0003)")
    parser.add_argument("--batch", type=int, help="slices of a step (default: as in every training)")
    parser.add_argument("--crop", type=int, help="side of the crops, pixels (default: chosen from the data)")
    parser.add_argument("--size", type=int, help="longest side of a typical picture, pixels (default: the data set's)")
    parser.add_argument("--largest", action="store_true", help="of structures in one piece keep the largest one")
    parser.add_argument("--base", default="nano", help="name or file; own: that of each preset (default: %(default)s)")
    parser.add_argument("--results", type=Path, default=RESULTS, help="where tables go (default: %(default)s)")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    make_known(args.base)
    for run in planned(args):
        finished(run, args.data, args.work)
        write_results(args.work, args.data, args.results)


if __name__ == "__main__":
    main()
