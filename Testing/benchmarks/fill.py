"""Fill volumes from a few drawn slices: this project beside Slicer's tools, on the same drawings, in one run.

``python Testing/benchmarks/fill.py`` writes ``results/fill.csv``, ``fill.md`` and ``fill.png``; a run that was stopped
goes on where it was. The CSV has the HD95 of each structure: "nan" where a method misses it wholly, nothing where it is
on no slice between the drawn ones and is filled on none.
"""

import argparse
import csv
import multiprocessing
import os
import resource
import time
from collections import defaultdict
from pathlib import Path

import numpy as np
from fill_ablation import ABLATIONS
from fill_cases import SETS, FillCase, cases_of
from fill_peers import PEERS, ours
from sam2adapt.evaluation.metrics import case_metrics
from sam2adapt.filling.filler import START

RESULTS = Path(__file__).parent / "results"
FIELDS = ("set", "part", "case", "density", "method", "dice", "hd95", "expected", "seconds", "cpu", "peak_mb", "pixel")
STARTS = Path(__file__).parent / "starts"  # that have not seen a set, by ``fill_start.py --without``
OURS = ("ours", "unseen")
SLOW = ("prototype", "network")
SLICERS = ("distances", "between", "grow")
_GROUPS = 10  # of bars in a row of the figure
_COLOURS = {
    "distances": "#bbbbbb", "between": "#88aadd", "grow": "#3366aa", "prototype": "#d8c070", "network": "#997700",
    "ours": "#cc3311", "unseen": "#ee8866",
}  # fmt: skip
_ORDINAL = {"2": "nd", "3": "rd"}


