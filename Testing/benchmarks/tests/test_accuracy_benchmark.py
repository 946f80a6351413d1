"""The benchmark of accuracy: one command from packs to tables, and nothing is trained twice."""

import csv
import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from benchmark_testing import BENCHMARKS, write_pack

pytest.importorskip("dynamic_network_architectures")

import accuracy
import accuracy_tables
import benchmark_sets
import contenders
import learning_rate
from benchmark_sets import DataSet
from sam2adapt.evaluation.cases import Case
from sam2adapt.network.weights import random_base, write_base
from sam2adapt.segmenting.model import load_model
from sam2adapt.training.step import TrainingStep
from trained import short_epochs

__all__ = ["short_epochs"]
VESSEL, SMALL = {1: "vessel"}, {"size": 64, "crop": 32}


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """The packs ``drive`` and ``chasedb1``, the second without its fields of view, and sets small enough for them."""
    for name, packs in (("drive", ()), ("chasedb1", ()), ("vessels", ("drive", "chasedb1"))):
        known = DataSet(VESSEL, SMALL, packs=packs, field_of_view=True)
        monkeypatch.setitem(benchmark_sets.ALL_SETS, name, known)
    write_pack(tmp_path / "data" / "drive")
    write_pack(tmp_path / "data" / "chasedb1", fields=False)
    return tmp_path / "data"


def call(monkeypatch, data: Path, work: Path, *options: str) -> list[dict]:
    """Run the command and read its table."""
    results = work / "results"
    paths = ["--data", str(data), "--work", str(work), "--results", str(results)]
    monkeypatch.setattr(sys, "argv", ["accuracy.py", *paths, *options])
    accuracy.main()
    return list(csv.DictReader((results / "accuracy.csv").open()))


def test_finished_runs_are_in_the_tables_and_not_repeated(monkeypatch, data, tmp_path):
    work, methods = tmp_path / "work", "head,full+detail,BasicUNet,PlainConvUNet"
    options = ["--sets", "drive", "--steps", "2", "--methods", methods]
    rows = call(monkeypatch, data, work, *options)
    assert [row["method"] for row in rows] == methods.split(",")
    assert all(0 <= float(row[name]) <= 1 for row in rows for name in ("dice", "iou", "auc", "trained_share"))
    assert [float(row["trained_share"]) for row in rows][2:] == [1, 1]
    text = (work / "results" / "accuracy.md").read_text("utf-8")
    assert "**drive** (1 cases of val), base `nano`, 2 steps, batch 8, crops of 32 pixels; distances" in text
    assert f"| BasicUNet | {float(rows[2]['dice']):.4f} |" in text
    assert "AUC >= 0.975" in text and (work / "results" / "accuracy.png").is_file()
    # Its licence forbids that pictures of this pack go into the repository.
    assert (work / "worst" / "drive.png").is_file() and not (work / "results" / "worst").exists()
    assert not list(work.glob("*.run/prepared"))

    monkeypatch.setattr(accuracy, "fit", lambda *_: pytest.fail("a finished run was trained again"))
    shutil.rmtree(work / "results")
    assert call(monkeypatch, data, work, *options) == rows


def test_rows_of_another_machine_stay_until_they_are_repeated(monkeypatch, data, tmp_path):
    options, table = ["--sets", "drive", "--steps", "2", "--methods"], "results/accuracy.csv"
    rows = call(monkeypatch, data, tmp_path / "first", *options, "head,detail")
    best, wrong = ({**row, "dice": dice} for row, dice in zip(reversed(rows), ("0.99", "0.98"), strict=True))
    (tmp_path / "second/results").mkdir(parents=True)
    with (tmp_path / "second" / table).open("w", newline="") as file:
        writer = csv.DictWriter(file, list(best))
        writer.writeheader()
        writer.writerows([wrong, best])
    merged = call(monkeypatch, data, tmp_path / "second", *options, "head")
    assert merged[0]["dice"] == rows[0]["dice"] and merged[1] == best
    assert not (tmp_path / "second" / "worst").exists(), "the best model is on the other machine"


