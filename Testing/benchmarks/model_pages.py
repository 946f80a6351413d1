r"""Make the page of the models that come with the extension, from their cards and from how they do on test cases.

    python Testing/benchmarks/model_pages.py --data DATA --work WORK [--models hippocampus-mr] [--from FOLDER]

For each model a good, a typical and the worst case are drawn beside their truth, ``Resources/models/NAME.png``, and
numbers, data, licence and limits are written into ``Resources/models/README.md``. DATA holds the packs.
"""

import argparse
import statistics
from pathlib import Path

import torso_ct
from accuracy_tables import case_dice
from bundled_models import RECIPES, cases_of
from overlay import Segmented, panel, stacked
from PIL import Image
from sam2adapt.evaluation.cases import Case
from sam2adapt.modelfiles.bundle import read_card
from sam2adapt.segmenting.model import Model, load_model
from sam2adapt.shared.files import bundled_folder

PAGES = Path(__file__).resolve().parents[2] / "Resources" / "models"
TORSO = "torso-ct"
TORSO_LIMITS = (
    "Its training labels are no radiologist's: a threshold made those of one CT, TotalSegmentator those of three.",
    "It was trained on four patients' lower lungs; tumours, effusions and collapsed lungs were not in the data.",
    "Trachea and large bronchi are labelled as it happens.",
)
_NAMES = ("good", "typical", "worst")


def test_cases(name: str, data: Path, work: Path) -> list[Case]:
    """The cases that a model was measured on."""
    if name != TORSO:
        return cases_of(RECIPES[name], data, work)["val"]
    return torso_ct.test_cases(work / "torso-test", load_model(bundled_folder() / f"{TORSO}.safetensors").structures)


def good_typical_worst(scores: dict) -> list:
    """Keys of the highest, the middle and the lowest score."""
    ordered = sorted((key for key, score in scores.items() if score is not None), key=scores.get, reverse=True)
    return [ordered[0], ordered[len(ordered) // 2], ordered[-1]]


def picture(model: Model, cases: list[Case]) -> Image.Image:
    """Good, typical and worst case, or slices where there is one case only."""
    if len(cases) == 1:
        (only,) = (Segmented(model, case) for case in cases)
        scores = {k: only.dice(k) for k in range(len(only)) if (only.truth[k] > 0).any()}
        chosen = [(f"slice {k}", scores[k], only.view(k)) for k in good_typical_worst(scores)]
    else:
        by_id = {case.id: case for case in cases}
        scores = {entry["id"]: case_dice(entry) for entry in model.card["metrics"]["cases"]}
        chosen = []
        for case in good_typical_worst(scores):
            shown = Segmented(model, by_id[case])
            chosen.append((case, scores[case], shown.view(shown.fullest())))
    return stacked([
        panel(view, model.structures, f"{name}: {what}, Dice {score:.3f}")
        for name, (what, score, view) in zip(_NAMES, chosen, strict=True)
    ])  # fmt: skip


def section(name: str, card: dict, size: int) -> str:
    """What the page says of a model."""
    metrics, training, slices = card["metrics"], card["training"], card["slices"]
    limits = TORSO_LIMITS if name == TORSO else RECIPES[name].limits
    grid = (
        f"{slices['spacing'][0]} mm pixels" if slices["spacing"] else f"{slices['size']} pixels along the longer side"
    )
    unit = "pixels" if metrics["distance_unit"] == "voxel" else "mm"
    scored = [(case_dice(entry), entry["id"]) for entry in metrics["cases"]]
    worst = ", ".join(f"{case} ({score:.3f})" for score, case in sorted(s for s in scored if s[0] is not None)[:3])
    lines = [
        f"## {name}", "", card["description"], "", f"![Truth and model: good, typical, worst]({name}.png)", "",
        f"| structure | SNOMED CT | Dice | HD95, {unit} | ASSD, {unit} |", "| --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for entry in card["classes"]:
        values = [case["dice"][entry["name"]] for case in metrics["cases"]]
        defined = [value for value in values if value is not None]
        dice = f"{statistics.mean(defined):.3f} ± {statistics.pstdev(defined):.3f}"
        far = [metrics[measure][entry["name"]] for measure in ("hd95", "assd")]
        cells = [entry["name"], _code(entry["terminology"]), dice, *(f"{v:.1f}" if v is not None else "-" for v in far)]
        lines.append(f"| {' | '.join(cells)} |")
    counts, cases = training["parameters"], len(training["split"]["train"])
    method = f"{card['method']['name']} on base `{card['base']['id']}`, {cases} training cases"
    effort = f"{training['epochs']} epochs, seed {training['seed']}, {training['minutes']:.0f} minutes"
    share = f"{counts['trained']:,} of {counts['total']:,} parameters trained, {size / 1e6:.1f} MB"
    lines += [
        "", f"Mean and spread over {len(metrics['cases'])} case(s): {metrics['subset']}. Worst: {worst}.", "",
        f"- **Data**: {training['data']['summary']}.",
        f"- **Licence of the model**: {card['license']}.",
        f"- **Made**: {method}, {effort}; {share}.",
        f"- **Slices**: {slices['axis']}, oriented {slices['orientation']} from the volume's own geometry, {grid}.",
        "- **What it cannot do**:", *(f"  - {limit}" for limit in limits), "",
    ]  # fmt: skip
    return "\n".join(lines)


def _code(terminology: str) -> str:
    parts = [part.split("^") for part in terminology.split("~")]
    named = [f"{meaning} ({code})" for _, code, meaning in parts[2:4] if code]
    return ", ".join(named)


def main() -> None:
    """Draw the pictures and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the packs")
    parser.add_argument("--work", type=Path, required=True, help="folder for label files")
    parser.add_argument("--models", default=f"{TORSO},{','.join(RECIPES)}", help="(default: %(default)s)")
    parser.add_argument("--from", dest="folder", type=Path, default=bundled_folder(), help="folder with the models")
    parser.add_argument("--pages", type=Path, default=PAGES, help="where the page goes (default: %(default)s)")
    args = parser.parse_args()
    args.pages.mkdir(parents=True, exist_ok=True)
    text = [
        "# The models that come with the extension", "",
        "Demonstrations of what a training with this extension gives, not clinical models. Pictures: a slice, its",
        "truth, what the model makes of it. All of it is made by `python Testing/benchmarks/model_pages.py`.", "",
    ]  # fmt: skip
    for name in args.models.split(","):
        path = args.folder / f"{name}.safetensors"
        if path.is_file():
            drawn = picture(load_model(path), test_cases(name, args.data, args.work))
            drawn.save(args.pages / f"{name}.png", optimize=True)
            text.append(section(name, read_card(path), path.stat().st_size))
            print(f"{name}: {args.pages / name}.png", flush=True)
    (args.pages / "README.md").write_text("\n".join(text), encoding="utf-8")


if __name__ == "__main__":
    main()
