"""A disk that is full in the middle of a training: said in a sentence, and nothing that was reached is lost."""

import subprocess
import sys
import time

import pytest
from sam2adapt.training.record import load_checkpoint
from sam2adapt.training.run import train
from test_training import base, folder, own_home, request_for
from trained import COMMAND, short_epochs, small_trainer

__all__ = ["base", "folder", "own_home", "short_epochs"]
resource = pytest.importorskip("resource", reason="needs limits for processes, which Windows has not")


def epochs_of(state) -> int:
    return load_checkpoint(state)["history"]["epoch"] if state.exists() else 0


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="needs limits for running processes, as on Linux")
def test_a_checkpoint_that_cannot_be_written_ends_the_run_which_can_go_on(folder, base, tmp_path):
    output = tmp_path / "model.safetensors"
    command = [
        sys.executable, "-c", COMMAND, "train", "--images", folder / "images", "--labels", folder / "labels",
        "--classes", "1=right ventricle,2=left ventricle", "--base", base, "--method", "head", "--size", "32",
        "--crop", "32", "--device", "cpu", "-o", output,
    ]  # fmt: skip
    command = [str(part) for part in command]
    process = subprocess.Popen([*command, "--epochs", "1000"], stderr=subprocess.PIPE, encoding="utf-8")
    state = output.with_suffix(".run") / "checkpoint.pt"
    while process.poll() is None and not epochs_of(state):
        time.sleep(0.05)
    half = state.stat().st_size // 2
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (half, half))
    said = process.communicate()[1]
    assert process.returncode == 2, said
    assert f"The checkpoint '{state}' cannot be written: " in said and "then resume (--resume)." in said
    reached = epochs_of(state)
    assert reached >= 1 and not output.exists()
    assert not [path.name for path in state.parent.iterdir() if path.name.endswith(".part")]

    again = subprocess.run(
        [*command, "--epochs", str(reached + 1), "--resume"], capture_output=True, encoding="utf-8", check=False
    )
    assert again.returncode == 0, again.stderr
    assert output.is_file() and epochs_of(state) == reached + 1


def test_a_log_that_cannot_be_written_does_not_end_the_run(tmp_path):
    """A spreadsheet program may have it open."""
    (tmp_path / "a" / "log.csv").mkdir(parents=True)
    said = []
    trainer = small_trainer(tmp_path / "a", settings={"epochs": 2}, say=said.append)
    trainer.run()
    assert trainer.history.epoch == 2 and epochs_of(trainer.record.checkpoint) == 2
    assert len(said) == 3 and all("log.csv' cannot be written: " in sentence for sentence in said)


def test_a_preview_that_cannot_be_written_does_not_end_the_run(folder, base, tmp_path):
    """Slicer may be reading the one before, and Windows keeps a file then."""
    said, seen = [], []
    (tmp_path / "preview.npy").mkdir()
    request = request_for(folder, base, tmp_path / "model.safetensors", method="head", preview=tmp_path / "preview.npy")
    request.settings.steps = 2
    assert train(request, seen.append, said.append).is_file()
    told = [sentence for sentence in said if sentence.startswith("The latest prediction is not shown. ")]
    assert len(told) == 2 and not any(state.preview for state in seen)
