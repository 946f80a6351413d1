"""The commands that make the extension's models, their page, and the comparison of pretraining recipes."""

import csv
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from benchmark_testing import write_pack
from PIL import Image
from sam2adapt.modelfiles.bundle import read_card
from sam2adapt.modelfiles.card import read_verified_card
from sam2adapt.training.settings import TrainSettings
from trained import short_epochs

pytest.importorskip("dynamic_network_architectures")

import benchmark_sets
import bundled_models
import model_pages
import pretrain
import pretrain_ablation
from benchmark_sets import DataSet
from pretrain_data import Pack, training_part

__all__ = ["short_epochs"]
NAME = "retinal-vessels"


def call(monkeypatch, module, **options: str | Path) -> None:
    """Run a command with these options."""
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    monkeypatch.setattr(sys, "argv", [f"{module.__name__}.py", *words])
    module.main()


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """A small pack for the model of vessels, with label 2 in the place of 1, and a short recipe."""
    write_pack(tmp_path / "data" / "chasedb1", count=6)
    settings = TrainSettings(epochs=1, size=64, crop=32)
    short = replace(bundled_models.RECIPES[NAME], settings=settings, single=True, values={1: 2}, classes={2: "vessel"})
    monkeypatch.setitem(bundled_models.RECIPES, NAME, short)
    split = tmp_path / "data" / "chasedb1" / "split.json"
    split.write_text('{"train": ["0", "1", "2"], "val": ["3", "4", "5"]}')
    return tmp_path / "data"


def test_a_model_is_made_once_measured_on_val_and_gets_its_page(monkeypatch, data, tmp_path):
    work, pages = tmp_path / "work", tmp_path / "pages"
    call(monkeypatch, bundled_models, data=data, work=work, models=NAME)
    card = read_verified_card(work / f"{NAME}.safetensors")
    assert card["training"]["split"] == {"train": ["0", "1", "2"], "val": ["3", "4", "5"]}
    assert [case["id"] for case in card["metrics"]["cases"]] == ["3", "4", "5"]
    assert card["classes"][0]["id"] == 2 and card["slices"]["context"] == 0
    assert card["training"]["best_epoch"] == card["training"]["epochs"], "no epoch is chosen"

    monkeypatch.setattr(bundled_models, "train", lambda *_: pytest.fail("a finished model was trained again"))
    call(monkeypatch, bundled_models, data=data, work=work, models=NAME)

    call(monkeypatch, model_pages, data=data, work=work, models=NAME, pages=pages, **{"from": work})
    with Image.open(pages / f"{NAME}.png") as picture:
        assert picture.height > 3 * 320 and picture.width > 3 * 300
    text = (pages / "README.md").read_text(encoding="utf-8")
    assert f"]({NAME}.png)" in text and "Blood Vessel (59820001)" in text and "arteries from veins" in text
    assert f"| {card['metrics']['dice']['vessel']:.3f} ± " in text


def test_the_shown_cases_are_the_best_the_middle_and_the_worst():
    scores = {"a": 0.5, "b": 0.9, "c": None, "d": 0.1, "e": 0.6, "f": 0.7}
    assert model_pages.good_typical_worst(scores) == ["b", "e", "d"]


def test_recipes_name_a_known_pack_and_limits():
    for recipe in bundled_models.RECIPES.values():
        assert recipe.pack in benchmark_sets.PERMISSIVE and recipe.limits
        assert recipe.settings.max_minutes is None, "a run that ends by the clock cannot be repeated"


def test_pretraining_recipes_are_compared_on_data_that_no_base_has_seen(monkeypatch, tmp_path):
    for name in ("drive", "one"):
        write_pack(tmp_path / "data" / name)
    monkeypatch.setitem(benchmark_sets.ALL_SETS, "drive", DataSet({1: "vessel"}, {"size": 64, "crop": 32}))
    settings = TrainSettings(size=64, crop=64)
    packs = [Pack("one", training_part(tmp_path / "data" / "one"), ["vessel"], 1.0, settings)]
    monkeypatch.setattr(pretrain, "permissive", lambda data, work: packs)
    monkeypatch.setenv("SAM2ADAPT_HOME", str(tmp_path / "home"))
    options = {
        "data": tmp_path / "data", "work": tmp_path / "work", "results": tmp_path / "results", "steps": 2, "batch": 2,
        "fit_steps": 1, "methods": "head",
    }  # fmt: skip
    call(monkeypatch, pretrain_ablation, **options, recipes="none,mae+supervised", sets="drive")
    rows = list(csv.DictReader((tmp_path / "results" / "pretraining.csv").open()))
    assert [(row["recipe"], row["data"], row["steps"]) for row in rows] == [
        ("none", "drive", "1"), ("mae+supervised", "drive", "1")
    ]  # fmt: skip
    table = (tmp_path / "results" / "pretraining.md").read_text("utf-8")
    assert f"| mae+supervised | {float(rows[1]['dice']):.4f} |" in table and "for 2 steps" in table
    bases = {read_card(path)["base"]["sha256"] for path in (tmp_path / "work").glob("drive-*.safetensors")}
    assert len(bases) == 2

    begun = str(tmp_path / "work" / "nano-none.safetensors")
    further = options | {"work": tmp_path / "further", "start": begun, "fit_seeds": "0,1", "choose": 1, "fit_crop": 32}
    call(monkeypatch, pretrain_ablation, **further, recipes="none,made-up", sets="drive")
    rows = list(csv.DictReader((tmp_path / "results" / "pretraining_continued.csv").open()))
    assert [(row["seed"], row["recipe"]) for row in rows] == [
        ("0", "none"), ("0", "made-up"), ("1", "none"), ("1", "made-up")
    ]  # fmt: skip
    table = (tmp_path / "results" / "pretraining_continued.md").read_text("utf-8")
    both = sorted(float(row["dice"]) for row in rows if row["recipe"] == "made-up")
    assert f"({both[0]:.4f} to {both[1]:.4f})" in table and "1 training patients kept apart" in table

    monkeypatch.setattr(pretrain, "pretrain", lambda *_: pytest.fail("a finished base was made again"))
    call(monkeypatch, pretrain_ablation, **options, recipes="none,mae+supervised", sets="drive")
    write_pack(tmp_path / "data" / "chasedb1")
    with pytest.raises(SystemExit, match="Every base has seen chasedb1"):
        call(monkeypatch, pretrain_ablation, **options, sets="chasedb1")
