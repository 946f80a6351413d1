"""The three worst cases of each data set's best model, as pictures.

Those of packs that may be passed on go into the repository; the others' licences forbid it, so they stay in WORK.
"""

from pathlib import Path

from accuracy_tables import Rows, case_dice, ours
from benchmark_sets import PERMISSIVE, parts_of
from overlay import Segmented, panel, stacked
from sam2adapt.evaluation.cases import Case
from sam2adapt.segmenting.model import load_model

COUNT = 3


def write(results: list[dict], rows: Rows, data: Path, work: Path, folder: Path) -> None:
    """Draw the worst cases of what has the best Dice on each test set; pictures that are there are kept.

    :param results: of finished runs; ``rows``: of the table, also of models that are not here and cannot be drawn;
        ``work``: with the model files; ``folder``: of the repository.
    """
    best: dict[tuple[str, str], float] = {}
    for row in rows:
        if ours(row["method"]):
            key = row["data"], row["test"]
            best[key] = max(row["dice"], best.get(key, 0.0))
    for result in results:
        name = result["run"]["data"]
        for pack, metrics in result["tests"].items():
            if ours(result["run"]["method"]) and round(metrics["dice"]["mean"], 4) == best[name, pack]:
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
