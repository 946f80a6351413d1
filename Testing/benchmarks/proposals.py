"""Count right and wrong proposals of a bundled model for every image at hand, by the rules of the panel.

    python Testing/benchmarks/proposals.py --data DATA [--each N] [--pictures] [--markdown FILE]

Slicer gives pictures axes of a patient; with ``--pictures`` they have none, as for the command line, so that a sagittal
model takes them, too.

A proposal is wrong if the image shows none of the model's structures, or if the set has a model and another one or none
is proposed. Limits were set on ten images of each set (``--each 10``); the last column counts the others.
"""

import argparse
import csv
import random
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from sam2adapt.imaging.volume import Volume, read_volume
from sam2adapt.modelfiles.catalog import list_models
from sam2adapt.segmenting.model import Model, load_model
from sam2adapt.segmenting.slices import SliceStack, check_modality
from sam2adapt.segmenting.trial import try_model
from sam2adapt.shared.errors import UserError
from sam2adapt.shared.model_cards import BUNDLED, slice_pixel, typical_size
from sam2adapt.shared.model_fit import PLAUSIBLE, SliceShape, fits_shape

NONE = "none"
#: Set: the model with its structures. The heads of ``brain_tumour`` hold both hippocampi, but the model knows them only
#: in images that were cropped around them.
SETS = {
    "acdc": NONE, "la": NONE, "hippocampus": "hippocampus-mr", "spider2d": "lumbar-spine-mr", "curvas2d": NONE,
    "cvc_clinicdb": NONE, "isbi2012": NONE, "drive": "retinal-vessels", "chasedb1": "retinal-vessels",
    "brain_tumour": NONE,
}  # fmt: skip
#: Single images: CT with lungs, and CT and MR without, as their labels say.
SAMPLES = {"ct_sample/chaos_ct": "torso-ct", "ct_sample/ts_ct_3mm": "torso-ct", "ct_sample/ts_dicom/series": NONE,
           "ct_sample/ts_mr_3mm": NONE}  # fmt: skip
COLUMNS = ("set", "image", "expected", "proposed", "scores", "seconds", "looked_at")
_LOOKED_AT = 10  # images of each set, on which the limits were set


def main() -> None:
    """Propose for all images, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--each", type=int, help="only so many images of each set")
    parser.add_argument("--rows", type=Path, help="CSV of single images; those that are there are not repeated")
    parser.add_argument("--pictures", action="store_true", help="pictures have no axes of a patient")
    parser.add_argument("--markdown", type=Path)
    arguments = parser.parse_args()
    rows = list(_done(arguments.rows))
    known = {(row["set"], row["image"]) for row in rows}
    models = {entry.name: load_model(entry.path) for entry in _bundled()}
    for name, path, expected, number in images(arguments.data):
        if (name, path.name) in known or (arguments.each and number >= arguments.each):
            continue
        began = time.perf_counter()
        volume = read_volume(path)
        proposed, scores = propose(volume if arguments.pictures else replace(volume, physical=True), models)
        values = (name, path.name, expected, proposed, scores, f"{time.perf_counter() - began:.2f}",
                  number < _LOOKED_AT)  # fmt: skip
        rows.append(dict(zip(COLUMNS, map(str, values), strict=True)))
        if arguments.rows:
            _append(arguments.rows, rows[-1])
    text = table(rows)
    print(text)
    if arguments.markdown:
        arguments.markdown.write_text(text + "\n", encoding="utf-8")


def images(data: Path) -> Iterator[tuple[str, Path, str, int]]:
    """Set, image, the model that should be proposed, and number within the set in an order that is always the same."""
    for name, expected in SETS.items():
        folder = data / name / "images"
        files = sorted(folder.iterdir()) if folder.is_dir() else sorted((data / name).glob("*/image.nii.gz"))
        random.Random(1).shuffle(files)
        for number, path in enumerate(files):
            yield name, path, expected, number
    for name, expected in SAMPLES.items():
        folder = data / name
        for path in sorted(folder.glob("image*.nii.gz")) or [folder] * folder.is_dir():
            yield name, path, expected, 0
    try:
        import slicerio
    except ImportError:
        return
    yield "slicerio", Path(slicerio.get_testdata_file("CTChest4.nrrd")), "torso-ct", 0


def propose(volume: Volume, models: dict[str, Model]) -> tuple[str, str]:
    """The first model, best measured first, that fits by its card and by a trial; and the scores of all that it tried.

    As ``SAM2AdaptLib.Segmenting.ProposalJob``, but on whole volumes.
    """
    scores = []
    for name, model in models.items():
        try:
            check_modality(volume, model.card["modality"], name)
            stack = SliceStack(volume, model.slices)
        except UserError:
            continue
        sides = [size * spacing for size, spacing in zip(stack.native_size, stack.native_spacing, strict=True)]
        shape = SliceShape(max(sides), max(stack.native_spacing))
        if not fits_shape(slice_pixel(model.card), typical_size(model.card), shape):
            continue
        trial = try_model(volume, model)
        scores.append(f"{name} {trial.score:.3f}")
        if trial.score >= PLAUSIBLE:
            return name, "; ".join(scores)
    return NONE, "; ".join(scores)


def table(rows: list[dict[str, str]]) -> str:
    """Markdown: for each set how often what was proposed."""
    lines = ["| set | expected | images | right | wrong model | none although one fits | not looked at: right of |",
             "| --- | --- | --- | --- | --- | --- | --- |"]  # fmt: skip
    for name in dict.fromkeys(row["set"] for row in rows):
        lines.append(_line(name, [row for row in rows if row["set"] == name]))
    return "\n".join([*lines, _line("all", rows)])


def _line(name: str, rows: list[dict[str, str]]) -> str:
    kinds = Counter(_kind(row) for row in rows)
    fresh = [row for row in rows if row["looked_at"] == "False"]
    expected = rows[0]["expected"] if name != "all" else ""
    right = sum(_kind(row) == "right" for row in fresh)
    cells = (name, expected, len(rows), kinds["right"], kinds["wrong"], kinds["missed"], f"{right} of {len(fresh)}")
    return f"| {' | '.join(map(str, cells))} |"


def _kind(row: dict[str, str]) -> str:
    if row["proposed"] == row["expected"]:
        return "right"
    return "missed" if row["proposed"] == NONE else "wrong"


def _bundled() -> list:
    entries = [entry for entry in list_models() if entry.where == BUNDLED and entry.card]
    return sorted(entries, key=lambda entry: -1.0 if entry.dice is None else entry.dice, reverse=True)


def _done(path: Path | None) -> Iterator[dict[str, str]]:
    if path and path.is_file():
        with path.open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)


def _append(path: Path, row: dict[str, str]) -> None:
    is_new = not path.is_file()
    with path.open("a", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        if is_new:
            writer.writeheader()
        writer.writerow(row)


if __name__ == "__main__":
    sys.exit(main())
