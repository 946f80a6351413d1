"""Draw where filling was farthest below Slicer's tools: ``python Testing/benchmarks/fill_worst.py``

Takes the volumes from ``results/fill.csv`` and writes ``results/fill_worst.png``: truth, ours and the best peer in the
slice that ours missed most. Only sets whose licence lets pictures be passed on are drawn.
"""

import argparse
import csv
import os
from pathlib import Path

import matplotlib as mpl
import numpy as np
from benchmark_sets import PERMISSIVE
from fill import OURS, SLICERS, start_without
from fill_cases import FillCase, cases_of
from fill_peers import PEERS, ours
from sam2adapt.filling.filler import START

RESULTS = Path(__file__).parent / "results"
SHOWN = (*PERMISSIVE, "ctchest4", "ts_ct_3mm", "chaos_ct")  # CC BY(-SA) or Apache-2.0


def main() -> None:
    """Find the worst cases and draw them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SAM2ADAPT_DATA", "")))
    parser.add_argument("--count", type=int, default=4)
    args = parser.parse_args()
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    worst = _worst(list(csv.DictReader((RESULTS / "fill.csv").open(newline=""))))[: args.count]
    figure, axes = plt.subplots(len(worst), 3, figsize=(8, 2.7 * len(worst)), squeeze=False)
    for row, (behind, name, title, density, peer) in zip(axes, worst, strict=True):
        case = next(case for case in cases_of(name, args.data, "val", None) if case.name == title)
        _draw(row, case, density, peer, f"{name} {title}, {density}: {behind:+.3f}")
    figure.tight_layout()
    figure.savefig(RESULTS / "fill_worst.png", dpi=110)


def _worst(rows: list[dict]) -> list[tuple[float, str, str, str, str]]:
    """How far ours is below the best peer, set, case, density and that peer; one density of a volume, worst first."""
    cells: dict[tuple, dict[str, float]] = {}
    for row in rows:
        if row["part"] == "val" and row["set"] in SHOWN:
            cells.setdefault((row["set"], row["case"], row["density"]), {})[row["method"]] = float(row["dice"])
    found = {}
    for (name, case, density), own in cells.items():
        peers = {method: own[method] for method in SLICERS if method in own}
        mine = [own[method] for method in reversed(OURS) if method in own]
        if peers and mine:
            best = max(peers, key=peers.get)
            entry = (mine[0] - peers[best], name, case, density, best)
            found[name, case] = min(entry, found.get((name, case), entry))
    return sorted(found.values())


def _draw(row, case: FillCase, density: str, peer: str, title: str) -> None:
    drawn = case.drawn(density)
    start = start_without(case.set)
    results = [ours(case, drawn, start if start.exists() else START)[0], PEERS[peer](case, drawn)]
    image, truth, own, other = (
        np.moveaxis(array, case.axis, 0) for array in (case.volume.array[0], case.truth, *results)
    )
    between = [k for k in range(drawn[0], drawn[-1] + 1) if k not in drawn]
    place = max(between, key=lambda k: int((own[k] != truth[k]).sum()))
    used = np.argwhere(truth.any(0))
    (top, left), (bottom, right) = used.min(0) - 8, used.max(0) + 9
    window = (slice(max(0, top), bottom), slice(max(0, left), right))
    for axes, labels, what in zip(row, (truth, own, other), ("truth", "ours", peer), strict=True):
        axes.imshow(image[place][window], cmap="gray")
        shown = np.ma.masked_equal(labels[place][window], 0)
        axes.imshow(shown, cmap="tab10", alpha=0.4, vmin=1, vmax=10, interpolation="nearest")
        axes.set_title(f"{title}\n{what}, slice {place}" if what == "truth" else what, fontsize=7)
        axes.axis("off")


if __name__ == "__main__":
    main()