def main() -> None:
    """Run, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SAM2ADAPT_DATA", "")))
    parser.add_argument("--sets", nargs="+", default=list(SETS), choices=list(SETS))
    parser.add_argument("--densities", nargs="+")
    parser.add_argument("--methods", nargs="+", default=[*PEERS, *OURS], choices=[*PEERS, *OURS, *ABLATIONS])
    parser.add_argument("--part", default="val", choices=("train", "val"))
    parser.add_argument("--start", type=Path, default=START, help="weights of the combiner, for ablations")
    parser.add_argument("--limit", type=int, help="cases of a set at most")
    parser.add_argument("--output", type=Path, default=RESULTS / "fill.csv")
    args = parser.parse_args()
    if {"between", "grow"} & set(args.methods):
        import slicer_tools  # noqa: F401  its seconds are not theirs
    rows = read_rows(args.output)
    done = {tuple(row[field] for field in FIELDS[:5]) for row in rows}
    for name in args.sets:
        for case in cases_of(name, args.data, args.part, args.limit):
            for density in args.densities or SETS[name][1]:
                for method in args.methods:
                    if method == "unseen" and not start_without(name).exists():
                        continue  # the shipped start has not seen it either
                    if method in SLOW and density not in SETS[name][1][: 2 if name == "ctchest4" else 1]:
                        continue  # they have published figures for these
                    if (name, args.part, case.name, density, method) in done:
                        continue
                    row = apart(case, density, method, args.start) | {"part": args.part}
                    _append(args.output, row)
                    rows.append({field: str(row[field]) for field in FIELDS})
                    print(" ".join(f"{row[field]}" for field in FIELDS), flush=True)
    write_table(args.output.with_suffix(".md"), rows)
    draw(args.output.with_suffix(".png"), rows)


def start_without(name: str) -> Path:
    """The start that has not seen a set."""
    return STARTS / f"without-{name.split(maxsplit=1)[0]}.safetensors"


def apart(case: FillCase, density: str, method: str, start: Path = START) -> dict:
    """:func:`measure` in a process of its own, so that its peak of memory is its own, too."""
    with multiprocessing.get_context("fork").Pool(1) as pool:
        return pool.apply(measure, (case, density, method, start))


def measure(case: FillCase, density: str, method: str, start: Path = START) -> dict:
    """One row: a method on one volume with so many slices drawn."""
    drawn = case.drawn(density)
    before = _memory()
    started, cpu = time.perf_counter(), time.process_time()
    expected = ""
    if method in OURS:
        labels, filling = ours(case, drawn, start if method == "ours" else start_without(case.set))
        expected = f"{filling.mean_dice:.4f}"
    else:
        labels = (PEERS | ABLATIONS)[method](case, drawn)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
    between = [k for k in range(drawn[0], drawn[-1] + 1) if k not in drawn]
    found, truth = (np.moveaxis(array, case.axis, 0)[between] for array in (labels, case.truth))
    spacing = case.volume.spacing[::-1]
    steps = [spacing[case.axis], *(mm for k, mm in enumerate(spacing) if k != case.axis)]
    numbers = case_metrics(found, truth, case.values, steps)
    return {
        "set": case.set, "case": case.name, "density": density, "method": method,
        "dice": f"{_mean_dice(numbers):.4f}", "hd95": _distances_of(numbers), "expected": expected,
        "seconds": f"{seconds:.2f}", "cpu": f"{cpu:.2f}",
        "peak_mb": round(peak - before), "pixel": f"{max(steps[1:]):.3f}",
    }  # fmt: skip


def _memory() -> float:
    """What this process holds now, in MB."""
    pages = int(Path("/proc/self/statm").read_text("utf-8").split()[1])
    return pages * resource.getpagesize() / 1e6


def write_table(path: Path, rows: list[dict]) -> None:
    """Means over cases, one line a set and density."""
    methods = _methods(rows)
    table = _by_row(rows)
    lines = [
        "# Filling from a few drawn slices", "",
        "Mean Dice (HD95 in mm) over structures and volumes on the slices between drawn ones. A structure that is",
        "missed wholly has a Dice of 0 and no HD95; how many were missed, in all volumes, stands beside the HD95.",
        "`unseen` is ours with a start that has not seen the set; where there is none, the shipped start has not seen",
        "it either. Seconds, CPU seconds and MB above the idle process are those of ours, means over volumes, one",
        "thread; beside them those of *Grow from seeds*. Seconds were taken on a shared machine: CPU seconds are what",
        "to compare.",
        "Made by `Testing/benchmarks/fill.py`.",
        "",
        f"| set | drawn | volumes | {' | '.join(methods)} | ours expects | s | CPU s | grow, CPU s | MB | grow, MB |",
        f"| --- | --- | --- | {' | '.join('---' for _ in methods)} | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for (name, part, density), cells in table.items():
        own, grow = cells.get("ours", []), cells.get("grow", [])
        numbers = [_cell(cells.get(method, [])) for method in methods]
        title = name if part == "val" else f"{name} ({part})"
        drawn = _density(density)
        costs = [_field(own, "expected", 3), _field(own, "seconds", 1), _field(own, "cpu", 1), _field(grow, "cpu", 1)]
        costs += [_field(own, "peak_mb", 0), _field(grow, "peak_mb", 0)]
        count = max(map(len, cells.values()))
        lines.append(f"| {title} | {drawn} | {count} | {' | '.join(numbers)} | {' | '.join(costs)} |")
    lines += ["", *_summary(table)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _summary(table: dict) -> list[str]:
    """How ours, with a start that has not seen the set, stands to the best of the peers, and how true it expects."""
    worse, farther, single, errors = [], [], [], []
    means = {method: [] for method in (*SLICERS, "ours")}
    for (name, _, density), cells in table.items():
        own = cells.get("unseen") or cells.get("ours", [])
        peers = {method: cells[method] for method in SLICERS if method in cells}
        errors += [float(row["expected"]) - float(row["dice"]) for row in own]
        if not own or len(peers) < len(SLICERS):
            continue
        for method, rows in [*peers.items(), ("ours", own)]:
            means[method].append(_average(rows))
        best = max(map(_average, peers.values()))
        if _average(own) < best - 0.003:
            worse.append(f"{name}, {density}: {_average(own) - best:+.3f}")
        behind, peer = max((_behind(own, rows), method) for method, rows in peers.items())
        if behind > float(own[0]["pixel"]):
            farther.append(f"{name}, {density}: {behind:+.1f} mm beside {peer}")
        for row in own:
            others = [float(p["dice"]) for rows in peers.values() for p in rows if p["case"] == row["case"]]
            single.append(float(row["dice"]) < max(others) - 0.02)
    if not single:
        return []
    mean = {method: float(np.mean(values)) for method, values in means.items()}
    best = max(SLICERS, key=mean.get)
    return [
        (f"Over the {len(means['ours'])} rows with all peers ours has a mean Dice of {mean['ours']:.3f}, the best "
         f"single peer, {best}, {mean[best]:.3f}: {mean['ours'] - mean[best]:+.3f}."), "",
        f"Rows more than 0.003 below the best of Slicer's tools and distances: {'; '.join(worse) or 'none'}.", "",
        ("Rows with an HD95 more than a pixel above that of one of them, on the structures that both found: "
         f"{'; '.join(farther) or 'none'}."), "",
        (f"{100 * np.mean(single):.1f} % of {len(single)} fillings are more than 0.02 below the best of them for that "
        "volume."), "",
        (f"Expected Dice differs from the true one by {np.mean(np.abs(errors)):.3f} on average; on the whole it is "
         f"{abs(np.mean(errors)):.3f} too {'high' if np.mean(errors) > 0 else 'low'}."),
    ]  # fmt: skip


def draw(path: Path, rows: list[dict]) -> None:
    """Dice by set and density: bars side by side, or, of more methods than there are colours, a panel for each."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    groups, methods = list(_by_row(rows).items()), _methods(rows)
    figure = _bars(groups, methods) if set(methods) <= _COLOURS.keys() else _panels(groups, methods)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _bars(groups: list[tuple[tuple, dict]], methods: list[str]):
    """One bar a method, in rows of a few groups each so that all can be read."""
    from matplotlib import pyplot as plt

    lines = [groups[k : k + _GROUPS] for k in range(0, len(groups), _GROUPS)]
    figure, axes = plt.subplots(len(lines), figsize=(10, 0.6 + 2.7 * len(lines)), layout="constrained", squeeze=False)
    width = 0.8 / len(methods)
    for place, line in zip(axes[:, 0], lines, strict=True):
        for number, method in enumerate(methods):
            values = [_average(cells[method]) if method in cells else np.nan for _, cells in line]
            lefts = np.arange(len(line)) + (number - (len(methods) - 1) / 2) * width
            place.bar(lefts, values, width, label=method, color=_COLOURS[method])
        place.set_xticks(range(len(line)), [_title(group) for group, _ in line], fontsize=8)
        place.set_xlim(-0.6, _GROUPS - 0.4)
        place.set_ylim(0.1, 1)
        place.set_ylabel("Dice between\ndrawn slices", fontsize=9)
        place.tick_params(axis="y", labelsize=8)
        place.grid(axis="y", alpha=0.3)
        place.set_axisbelow(True)
        place.spines[["top", "right"]].set_visible(False)
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=min(len(methods), 7), fontsize=9, frameon=False)
    return figure


