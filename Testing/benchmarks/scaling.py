"""Draw how time and memory grow, from the numbers of one run of the benchmark.

python -m sam2adapt benchmark speed --data DATA --json Testing/benchmarks/results/speed.json
python Testing/benchmarks/scaling.py [--json FILE] [--png FILE]
"""

import argparse
import json
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure

RESULTS = Path(__file__).resolve().parent / "results"
_COLOURS = {"nano": "tab:blue", "tiny": "tab:orange"}
_CURVES = {
    "side": "in-plane size, pixels",
    "classes": "classes, background included",
    "batch": "slices at once",
    "threads": "threads",
}


def draw(result: dict) -> Figure:
    """One column for each thing that grows: seconds above, memory below.

    :param result: the benchmark's JSON with the sections ``memory`` and ``scaling``.
    """
    figure = Figure(figsize=(15, 5.6), layout="constrained")
    axes = figure.subplots(2, 5)
    _slices(axes[:, 0], result["memory"])
    for column, (curve, label) in enumerate(_CURVES.items(), start=1):
        _curve(axes[:, column], [row for row in result["scaling"]["rows"] if row["curve"] == curve], label)
    axes[0, 0].set_ylabel("time")
    axes[1, 0].set_ylabel("memory above idle, MB")
    found, scaling = result["machine"], result["scaling"]
    figure.suptitle(
        f"{found['processor']}, {found['threads']} threads, {found['half'] or 'float32'}; except in the first column"
        f" {scaling['slices']} slices of {scaling['side']} x {scaling['side']} pixels", fontsize=10,
    )  # fmt: skip
    return figure


def _slices(axes: list[Axes], memory: dict) -> None:
    """The engine's seconds for a request and its peak, against the number of slices."""
    rows, plane = memory["engine"], " x ".join(map(str, memory["plane"]))
    counts = [row["slices"] for row in rows]
    axes[0].plot(counts, [row["wall"] for row in rows], "o-", color=_COLOURS["nano"])
    axes[0].set(title=f"engine, {plane}, {memory['model']}\nseconds a volume", ylim=(0, None))
    unavoidable = [(row["input"] + row["labels"]) / 1e6 for row in rows]
    axes[1].plot(counts, [row["above"] / 1e6 for row in rows], "o-", color=_COLOURS["nano"], label="measured")
    axes[1].plot(counts, unavoidable, "k:", label="input + labels")
    axes[1].plot(counts, [size + 1000 for size in unavoidable], "r--", label="target")
    axes[1].set(xlabel="slices", ylim=(0, 1.4 * (unavoidable[-1] + 1000)))
    axes[1].legend(fontsize=8, loc="upper left")
    for panel in axes:
        panel.grid(alpha=0.3)


def _curve(axes: list[Axes], rows: list[dict], label: str) -> None:
    for base in dict.fromkeys(row["base"] for row in rows):
        own = [row for row in rows if row["base"] == base]
        values = [row["value"] for row in own]
        axes[0].plot(values, [row["seconds"] * 1000 for row in own], "o-", color=_COLOURS[base], label=base)
        axes[1].plot(values, [row["above"] / 1e6 for row in own], "o-", color=_COLOURS[base], label=base)
    for panel in axes:
        panel.set_ylim(0, None)
        if label != _CURVES["side"]:
            panel.set_xscale("log", base=2)
        values = sorted({row["value"] for row in rows} - {192})  # too near to its neighbours to be written
        panel.set_xticks(values, [str(value) for value in values])
        panel.minorticks_off()
        panel.grid(alpha=0.3)
        panel.legend(fontsize=8)
    axes[0].set_title("milliseconds a slice")
    axes[1].set_xlabel(label)


def main() -> None:
    """Read the numbers and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, default=RESULTS / "speed.json", help="(default: %(default)s)")
    parser.add_argument("--png", type=Path, default=RESULTS / "scaling.png", help="(default: %(default)s)")
    args = parser.parse_args()
    draw(json.loads(args.json.read_text("utf-8"))).savefig(args.png, dpi=90)


if __name__ == "__main__":
    main()
