"""What clicks are worth: five simulated ones on the worst slice of each volume, with and without their parts.

    python Testing/benchmarks/clicks.py --data DATA --set acdc MODEL [PROMPTED] --set hippocampus hippocampus-mr

PROMPTED is a model that was trained with prompts. Writes ``results/clicks.csv``, ``.md`` and ``.png``; the page has the
commands that train the models of acdc. ``simulated_clicks.py`` has the protocol.
"""

import argparse
import csv
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from benchmark_sets import PERMISSIVE
from fill_cases import FillCase, cases_of
from sam2adapt.correcting import corrector as corrector_module
from sam2adapt.correcting.corrector import Corrector
from sam2adapt.correcting.neighbourhood import Slice, reach_of
from sam2adapt.correcting.spread import Click, spread
from sam2adapt.segmenting.model import Model, load_model
from sam2adapt.segmenting.predict import segment
from scipy import ndimage
from simulated_clicks import next_click, obey, slice_dice, worst_slice

RESULTS = Path(__file__).parent / "results"
CLICKS, CARRY = 5, 2
_COLOURS = ("#e4572e", "#12b5a0", "#ffc74d")
_SHOWN = 60  # pixels of the truth
Spread = Callable[[Slice, Click], np.ndarray]


def clicked_only(part: Slice, click: Click) -> np.ndarray:
    """The clicked pixel alone."""
    mask = part.mask.copy()
    mask[tuple(click.pixels.T)] = click.positive
    return mask


def disc(part: Slice, click: Click) -> np.ndarray:
    """All within the reach of the click, as a round brush."""
    away = np.ones(part.mask.shape, bool)
    away[tuple(click.pixels.T)] = False
    near = ndimage.distance_transform_edt(away) <= reach_of(part.mask, click.pixels, click.positive)
    return np.where(near, click.positive, part.mask)


def network_only(part: Slice, click: Click) -> np.ndarray:
    """What the network says with the clicks as prompts, and the clicked pixel."""
    return clicked_only(Slice(part.grey, part.margin, part.margin > 0), click)


@dataclass(frozen=True)
class Contender:
    """A way to answer clicks; ``model``: which file, ``""`` for none."""

    name: str
    how: Spread
    model: str = "model"


PLAIN = (
    Contender("clicked pixel alone", clicked_only),
    Contender("round brush that reaches the right pixels", disc),
    Contender("**clicks, no model**", spread, ""),
    Contender("**clicks, model**", spread),
)
PROMPTED = (
    Contender("network with prompts alone", network_only, "prompted"),
    Contender("**clicks, network with prompts**", spread, "prompted"),
)


def run(case: FillCase, contender: Contender, model: Model, carry: int) -> dict:
    """Five clicks on the worst slice: its Dice and that of its neighbours after each, seconds of each."""
    labels = segment(case.volume, model).labels.array[0]
    corrector = Corrector(case.volume, model if contender.model else None)
    stack, names = corrector.stack, {one.id: one.name for one in model.structures}
    truth, shown = stack.oriented(case.truth), stack.oriented(labels)
    number, values = worst_slice(shown, truth)
    beside = [n for n in range(number - carry, number + carry + 1) if 0 <= n < len(truth) and n != number]
    beside = [n for n in beside if truth[n].any()]
    flat = stack.oriented(np.arange(truth.size).reshape(case.truth.shape))
    whole = tuple(slice(0, n) for n in case.truth.shape)
    corrector.prepare(tuple(slice(k, k + 1) for k in np.unravel_index(flat[number, 0, 0], case.truth.shape)))
    around = [dice_beside(shown, truth, beside)]
    dice, seconds, gestures = [slice_dice(shown[number], truth[number], values)], [], {}
    corrector_module.spread = contender.how
    before = shown[number].copy()
    for _ in range(CLICKS):
        error = next_click(shown[number], truth[number])
        if error:
            row, column = error.click.pixels[0]
            voxel = [int(n) for n in np.unravel_index(flat[number, row, column], case.truth.shape)][::-1]
            entry = {"kind": "point", "positive": error.click.positive, "voxels": [voxel]}
            gestures.setdefault(error.value, []).append(entry)
            mask = labels == error.value
            began = time.perf_counter()
            result = corrector.correct(names[error.value], mask, whole, gestures[error.value], carry)
            seconds.append(time.perf_counter() - began)
            labels[...] = obey(labels, error.value, result.masks)
        dice.append(slice_dice(shown[number], truth[number], values))
        around.append(dice_beside(shown, truth, beside))
    corrector_module.spread = spread
    picture = stack.array[0, number], before, shown[number].copy(), truth[number]
    return {"dice": dice, "around": around, "seconds": seconds, "picture": picture}