def _panels(groups: list[tuple[tuple, dict]], methods: list[str]):
    """A panel for each set and density, a line for each method; of a method that was not measured the line is empty."""
    from matplotlib import pyplot as plt

    size = (2.2 + 2.4 * len(groups), 1.0 + 0.22 * len(methods))
    figure, axes = plt.subplots(1, len(groups), figsize=size, sharey=True, layout="constrained", squeeze=False)
    for place, (group, cells) in zip(axes[0], groups, strict=True):
        values = [_average(cells[method]) if method in cells else np.nan for method in methods]
        bars = place.barh(methods, values, color=[_COLOURS.get(method, "#88aadd") for method in methods])
        place.bar_label(bars, ["" if np.isnan(value) else f"{value:.3f}" for value in values], fontsize=7, padding=2)
        place.set_title(_title(group), fontsize=9)
        place.set_xlim(0, 1.2)
        place.set_xticks([0, 0.5, 1])
        place.tick_params(labelsize=8)
        place.spines[["top", "right"]].set_visible(False)
    axes[0, 0].invert_yaxis()
    figure.supxlabel("Dice between drawn slices", fontsize=9)
    return figure


def _title(group: tuple) -> str:
    return "\n".join([*group[0].split(" ", 1), _density(group[2])])


def _density(density: str) -> str:
    return "three slices" if density == "three" else f"every {density}{_ORDINAL.get(density, 'th')}"


