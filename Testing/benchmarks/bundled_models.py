r"""Train the models of the extension that stand beside ``torso-ct``, and put what is good into its folder of models.

    python Testing/benchmarks/bundled_models.py --data DATA --work WORK [--models hippocampus-mr] [--install]
    python Testing/benchmarks/model_pages.py --data DATA --work WORK

DATA holds the packs hippocampus (CC BY-SA 4.0), spider2d and chasedb1 (both CC BY 4.0); only their ``train`` part is
trained on. No epoch is chosen: the averaged weights after the last one count, and ``val`` is measured once, afterwards.
Runs end after a number of epochs, not of minutes, and go on where they were broken off. The second command makes the
page with pictures and numbers (``Resources/models``) from the models.
"""

import argparse
import shutil
from dataclasses import dataclass, field, replace
from pathlib import Path

from contenders import CONTENDERS
from relabel import SPINE, remap
from sam2adapt.cli.progress import Bar
from sam2adapt.evaluation.cases import Case, find_cases, read_split, select
from sam2adapt.evaluation.evaluate import evaluate
from sam2adapt.imaging.terminology import describe
from sam2adapt.modelfiles.bundle import read_bundle, read_card, write_bundle
from sam2adapt.modelfiles.case_names import with_names
from sam2adapt.segmenting.model import load_model
from sam2adapt.shared.files import bundled_folder
from sam2adapt.training.run import train
from sam2adapt.training.settings import TrainRequest, TrainSettings, usual_rate

RATE = usual_rate("nano")


@dataclass(frozen=True)
class Recipe:
    """How a model is made and what is said about it.

    :param pack: folder of the data; ``values``: its label values by those of the model, None: the same.
    :param contender: the combination of methods, one of the accuracy benchmark's on ``nano``.
    :param version: of the model, larger with each one that is given out.
    :param single: the data are single pictures, so that neighbouring slices were never seen and shall not be shown.
    :param view: what the pictures show, in words; ``limits``: what the model cannot do, a sentence each.
    """

    pack: str
    classes: dict[int, str]
    description: str
    data: str
    license: str
    settings: TrainSettings
    view: str
    limits: tuple[str, ...]
    values: dict[int, int] | None = None
    contender: str = "nano"
    version: str = "1.0.0"
    single: bool = False
    postprocessing: dict = field(default_factory=dict)


RECIPES = {
    "hippocampus-mr": Recipe(
        "hippocampus",
        {1: "anterior hippocampus", 2: "posterior hippocampus"},
        "Demonstration, not a clinical model: anterior and posterior hippocampus on T1 MR cropped around it.",
        "Medical Segmentation Decathlon, Task04 Hippocampus, 198 cropped T1 MR volumes (CC BY-SA 4.0)",
        "CC-BY-SA-4.0",
        TrainSettings(epochs=8, learning_rate=RATE, size=128, flips=[1], axis="axial", modality="MR"),
        "axial slices, drawn with the front at the top",
        (
            "It knows T1 volumes of about 35 x 50 x 35 mm around one hippocampus: crop a whole head to that first.",
            "The border between anterior and posterior part follows the protocol of the data set.",
            "The data set names no patients, so one patient's two sides may lie in training and validation.",
        ),
        postprocessing={"largest_component": [1, 2], "fill_holes": [1, 2]},
    ),
    "lumbar-spine-mr": Recipe(
        "spider2d",
        {1: "vertebra", 2: "spinal canal", 3: "intervertebral disc"},
        "Demonstration, not a clinical model: vertebrae, discs and spinal canal on sagittal T2 MR of the lumbar spine.",
        "SPIDER lumbar spine data set, 33 sagittal T2 slices of 23 patients (CC BY 4.0)",
        "CC-BY-4.0",
        TrainSettings(
            epochs=60, batch_size=4, learning_rate=RATE, base_learning_rate=0.001,
            size=288, scale=0.35, flips=[0, 1], axis="sagittal", modality="MR",
        ),
        "sagittal slices",
        (
            "It was trained on 33 slices; in most of the slices beside the middle it misses parts of the arches.",
            "Vertebrae are one structure: it does not count levels.",
            "It takes every slice as about 320 mm long; half or twice that is beyond what it has seen.",
            "T1, CT, the neck and the chest were not in the data, nor were tumours or fractures in any number.",
        ),
        values=SPINE,
        contender="nano-wide-full-res",
        version="1.1.0",
        single=True,
    ),
    "retinal-vessels": Recipe(
        "chasedb1",
        {1: "retinal vessel"},
        "Demonstration, not a clinical model: vessels on fundus photographs.",
        "CHASE_DB1, 18 fundus photographs of nine children, first observer (CC BY 4.0)",
        "CC-BY-4.0",
        TrainSettings(epochs=100, learning_rate=RATE, size=960, rotation=180.0, flips=[0, 1]),
        "colour photographs",
        (
            "It knows photographs of children's eyes by one camera, with the disc in view, about 1000 pixels wide.",
            "It does not tell arteries from veins, and loses the thinnest branches.",
            "The black frame round the picture is best left in; outside of it vessels are not to be believed.",
        ),
    ),
}  # fmt: skip