def dice_beside(labels: np.ndarray, truth: np.ndarray, numbers: list[int]) -> float:
    """Mean Dice of some slices."""
    structures = {n: [int(value) for value in np.unique(truth[n]) if value] for n in numbers}
    return float(np.mean([slice_dice(labels[n], truth[n], structures[n]) for n in numbers])) if numbers else np.nan


def measure(name: str, models: dict[str, Model], data: Path, limit: int | None) -> list[dict]:
    """A row for each contender, and one that carries its clicks."""
    cases, rows = list(cases_of(name, data, "val", limit)), []
    contenders = [*PLAIN, *(PROMPTED if "prompted" in models else ())]
    for contender in [*contenders, None]:
        one = contender or PLAIN[-1]  # last, the same carried
        model = models[one.model or "model"]
        runs = [run(case, one, model, 0 if contender else CARRY) for case in cases]
        dice = np.array([entry["dice"] for entry in runs])
        seconds = np.concatenate([entry["seconds"] for entry in runs])
        title = one.name if contender else f"{one.name}, carried to {CARRY} slices"
        row = {"set": name, "clicks": title, "volumes": len(runs)}
        row |= {f"dice_{n}": round(value, 4) for n, value in enumerate(dice.mean(0).tolist())}
        row |= {"worst_fall": round(float(np.diff(dice).min()), 4), "ms": round(1e3 * float(np.median(seconds)))}
        row["ms_most"] = round(1e3 * float(seconds.max()))
        if not contender:
            around = np.nanmean([entry["around"] for entry in runs], 0)
            row |= {"beside_0": round(float(around[0]), 4), "beside_5": round(float(around[-1]), 4)}
        rows.append(row)
        print(row, flush=True)
        if name in PERMISSIVE and contender is PLAIN[-1]:
            draw(max(runs, key=_worth_showing)["picture"])
    return rows


def _worth_showing(entry: dict) -> float:
    """What the clicks gained, in a slice that shows more than a few pixels of the truth."""
    return (entry["dice"][-1] - entry["dice"][0]) * (np.count_nonzero(entry["picture"][3]) >= _SHOWN)


def draw(picture: tuple[np.ndarray, ...]) -> None:
    """The slice before and after the clicks, beside the truth."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    grey, *masks = picture
    figure, axes = plt.subplots(1, 3, figsize=(9, 3.4))
    for axis, mask, title in zip(axes, masks, ("Model", "After five clicks", "Truth"), strict=True):
        axis.imshow(grey, cmap="gray")
        for value in np.unique(mask[mask > 0]):
            axis.contour(mask == value, [0.5], colors=_COLOURS[value % len(_COLOURS)], linewidths=1.5)
        axis.set_title(title)
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(RESULTS / "clicks.png", dpi=110)


def write(rows: list[dict]) -> None:
    """The rows as CSV and as a page."""
    fields = list(dict.fromkeys(key for row in rows for key in row))
    with (RESULTS / "clicks.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fields, restval="")
        writer.writeheader()
        writer.writerows(rows)
    head = "| clicks | before | 1 | 2 | 3 | 4 | 5 | largest fall of one click | ms a click (most) |"
    lines = ["", head, "| --- " * 9 + "|"]
    page = [(RESULTS / "clicks_about.md").read_text(encoding="utf-8").rstrip()]
    for name in dict.fromkeys(row["set"] for row in rows):
        mine = [row for row in rows if row["set"] == name]
        page += ["", f"## {name}, val, {mine[0]['volumes']} volumes, worst slice of each", *lines]
        for row in mine:
            dice = " | ".join(f"{row[f'dice_{n}']:.3f}" for n in range(CLICKS + 1))
            page.append(f"| {row['clicks']} | {dice} | {abs(row['worst_fall']):.3f} | {row['ms']} ({row['ms_most']}) |")
        last = mine[-1]
        beside = f"from {last['beside_0']:.3f} to {last['beside_5']:.3f}"
        page += ["", f"Carried, the clicks take the slices up to {CARRY} beside the worst one {beside}."]
    (RESULTS / "clicks.md").write_text("\n".join(page) + "\n", encoding="utf-8")


def main() -> None:
    """Measure sets and write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SAM2ADAPT_DATA", "")))
    parser.add_argument("--set", action="append", nargs="+", required=True, metavar=("NAME MODEL [PROMPTED]", ""))
    parser.add_argument("--limit", type=int, help="volumes of each set (default: all)")
    args = parser.parse_args()
    rows = []
    for name, *files in args.set:
        models = {kind: load_model(file) for kind, file in zip(("model", "prompted"), files, strict=False)}
        rows += measure(name, models, args.data, args.limit)
    write(rows)


if __name__ == "__main__":
    main()