def test_rates_are_compared_by_runs_that_differ_in_nothing_else(monkeypatch, data, tmp_path):
    work = tmp_path / "work"
    monkeypatch.setattr(sys, "argv", [
        "learning_rate.py", "--data", str(data), "--work", str(work), "--results", str(work / "results"),
        "--data-set", "drive", "--steps", "2", "--methods", "head", "--rates", "0.001,0.003",
    ])  # fmt: skip
    learning_rate.main()
    found = [json.loads(path.read_text("utf-8")) for path in sorted(work.glob("*.json"))]
    first, second = (result["training"]["settings"] for result in found)
    assert (first.pop("learning_rate"), second.pop("learning_rate")) == (0.001, 0.003) and first == second
    scores = " | ".join(f"{result['tests']['drive']['dice']['mean']:.4f}" for result in found)
    assert f"| `head` | {scores} |" in (work / "results" / "learning_rate.md").read_text("utf-8")


def test_a_network_of_others_that_was_broken_off_goes_on(monkeypatch, data, tmp_path):
    options = ["--sets", "drive", "--steps", "6", "--methods", "BasicUNet", "--crop", "32"]
    expected = call(monkeypatch, data, tmp_path / "whole", *options)
    original, steps = TrainingStep.take, []

    def take(self, source, inputs, targets, seeds, rate, fraction):
        steps.append(round(6 * fraction))
        if len(steps) == 6:
            raise KeyboardInterrupt
        return original(self, source, inputs, targets, seeds, rate, fraction)

    monkeypatch.setattr(TrainingStep, "take", take)
    with pytest.raises(KeyboardInterrupt):
        call(monkeypatch, data, tmp_path / "torn", *options)
    rows = call(monkeypatch, data, tmp_path / "torn", *options)
    assert steps == [0, 1, 2, 3, 4, 5, 4, 5]
    assert rows[0]["dice"] == expected[0]["dice"] and rows[0]["auc"] == expected[0]["auc"]


def test_what_is_trained_on_both_packs_is_tested_on_each(monkeypatch, data, tmp_path):
    rows = call(monkeypatch, data, tmp_path / "work", "--sets", "vessels", "--steps", "2", "--methods", "head")
    assert [(row["data"], row["test"], row["cases"]) for row in rows] == [
        ("vessels", "chasedb1", "1"), ("vessels", "drive", "1")
    ]  # fmt: skip
    parts = benchmark_sets.parts_of("vessels", data, tmp_path)
    assert [case.id for case in parts.train] == [f"{p}-{n}" for p in ("drive", "chasedb1") for n in range(3)]
    # The pictures of this pack may be passed on.
    assert (tmp_path / "work" / "results" / "worst" / "vessels-chasedb1.png").is_file()


@pytest.mark.parametrize("pack", ["drive", "chasedb1"])
def test_only_pixels_in_the_field_of_view_are_evaluated(data, tmp_path, pack):
    parts = benchmark_sets.parts_of(pack, data, tmp_path)
    assert [case.id for case in parts.train] == ["0", "1", "2"]
    (case,) = parts.tests[pack]
    field = sitk.GetArrayFromImage(sitk.ReadImage(str(data / "drive" / "fov" / "3.png")))
    labels = sitk.GetArrayFromImage(sitk.ReadImage(str(case.label)))
    assert np.array_equal(labels == 255, field == 0)
    assert set(np.unique(labels[field == 1])) == {0, 1}


def test_folds_take_every_third_slice_from_the_first(monkeypatch, data, tmp_path):
    monkeypatch.setitem(benchmark_sets.ALL_SETS, "drive", DataSet(VESSEL, {}, folds=3))
    parts = benchmark_sets.parts_of("drive", data, tmp_path)
    assert [case.id for case in parts.tests["drive"]] == ["0", "3"]
    assert [case.id for case in parts.train] == ["1", "2"]


