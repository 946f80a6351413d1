"""The benchmark of accuracy: one command from packs to tables, and nothing is trained twice."""

import csv
import importlib.util
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

SCRIPT = Path(__file__).resolve().parents[1] / "benchmarks" / "accuracy.py"


@pytest.fixture
def accuracy(monkeypatch):
    """The script as a module, with its packs small enough for a test."""
    spec = importlib.util.spec_from_file_location("accuracy", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "accuracy", module)  # dataclasses look their module up
    spec.loader.exec_module(module)
    monkeypatch.setitem(module.SETS, "drive", module.DataSet({1: "vessel"}, {"size": 64, "crop": 32}, True))
    return module


@pytest.fixture
def data(tmp_path) -> Path:
    """A pack ``drive`` of four photographs: a bright vessel inside a round field of view, and a bright rim outside."""
    root = tmp_path / "data" / "drive"
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:64, :64]
    field = (rows - 32) ** 2 + (columns - 32) ** 2 < 28**2
    for number in range(4):
        vessel = abs(rows - columns + generator.integers(-15, 15)) < 4
        grey = generator.normal(90, 10, (64, 64)) + 120 * (vessel | ~field)
        pictures = {
            "images": np.stack([grey] * 3, axis=-1).clip(0, 255), "labels": vessel | ~field, "fov": field
        }  # fmt: skip
        for part, array in pictures.items():
            (root / part).mkdir(parents=True, exist_ok=True)
            image = sitk.GetImageFromArray(array.astype(np.uint8), isVector=array.ndim == 3)
            sitk.WriteImage(image, str(root / part / f"{number}.png"))
    (root / "split.json").write_text(json.dumps({"train": ["0", "1", "2"], "val": ["3"]}))
    return tmp_path / "data"


def call(accuracy, monkeypatch, data: Path, work: Path, methods: str) -> list[dict]:
    results = work / "results"
    command = f"accuracy.py --sets drive --steps 2 --methods {methods}".split()
    paths = ["--data", str(data), "--work", str(work), "--results", str(results)]
    monkeypatch.setattr(sys, "argv", command + paths)
    accuracy.main()
    return list(csv.DictReader((results / "methods.csv").open()))


def test_finished_runs_are_in_the_tables_and_not_repeated(accuracy, monkeypatch, data, tmp_path):
    work = tmp_path / "work"
    rows = call(accuracy, monkeypatch, data, work, "head,balr")
    assert [(row["method"], row["steps"], row["seed"]) for row in rows] == [("head", "2", "0"), ("balr", "2", "0")]
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("dice", "iou", "auc", "trained_share"))
    text = (work / "results" / "methods.md").read_text()
    assert "**drive** (val), base `nano`, 2 steps, batch 8" in text
    assert f"| balr | {float(rows[1]['dice']):.4f} |" in text

    monkeypatch.setattr(accuracy, "train", lambda *_: pytest.fail("a finished run was trained again"))
    shutil.rmtree(work / "results")
    assert call(accuracy, monkeypatch, data, work, "head,balr") == rows


def test_only_pixels_in_the_field_of_view_are_evaluated(accuracy, data, tmp_path):
    train, val = accuracy.cases_of(accuracy.Run("drive", "head", "nano", 2, 0), data, tmp_path)
    assert [case.id for case in train] == ["0", "1", "2"]
    (case,) = val
    labels, field = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(path))) for path in (case.label, data / "drive" / "fov" / "3.png")
    )
    assert np.array_equal(labels == 255, field == 0)
    assert set(np.unique(labels[field == 1])) == {0, 1}


def test_a_method_that_does_not_beat_the_reference_with_every_seed_is_marked(accuracy):
    def rows(method, *dice):
        return [{"method": method, "seed": seed, "dice": value} for seed, value in enumerate(dice)]

    methods = {"head": rows("head", 0.5, 0.7), "lora": rows("lora", 0.6, 0.8), "balr": rows("balr", 0.4, 0.9)}
    verdicts = [accuracy._verdict(group, methods) for group in methods.values()]
    assert verdicts == ["-", "+0.1000 better", "+0.0500 **not better**"]  # worse with one seed of two


def test_the_page_shows_what_the_command_wrote(accuracy):
    table = (accuracy.RESULTS / "methods.md").read_text(encoding="utf-8").strip()
    assert table in (SCRIPT.parent / "README.md").read_text(encoding="utf-8")