def cases_of(recipe: Recipe, data: Path, work: Path) -> dict[str, list[Case]]:
    """Cases of both parts of the pack, with the model's label values."""
    folder = data / recipe.pack
    cases, split = find_cases(folder / "images", folder / "labels"), read_split(folder / "split.json")
    if recipe.values:
        cases = remap(cases, recipe.values, work / f"labels-{recipe.pack}")
    return {part: select(cases, split, part) for part in ("train", "val")}


def make(name: str, recipe: Recipe, data: Path, work: Path) -> Path:
    """Train a model, or go on, and give its file."""
    parts, contender = cases_of(recipe, data, work), CONTENDERS[recipe.contender]
    request = TrainRequest(
        cases=parts["train"],
        output=work / f"{name}.safetensors",
        structures=[describe(value, structure) for value, structure in recipe.classes.items()],
        method=contender.method,
        method_settings=contender.settings,
        settings=replace(recipe.settings),
        split={"train": [case.id for case in parts["train"]], "val": []},
        description=recipe.description,
        license=recipe.license,
        data=recipe.data,
        postprocessing=recipe.postprocessing,
        keep_slices=False,
        keep_pieces=True,  # the recipe says how to clean
    )
    request.resume = (request.folder / "checkpoint.pt").is_file()
    bar = Bar(name, "%")

    def progress(state) -> None:
        bar.update(state.fraction * 100, 100, f"epoch {state.epoch}, loss {state.loss or 0:.3f}")

    train(request, progress, lambda text: print(text, flush=True))
    bar.close()
    finish(request.output, recipe, parts["val"])
    return request.output


def finish(path: Path, recipe: Recipe, val: list[Case]) -> None:
    """Write into a model's card what its training could not know: version, scores on ``val``, single slices."""
    content = read_bundle(path)
    card = with_names(content.card)  # the images are public
    card["version"] = recipe.version
    metrics = evaluate(load_model(path), val)
    card["metrics"] = {"subset": "val, on which no epoch was chosen"} | metrics
    card["training"]["split"]["val"] = [case.id for case in val]
    if recipe.single:
        card["slices"]["context"] = 0
    write_bundle(path, card, content.tensors)


def main() -> None:
    """Make the models that are missing."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the packs")
    parser.add_argument("--work", type=Path, required=True, help="folder for runs and models")
    parser.add_argument("--models", default=",".join(RECIPES), help="(default: %(default)s)")
    parser.add_argument("--install", action="store_true", help="copy finished models into the extension")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    for name in args.models.split(","):
        path = args.work / f"{name}.safetensors"
        if not path.is_file() or read_card(path)["metrics"] is None:
            make(name, RECIPES[name], args.data, args.work)
        dice = read_card(path)["metrics"]["dice"]
        print(f"{name}: " + ", ".join(f"{key} {value:.4f}" for key, value in dice.items()), flush=True)
        if args.install:
            shutil.copy(path, bundled_folder() / path.name)


if __name__ == "__main__":
    main()
