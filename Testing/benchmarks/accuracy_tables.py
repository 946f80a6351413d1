"""Tables, figure and verdicts of the accuracy benchmark, all computed from the rows of finished runs."""

import ast
import csv
import importlib.util
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark_sets import ALL_SETS, has_seen
from contenders import OUTSIDERS
from sam2adapt.training.settings import TrainSettings

MEASURES = {
    "dice": "Dice", "iou": "IoU", "hd95": "HD95", "assd": "ASSD", "miou_with_background": "mIoU with background",
    "auc": "AUC",
}  # fmt: skip
ALIKE = (  # of runs that are compared
    "data", "test", "base", "steps", "batch_size", "crop", "size", "largest", "base_learning_rate",
)  # fmt: skip
_RUN = (*ALIKE, "learning_rate", "method", "seed")  # what two rows of one run and one pack share
_TEXTS = ("data", "method", "base", "test", "machine")
REFERENCE = "head"
ADAPTERS = ("lora", "dual-hp", "dual-lw", "balr")
_LEAST_RANGE = 0.1  # of Dice in a panel of the figure
GAIN, GAIN_BELOW = 0.03, 0.85  # of every adapter over the head, where the head is below

Rows = list[dict]
Methods = dict[str, Rows]


@dataclass(frozen=True)
class Target:
    """What the best method of ours shall reach on a test set."""

    measure: str
    value: float
    reference: str


TARGETS: dict[str, list[Target]] = {
    "acdc": [Target("dice", 0.90, "U-Net 0.914, nnU-Net 0.915 (published, full training)")],
    "isbi2012": [
        Target("miou_with_background", 0.775, "HP-Adapter 0.7751"),
        Target("miou_with_background", 0.805, "G-SAM, the same laboratory's earlier work, 0.805"),
    ],
    "drive": [Target("dice", 0.80, "U-Net 0.816"), Target("auc", 0.975, "SAM2LoRA up to 0.98")],
    "chasedb1": [Target("dice", 0.78, "U-Net 0.778"), Target("auc", 0.97, "U-Net 0.977")],
    "hippocampus": [Target("dice", 0.87, "nnU-Net about 0.89")],
}
AGAINST_UNET = ("acdc", "cvc_clinicdb", "curvas2d", "spider2d", "la")


def with_former(rows: Rows, folder: Path) -> Rows:
    """Rows, and those of the folder's ``accuracy.csv`` that none of them repeats, of another machine for instance."""
    path = folder / "accuracy.csv"
    if not path.is_file():
        return rows
    with path.open(newline="", encoding="utf-8") as file:
        former = [
            {name: value if name in _TEXTS else ast.literal_eval(value or "None") for name, value in line.items()}
            for line in csv.DictReader(file)
        ]
    return list({tuple(row[name] for name in _RUN): row for row in [*former, *rows]}.values())


def write(rows: Rows, folder: Path) -> None:
    """Write ``accuracy.csv``, ``accuracy.md`` with the targets and, where matplotlib is, ``accuracy.png``."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "accuracy.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    groups: dict[tuple, Methods] = {}
    for row in rows:
        group = groups.setdefault(tuple(row[name] for name in ALIKE), {})
        group.setdefault(row["method"], []).append(row)
    tables = [_table(dict(zip(ALIKE, key, strict=True)), methods) for key, methods in groups.items()]
    text = [_targets(groups), *tables]
    (folder / "accuracy.md").write_text("\n".join(text), encoding="utf-8")
    if importlib.util.find_spec("matplotlib"):
        _figure(groups, folder / "accuracy.png")


def _table(alike: dict, methods: Methods) -> str:
    data, test = alike["data"], alike["test"]
    known, first = ALL_SETS[data], next(iter(methods.values()))[0]
    # Only where the evaluation was restricted to it is a ROC area of a thin structure worth its column.
    measures = [name for name in MEASURES if name != "auc" or known.field_of_view]
    heads = [MEASURES[name] for name in measures]
    about = [f"base `{alike['base']}`", f"{alike['steps']} steps", f"batch {alike['batch_size']}"]
    about += [f"crops of {alike['crop']} pixels"] if alike["crop"] else []
    about += [f"pictures of {alike['size']} pixels"] if alike["size"] else []
    if (rate := alike["base_learning_rate"]) != TrainSettings.base_learning_rate:
        about += [f"the base's weights at a rate of {rate:g}"]
    about += ["largest piece kept, of all together and of each"] if alike["largest"] else []
    distances = f"distances in {known.distances}" + "; inside the field of view" * known.field_of_view
    heads = ["method", *heads, "spread over cases", "against `head`", "trained", "minutes", "peak MB", "seeds"]
    cases = f"{first['cases']} cases of {known.test}"
    lines = [f"**{_name(data, test)}** ({cases}), {', '.join(about)}; {distances}", ""]
    lines += [f"Protocol: {known.protocol}.", ""] if known.protocol else []
    lines += [f"| {' | '.join(heads)} |", f"|{' --- |' * len(heads)}"]
    for method, rows in methods.items():
        cells = [method, *(mean_text(rows, name) for name in measures), mean_text(rows, "dice_spread")]
        cells += [_against_head(rows, methods), f"{rows[0]['trained_share']:.1%} ({rows[0]['trained']:,})"]
        cells += [f"{mean(rows, 'minutes'):.1f}", f"{mean(rows, 'peak_mb') or 0:.0f}"]
        lines.append(f"| {' | '.join([*cells, ', '.join(str(row['seed']) for row in rows)])} |")
    return "\n".join([*lines, ""])


def mean(rows: Rows, name: str) -> float | None:
    """Mean over seeds of what is defined."""
    values = [row[name] for row in rows if row[name] is not None]
    return statistics.mean(values) if values else None


def mean_text(rows: Rows, name: str) -> str:
    """Mean over seeds, with the standard deviation of several."""
    values = [row[name] for row in rows if row[name] is not None]
    digits = 1 if name in ("hd95", "assd") else 4
    if not values:
        return "-"
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.{digits}f}{spread}"


def gains(rows: Rows, methods: Methods) -> list[float]:
    """Difference of Dice to the reference for each seed that both have."""
    reference = {row["seed"]: row["dice"] for row in methods.get(REFERENCE, [])}
    return [row["dice"] - reference[row["seed"]] for row in rows if row["seed"] in reference]


def _against_head(rows: Rows, methods: Methods) -> str:
    """Mean difference of Dice to the reference; better is only what is better with each seed."""
    if rows[0]["method"] == REFERENCE or not (found := gains(rows, methods)):
        return "-"
    return f"{statistics.mean(found):+.4f} {'better' if min(found) > 0 else '**not better**'}"


def best_of(methods: Methods, wanted: Callable[[str], bool], measure: str = "dice") -> tuple[str, float] | None:
    """Method with the largest mean of a measure among those wanted."""
    scores = {name: mean(rows, measure) for name, rows in methods.items() if wanted(name)}
    defined = {name: score for name, score in scores.items() if score is not None}
    return max(defined.items(), key=lambda item: item[1]) if defined else None


def case_dice(case: dict) -> float | None:
    """Mean Dice of one case over the structures that occur in truth or prediction; None without any."""
    values = [value for value in case["dice"].values() if value is not None]
    return statistics.mean(values) if values else None


def ours(method: str) -> bool:
    """Whether a method is one of this project's."""
    return method not in OUTSIDERS


