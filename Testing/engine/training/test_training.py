"""The training loop: it learns, a broken run continues to the same result, and nothing is lost when things go wrong."""

import csv
import errno
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from sam2adapt.cli.app import main
from sam2adapt.evaluation.cases import find_cases
from sam2adapt.imaging.terminology import describe
from sam2adapt.imaging.volume import Volume, write_labels, write_volume
from sam2adapt.modelfiles.bundle import read_bundle, write_bundle
from sam2adapt.modelfiles.case_names import with_names
from sam2adapt.network.weights import random_base, write_base
from sam2adapt.shared.errors import CancelledError, ModelFileError, OutputError, SettingsError
from sam2adapt.training import losses, record, samples
from sam2adapt.training.record import load_checkpoint, save_checkpoint
from sam2adapt.training.run import train
from sam2adapt.training.settings import TrainRequest, TrainSettings
from sam2adapt.training.step import schedule
from trained import FEWEST, short_epochs

__all__ = ["short_epochs"]
SHORT_STEPS = 2  # of a short epoch
STRUCTURES = [describe(1, "right ventricle"), describe(2, "left ventricle")]


@pytest.fixture(scope="module", autouse=True)
def own_home(tmp_path_factory):
    """The slices that trainings keep for their successors do not go to the user's own folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SAM2ADAPT_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> Path:
    """A base file of the nano configuration with random weights."""
    path = tmp_path_factory.mktemp("base") / "nano.safetensors"
    write_base(path, "nano", random_base("nano", seed=3)[0], {})
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Four small volumes: a bright disc (class 1) and a dark disc (class 2) on noise."""
    root = tmp_path_factory.mktemp("data")
    for part in ("images", "labels"):
        (root / part).mkdir()
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:48, :48]
    for number in range(4):
        grey = generator.normal(500, 30, (3, 48, 48))
        labels = np.zeros((3, 48, 48), np.uint8)
        for value, level in ((1, 900), (2, 100)):
            row, column = generator.integers(14, 34, 2)
            disc = (rows - row) ** 2 + (columns - column) ** 2 < 81
            grey[:, disc], labels[:, disc] = level, value
        geometry = {"origin": np.zeros(3), "spacing": np.array([1.0, 1.0, 5.0]), "direction": np.eye(3)}
        write_volume(root / "images" / f"case{number}.nii.gz", Volume(grey[None].astype(np.int16), **geometry))
        write_labels(root / "labels" / f"case{number}.nii.gz", Volume(labels[None], **geometry), STRUCTURES)
    return root


def request_for(folder: Path, base: Path, output: Path, **changes) -> TrainRequest:
    settings = TrainSettings(**{"epochs": 3, "size": 64, "crop": 64, "seed": 5} | changes.pop("settings", {}))
    split = {"train": ["case0", "case1", "case2"], "val": ["case3"]}
    values = {"base": str(base), "split": split, "device": "cpu"} | changes
    cases = find_cases(folder / "images", folder / "labels")
    return TrainRequest(cases=cases, output=output, structures=STRUCTURES, settings=settings, **values)


@pytest.fixture(scope="module")
def unbroken(folder, base, tmp_path_factory) -> Path:
    """The bundle of a run of three epochs that nothing disturbed."""
    return train(request_for(folder, base, tmp_path_factory.mktemp("unbroken") / "model.safetensors"))


def test_it_learns(unbroken):
    card = read_bundle(unbroken).card
    counts = card["training"]["parameters"]
    assert counts["trained"] < counts["exported"] < counts["total"]
    assert card["metrics"]["dice"]["mean"] > 0.5
    assert card["metrics"]["dice"].keys() == {"mean", "right ventricle", "left ventricle"}
    rows = list(csv.DictReader((unbroken.with_suffix(".run") / "log.csv").open()))
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3]
    assert float(rows[3]["loss"]) < 0.7 * float(rows[1]["loss"])