def _by_row(rows: list[dict]) -> dict[tuple, dict[str, list[dict]]]:
    table: dict[tuple, dict[str, list[dict]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        table[row["set"], row["part"], row["density"]][row["method"]].append(row)
    return table


def _methods(rows: list[dict]) -> list[str]:
    known = {row["method"] for row in rows}
    return [method for method in (*PEERS, *OURS, *ABLATIONS) if method in known]


def _field(rows: list[dict], field: str, digits: int) -> str:
    return f"{np.mean([float(row[field]) for row in rows]):.{digits}f}" if rows else "-"


def _behind(own: list[dict], peer: list[dict]) -> float:
    """How much larger the HD95 of ours is than a peer's: the mean over volumes, on the structures that both found."""
    others = {row["case"]: _distances(row) for row in peer}
    differences = []
    for row in (row for row in own if row["case"] in others):
        mine, other = _distances(row), others[row["case"]]
        if len(mine) != len(other):
            raise ValueError(
                f"{row['set']} {row['case']}, {row['density']}: {len(mine)} and {len(other)} values of HD95. A row of "
                "an older run has one mean of all structures: take it out of the CSV, and it is measured anew."
            )
        both = [a - b for a, b in zip(mine, other, strict=True) if np.isfinite([a, b]).all()]
        differences += [np.mean(both)] if both else []
    return float(np.mean(differences)) if differences else float("-inf")


def _distances(row: dict) -> list[float]:
    """HD95 of each structure; infinite where it was missed, NaN where there was nothing to find."""
    return [float({"nan": "inf", "": "nan"}.get(text, text)) for text in row["hd95"].split(";")]


def _cell(rows: list[dict]) -> str:
    if not rows:
        return "-"
    cases = [np.array(_distances(row)) for row in rows]
    means = [own[np.isfinite(own)].mean() for own in cases if np.isfinite(own).any()]
    distance = f"{np.mean(means):.1f}" if means else "-"
    missed = sum(int(np.isinf(own).sum()) for own in cases)
    return f"{_average(rows):.3f} ({distance}{f', {missed} missed' if missed else ''})"


def _average(rows: list[dict]) -> float:
    return float(np.mean([float(row["dice"]) for row in rows]))


def _mean_dice(numbers: dict) -> float:
    values = [own["dice"] for own in numbers.values() if not np.isnan(own["dice"])]
    return float(np.mean(values)) if values else float("nan")


def _distances_of(numbers: dict) -> str:
    """HD95 of each structure, as the CSV has it."""
    return ";".join("" if np.isnan(own["dice"]) else f"{own['hd95']:.2f}" for own in numbers.values())


def read_rows(path: Path) -> list[dict]:
    """The rows of a CSV that an earlier run wrote; none if there is none."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def write_rows(path: Path, rows: list[dict], fields: tuple[str, ...]) -> None:
    """Write a CSV anew."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fields)
        writer.writeheader()
        writer.writerows(rows)


def _append(path: Path, row: dict) -> None:
    new = not path.exists()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    main()