def _name(data: str, test: str) -> str:
    return data if ALL_SETS[data].packs in ((), (test,)) else f"{test}, trained on {data}"


def _targets(groups: dict[tuple, Methods]) -> str:
    """Table of the targets: what the longest runs say that can judge each, on bases new to the data if any.

    Of equally long runs with other settings the better ones count.
    """
    sets: dict[tuple[str, str], list[tuple[tuple[bool, int, float], str, Methods]]] = {}
    for (data, test, base, steps, batch, *_), methods in groups.items():
        seen = has_seen(base, test)
        name = f"{_name(data, test)}, {steps} steps{', seen by the base' * seen}"
        _, score = best_of(methods, ours) or ("", 0.0)
        sets.setdefault((data, test), []).append(((not seen, steps * batch, score), name, methods))
    lines = ["| data | target for our best method | reached | verdict |", "| --- | --- | --- | --- |"]
    for (_, test), runs in sets.items():
        found: dict[str, str] = {}
        for _, name, methods in sorted(runs, key=lambda run: run[0]):
            found |= {kind: f"| {name} | {text} |" for kind, text in _verdicts(test, methods).items()}
        lines += found.values()
    return "\n".join([*lines, ""])


def _verdicts(test: str, methods: Methods) -> dict[str, str]:
    """Cells of the table of targets, by what is judged: what is wanted, what was reached, and whether it holds."""
    cells = {}
    for target in TARGETS.get(test, []):
        if found := best_of(methods, ours, target.measure):
            wanted = f"{MEASURES[target.measure]} >= {target.value:g}"
            cells[wanted] = (
                f"{wanted} ({target.reference}) | {found[1]:.4f} ({found[0]}) | {_verdict(found[1], target.value)}"
            )
    best, unet = best_of(methods, ours), best_of(methods, lambda name: not ours(name))
    if test in AGAINST_UNET and best and unet:
        wanted = f"Dice not below the best U-Net of the same run ({unet[0]} {unet[1]:.4f})"
        cells["U-Net"] = f"{wanted} | {best[1]:.4f} ({best[0]}) | {_verdict(best[1], unet[1])}"
    head = best_of(methods, lambda name: name == REFERENCE)
    if (
        head
        and head[1] < GAIN_BELOW
        and (adapters := {n: gains(methods[n], methods) for n in ADAPTERS if n in methods})
    ):
        worst = min(adapters, key=lambda name: statistics.mean(adapters[name]))
        gain = statistics.mean(adapters[worst])
        wanted = f"every adapter beats `head` ({head[1]:.4f}) by {GAIN:g} Dice"
        cells["adapters"] = f"{wanted} | {gain:+.4f} ({worst}, the least) | {_verdict(gain, GAIN)}"
    return cells


def _verdict(value: float, wanted: float) -> str:
    return "holds" if value >= wanted else f"**falls short** by {wanted - value:.4f}"


def _figure(groups: dict[tuple, Methods], path: Path) -> None:
    from matplotlib.figure import Figure

    groups = {key: methods for key, methods in groups.items() if len(methods) > 1} or groups
    across = min(4, len(groups))
    down = -(-len(groups) // across)
    figure = Figure(figsize=(3.4 * across, 2.8 * down), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).ravel()
    for axes in panels[len(groups) :]:
        axes.remove()
    for axes, ((data, test, base, steps, *_), methods) in zip(panels, groups.items(), strict=False):
        for method, rows in methods.items():
            color = "0.4" if method == REFERENCE else "tab:blue" if ours(method) else "tab:orange"
            axes.plot([row["dice"] for row in rows], [method] * len(rows), "o", color=color)
        axes.invert_yaxis()
        axes.margins(y=0.1)
        low, high = axes.get_xlim()
        more = max(0.0, _LEAST_RANGE - (high - low)) / 2  # small differences shall look small
        axes.set_xlim(low - more, high + more)
        axes.grid(axis="x", alpha=0.4)
        axes.set_title(f"{_name(data, test)}\n{base}, {steps} steps", fontsize=8)
        axes.set_xlabel("Dice, a point a seed")
    figure.savefig(path, dpi=110)