def test_dice_before_the_first_step_is_in_the_log_and_in_the_card(unbroken):
    card = read_bundle(unbroken).card
    start = next(csv.DictReader((unbroken.with_suffix(".run") / "log.csv").open()))
    before = card["training"]["before"]
    assert before.keys() == card["metrics"]["dice"].keys() and before["mean"] < card["metrics"]["dice"]["mean"]
    assert {name: float(start[f"dice {name}"]) for name in before} == pytest.approx(before, abs=1e-6)
    assert (start["epoch"], start["loss"]) == ("0", "")


def test_the_best_epoch_by_validation_is_kept(unbroken):
    rows = list(csv.DictReader((unbroken.with_suffix(".run") / "log.csv").open()))
    best = max(rows, key=lambda row: float(row["dice mean"]))
    card = read_bundle(unbroken).card
    assert card["training"]["best_epoch"] == int(best["epoch"])
    assert card["metrics"]["dice"]["mean"] == pytest.approx(float(best["dice mean"]), abs=1e-6)


@pytest.fixture(scope="module")
def short(folder, base, tmp_path_factory) -> Path:
    """The bundle of such a run with short epochs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(samples, "_FEWEST", FEWEST)
        return train(request_for(folder, base, tmp_path_factory.mktemp("short") / "model.safetensors"))


def test_card_lets_the_run_be_repeated(short, folder, base, tmp_path):
    card = read_bundle(short).card
    settings = TrainSettings(**card["training"]["settings"])
    request = request_for(folder, base, tmp_path / "again.safetensors")
    request.settings, request.split = settings, with_names(card)["training"]["split"]
    assert_same_tensors(train(request), short)


def test_cancelled_run_continues_to_the_same_result(short, folder, base, tmp_path):
    output, seen = tmp_path / "model.safetensors", []
    with pytest.raises(CancelledError):
        train(
            request_for(folder, base, output),
            progress=seen.append,
            cancelled=lambda: [state.stage for state in seen].count("training") == SHORT_STEPS + 1,
        )
    state = load_checkpoint(output.with_suffix(".run") / "checkpoint.pt")
    assert state["history"]["epoch"] == 1, "it was in the middle of the second"
    assert not output.exists()
    assert_same_tensors(train(request_for(folder, base, output, resume=True)), short)


KILLED = f"""
import itertools, os, signal, sys
from sam2adapt.cli.app import main
from sam2adapt.training import losses, samples
samples._FEWEST = {FEWEST}
loss, calls = losses.SegmentationLoss.forward, itertools.count()
def forward(self, *arguments):
    if next(calls) == {SHORT_STEPS + 1}:
        os.kill(os.getpid(), signal.SIGKILL)
    return loss(self, *arguments)
