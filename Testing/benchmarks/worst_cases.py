"""The three worst cases of each data set's best model, as pictures.

Those of packs that may be passed on go into the repository; the others' licences forbid it, so they stay in WORK.
"""

from pathlib import Path

from accuracy_tables import case_dice, ours
from benchmark_sets import PERMISSIVE, parts_of
from overlay import Segmented, panel, stacked
from sam2adapt.model import load_model
from sam2adapt.training.cases import Case

COUNT = 3


def write(results: list[dict], data: Path, work: Path, folder: Path) -> None:
    """Draw the worst cases of what has the best Dice on each test set; pictures that are there are kept.

    :param results: of finished runs; ``work``: with their model files; ``folder``: of the repository.
    """
    best: dict[tuple[str, str], dict] = {}
    for result in results:
        if not ours(result["run"]["method"]):
            continue
        for pack, metrics in result["tests"].items():
            key = result["run"]["data"], pack
            if key not in best or metrics["dice"]["mean"] > best[key]["tests"][pack]["dice"]["mean"]:
                best[key] = result
    for (name, pack), result in best.items():
        _draw(name, pack, result, data, work, (folder if pack in PERMISSIVE else work) / "worst")


def _draw(name: str, pack: str, result: dict, data: Path, work: Path, folder: Path) -> None:
    model_name = result["name"]
    stem = name if name == pack else f"{name}-{pack}"
    path, note = folder / f"{stem}.png", folder / f"{stem}.txt"
    if note.is_file() and path.is_file() and note.read_text(encoding="utf-8").startswith(f"{model_name}\n"):
        return
    folder.mkdir(parents=True, exist_ok=True)
    model = load_model(work / f"{model_name}.safetensors")
    cases: dict[str, Case] = {case.id: case for case in parts_of(name, data, work).tests[pack]}
    scores = {entry["id"]: case_dice(entry) for entry in result["tests"][pack]["cases"]}
    worst = sorted((score, case) for case, score in scores.items() if score is not None)[:COUNT]
    captions = [f"{case}: Dice {score:.3f}" for score, case in worst]
    shown = [Segmented(model, cases[case]) for _, case in worst]
    panels = [
        panel(case.view(case.wrongest()), model.structures, caption)
        for case, caption in zip(shown, captions, strict=True)
    ]
    stacked(panels).save(path)
    note.write_text("\n".join([model_name, *captions, ""]), encoding="utf-8")