def test_the_papers_protocol_runs_on_weights_of_the_official_layout(monkeypatch, tmp_path, home):
    """Once as a file, and once as a preset with its own base; sets whose data are not here are left out."""
    write_pack(tmp_path / "data" / "kvasir", side=96, tested="test")
    path = tmp_path / "sam2.1_tiny.safetensors"
    write_base(path, "tiny", random_base("tiny")[0], {})
    common = ["--sets", "paper", "--steps", "1"]
    monkeypatch.setitem(
        benchmark_sets.PAPER_SETS, "kvasir-224", DataSet({1: "polyp"}, {"size": 96}, packs=("kvasir",), test="test")
    )
    monkeypatch.setitem(benchmark_sets.ALL_SETS, "kvasir-224", benchmark_sets.PAPER_SETS["kvasir-224"])
    monkeypatch.delitem(benchmark_sets.PAPER_SETS, "kvasir-352")
    own = [*common, "--methods", "head,fast", "--base", "own"]
    with pytest.raises(SystemExit, match="weights 'tiny'"):
        call(monkeypatch, tmp_path / "data", tmp_path / "own", *own)
    file = [*common, "--methods", "head", "--base", str(path)]
    (row,) = call(monkeypatch, tmp_path / "data", tmp_path / "work", *file)
    assert [row[name] for name in ("data", "test", "method", "base")] == ["kvasir-224", "kvasir", "head", "sam2.1_tiny"]
    (row,) = call(monkeypatch, tmp_path / "data", tmp_path / "own", *own)
    assert (row["method"], row["base"]) == ("fast", "own"), "only presets have a base of their own"


def test_paper_protocols_and_sets_are_what_they_say():
    assert set(benchmark_sets.SETS) >= {"acdc", "la", "hippocampus", "curvas2d", "spider2d", "cvc_clinicdb", "isbi2012"}
    sizes = {name: known.settings["size"] for name, known in benchmark_sets.PAPER_SETS.items()}
    assert all(name.endswith(f"-{size}") for name, size in sizes.items())
    assert all(known.protocol for known in benchmark_sets.PAPER_SETS.values())


@pytest.mark.parametrize("name", contenders.OUTSIDERS)
def test_networks_of_others_take_images_of_any_size(name):
    network = contenders.Outsider(contenders.CONTENDERS[name].build(3, (96, 128))).eval()
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 50, 97)).shape == (1, 3, 50, 97)


@pytest.mark.skipif(sys.platform != "linux", reason="the process's peak is read from /proc")
def test_peak_memory_is_that_since_the_reset():
    np.ones(40_000_000)
    accuracy.reset_peak()
    before = accuracy.peak_megabytes()
    np.ones(25_000_000)
    assert 150 < accuracy.peak_megabytes() - before < 300


def rows_of(method: str, *dice: float, **more) -> list[dict]:
    filled = dict.fromkeys(["iou", "hd95", "assd", "miou_with_background", "auc", "peak_mb"])
    return [
        filled | {"method": method, "seed": seed, "dice": value, **more} for seed, value in enumerate(dice)
    ]  # fmt: skip


def test_a_method_that_does_not_beat_the_reference_with_every_seed_is_marked():
    methods = {"head": rows_of("head", 0.5, 0.7), "lora": rows_of("lora", 0.6, 0.8), "balr": rows_of("balr", 0.4, 0.9)}
    verdicts = [accuracy_tables._against_head(group, methods) for group in methods.values()]
    assert verdicts == ["-", "+0.1000 better", "+0.0500 **not better**"]  # worse with one seed of two


def test_targets_are_judged_by_the_best_method_of_ours_and_by_the_best_network_of_others():
    methods = {
        "head": rows_of("head", 0.80), "lora": rows_of("lora", 0.82), "dual-lw": rows_of("dual-lw", 0.91),
        "BasicUNet": rows_of("BasicUNet", 0.90), "PlainConvUNet": rows_of("PlainConvUNet", 0.92),
    }  # fmt: skip
    cells = list(accuracy_tables._verdicts("acdc", methods).values())
    assert [cell.split(" | ")[1:] for cell in cells] == [
        ["0.9100 (dual-lw)", "holds"],
        ["0.9100 (dual-lw)", "**falls short** by 0.0100"],
        ["+0.0200 (lora, the least)", "**falls short** by 0.0100"],
    ]
    assert "PlainConvUNet 0.9200" in cells[1]
    high = {"head": rows_of("head", 0.86), "lora": rows_of("lora", 0.86)}
    assert len(accuracy_tables._verdicts("acdc", high)) == 1, "nothing is asked where the head is good"
    vessels = {"lora": rows_of("lora", 0.7, 0.9, auc=0.98)}
    assert [c.split(" | ")[1] for c in accuracy_tables._verdicts("drive", vessels).values()] == [
        "0.8000 (lora)",
        "0.9800 (lora)",
    ]