losses.SegmentationLoss.forward = forward
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such signal")
def test_killed_process_continues_to_the_same_result(short, folder, base, tmp_path, capsys):
    output = tmp_path / "model.safetensors"
    (tmp_path / "split.json").write_text('{"train": ["case0", "case1", "case2"], "val": ["case3"]}')
    arguments = [
        "train", "--images", folder / "images", "--labels", folder / "labels",
        "--split", tmp_path / "split.json", "--classes", "1=right ventricle,2=left ventricle", "--base", base,
        "--epochs", "3", "--size", "64", "--crop", "64", "--seed", "5", "--device", "cpu", "-o", output,
    ]  # fmt: skip
    arguments = [str(part) for part in arguments]
    process = subprocess.run([sys.executable, "-c", KILLED, *arguments], capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert not output.exists()
    state = load_checkpoint(output.with_suffix(".run") / "checkpoint.pt")
    assert state["history"]["epoch"] == 1, "it was in the middle of the second"
    assert main([*arguments, "--resume"]) == 0
    assert "validation Dice, right ventricle" in capsys.readouterr().out
    assert_same_tensors(output, short)


def test_resume_refuses_other_settings(folder, base, tmp_path):
    output = tmp_path / "model.safetensors"
    train(request_for(folder, base, output, settings={"epochs": 1}))
    with pytest.raises(SettingsError, match="batch_size"):
        train(request_for(folder, base, output, resume=True, settings={"batch_size": 4, "epochs": 2}))


def test_resume_without_a_checkpoint(folder, base, tmp_path):
    with pytest.raises(ModelFileError, match="no checkpoint"):
        train(request_for(folder, base, tmp_path / "model.safetensors", resume=True))


def test_without_validation_the_last_epoch_is_kept(folder, base, tmp_path):
    split = {"train": ["case0"], "val": []}
    request = request_for(folder, base, tmp_path / "model.safetensors", split=split, settings={"epochs": 2})
    card = read_bundle(train(request)).card
    assert card["metrics"] is None
    assert card["training"]["best_epoch"] == 2


def test_steps_end_a_run_within_an_epoch(folder, base, tmp_path):
    split = {"train": ["case0"], "val": []}
    request = request_for(folder, base, tmp_path / "model.safetensors", split=split, settings={"steps": 3})
    train(request)
    history = load_checkpoint(request.folder / "checkpoint.pt")["history"]
    assert history["step"] == 3
    assert len(history["rows"]) == 2  # an epoch has 2
    rate = request.settings.learning_rate * schedule(2 / 3, request.settings.warmup)  # of the last of three
    assert history["rows"][-1]["learning_rate"] == pytest.approx(rate)


def test_continuing_a_model_keeps_classes_by_name(short, folder, base, tmp_path):
    swapped = [describe(1, "left ventricle"), describe(2, "right ventricle")]
    request = request_for(folder, base, tmp_path / "model.safetensors", init=str(short), settings={"epochs": 1})
    request.structures, request.settings.learning_rate, request.settings.base_learning_rate = swapped, 0.0, 0.0
    bundle, parent = read_bundle(train(request)), read_bundle(short)
    assert bundle.card["parent"] == parent.card["digest"]
    assert torch.equal(bundle.tensors["head.tokens"], parent.tensors["head.tokens"][[0, 2, 1]])


def test_model_to_continue_whose_tensors_are_those_of_other_classes_is_refused(short, folder, base, tmp_path):
    parent = read_bundle(short)
    for rows in ([0], [0, 1], [0, 1, 2, 2], None):
        first = parent.tensors["head.tokens"]
        tokens = first[rows] if rows else first[0, 0].clone()
        write_bundle(tmp_path / "other.safetensors", parent.card, {**parent.tensors, "head.tokens": tokens})
        request = request_for(folder, base, tmp_path / "model.safetensors", init=str(tmp_path / "other.safetensors"))
        with pytest.raises(ModelFileError, match=r"'head\.tokens'"):
            train(request)


def test_loss_that_is_no_number_stops_with_a_remedy(folder, base, tmp_path, monkeypatch):
    monkeypatch.setattr(losses.SegmentationLoss, "forward", lambda self, logits, target: logits.sum() * math.nan)
    with pytest.raises(SettingsError, match="no longer a number") as caught:
        train(request_for(folder, base, tmp_path / "model.safetensors"))
    assert caught.value.setting == ("learning_rate", "resume")


def test_full_disk_keeps_the_former_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "checkpoint.pt"
    save_checkpoint(path, {"epoch": 1})

    def full(state, file):
        file.write(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(record.torch, "save", full)
    with pytest.raises(OutputError, match="No space left"):
        save_checkpoint(path, {"epoch": 2})
    monkeypatch.undo()
    assert load_checkpoint(path) == {"epoch": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.pt"]


def test_damaged_checkpoint_is_refused(tmp_path):
    path = tmp_path / "checkpoint.pt"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ModelFileError, match="cannot be read"):
        load_checkpoint(path)


@pytest.mark.parametrize(("fraction", "factor"), [(0.025, 0.5), (0.05, 1.0), (0.525, 0.5), (1.0, 0.0)])
def test_schedule(fraction, factor):
    assert schedule(fraction, 0.05) == pytest.approx(factor)


def assert_same_tensors(path: Path, other: Path) -> None:
    own, expected = read_bundle(path).tensors, read_bundle(other).tensors
    assert own.keys() == expected.keys()
    different = [name for name in own if not torch.equal(own[name], expected[name])]
    assert not different