def test_targets_are_judged_by_the_longest_runs_that_can():
    def group(steps: int, batch: int, base_rate: float = 0.0003) -> tuple:
        return "acdc", "acdc", "nano", steps, batch, None, None, False, base_rate

    short = {"head": rows_of("head", 0.3), "lora": rows_of("lora", 0.4), "BasicUNet": rows_of("BasicUNet", 0.5)}
    groups = {group(200, 4): short, group(300, 8): {"nano": rows_of("nano", 0.91)}, group(250, 8): short}
    groups[group(300, 8, 0.001)] = {"nano": rows_of("nano", 0.89)}
    lines = accuracy_tables._targets(groups).splitlines()[2:]
    assert [line.split(" | ")[0] for line in lines] == ["| acdc, 300 steps", "| acdc, 250 steps", "| acdc, 250 steps"]
    assert "0.9100 (nano) | holds" in lines[0]
    assert "BasicUNet 0.5000" in lines[1] and "+0.1000 (lora, the least) | holds" in lines[2]


def test_targets_are_judged_on_a_base_that_has_not_seen_the_data():
    def group(base: str, steps: int) -> tuple:
        return "chasedb1", "chasedb1", base, steps, 4, None, None, False

    fair, seen = {"nano": rows_of("nano", 0.7)}, {"nano": rows_of("nano", 0.8, auc=0.98)}
    lines = accuracy_tables._targets({group("nano-research", 200): fair, group("nano", 900): seen}).splitlines()[2:]
    assert [line.split(" | ")[::2] for line in lines] == [
        ["| chasedb1, 200 steps", "0.7000 (nano)"],
        ["| chasedb1, 900 steps, seen by the base", "0.9800 (nano)"],
    ]


def test_the_page_shows_what_the_command_wrote():
    targets = (BENCHMARKS / "results" / "accuracy.md").read_text(encoding="utf-8").split("\n\n")[0]
    assert targets in (BENCHMARKS / "README.md").read_text(encoding="utf-8")


def test_batch_crop_and_pieces_are_settings_of_a_run(monkeypatch, data, tmp_path):
    known = DataSet(VESSEL, {"size": 64, "crop": 32}, in_one=True)
    monkeypatch.setitem(benchmark_sets.ALL_SETS, "drive", known)
    work, options = tmp_path / "work", ["--sets", "drive", "--steps", "1", "--methods", "head,BasicUNet"]
    call(monkeypatch, data, work, *options)
    more = ["--batch", "2", "--crop", "48", "--size", "80", "--largest", "--base-rate", "0.001"]
    rows = call(monkeypatch, data, work, *options, *more)
    assert [(row["batch_size"], row["crop"], row["largest"]) for row in rows] == (
        [("2", "48", "True")] * 2 + [("8", "32", "False")] * 2
    )
    card = load_model(work / "drive-head-nano-1-0-base0.001-b2-c48-s80-largest.safetensors").card
    assert card["training"]["settings"]["base_learning_rate"] == 0.001 and card["slices"]["size"] == 80
    assert card["postprocessing"]["largest_together"] == card["postprocessing"]["largest_component"] == [1]
    text = (work / "results" / "accuracy.md").read_text("utf-8")
    rate, kept = "the base's weights at a rate of 0.001", "largest piece kept, of all together and of each"
    assert f"1 steps, batch 2, crops of 48 pixels, pictures of 80 pixels, {rate}, {kept}; distances" in text


def test_settings_are_chosen_on_other_patients_than_those_trained_on_and_never_on_the_test_cases():
    ids = [f"patient{number:03}_frame{frame:02}" for number in range(6) for frame in (1, 2)]
    cases = [Case(name, Path(name), Path(name)) for name in ids]
    parts = benchmark_sets.to_choose(benchmark_sets.Parts(cases, {"acdc": [Case("val", Path("v"), Path("v"))]}), 2)
    trained, tested = ({case.id[:10] for case in part} for part in (parts.train, parts.tests["acdc"]))
    assert len(parts.train) == 8 and len(parts.tests["acdc"]) == 4
    assert len(tested) == 2 and not trained & tested and "val" not in tested
