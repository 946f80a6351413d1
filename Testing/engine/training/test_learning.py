"""What the user of a running training can do and see: pause, stop, early end, Dice of each class, a preview."""

import numpy as np
import pytest
from cards import STRUCTURES
from conftest import blobs
from sam2adapt.evaluation.cases import Case
from sam2adapt.evaluation.evaluate import mean_dice
from sam2adapt.imaging.volume import read_labels, write_labels, write_volume
from sam2adapt.shared.errors import CancelledError
from sam2adapt.training.record import load_checkpoint
from sam2adapt.training.run import write_preview
from trained import STEPS, assert_equal, short_epochs, small_trainer

__all__ = ["short_epochs"]


def dice_of(*means):
    """A validation that gives these means one after the other, then the last."""
    waiting = list(means)
    return lambda watch: {"mean": waiting.pop(0) if len(waiting) > 1 else waiting[0], "disc": 0.5}


def test_pause_waits_and_changes_nothing(tmp_path):
    expected = small_trainer(tmp_path / "a").run()
    wishes, seen = ["run"] * 3 + ["pause"] * 2, []
    trainer = small_trainer(tmp_path / "b", progress=seen.append, control=lambda: wishes.pop(0) if wishes else "run")
    assert_equal(trainer.run(), expected)
    stages = [state.stage for state in seen]
    assert stages[3:7] == ["training", "paused", "paused", "training"]
    assert seen[4].seconds == seen[5].seconds, "a pause is no time of the run"


def test_a_paused_run_can_be_cancelled(tmp_path):
    seen = []
    trainer = small_trainer(
        tmp_path / "a", progress=seen.append, control=lambda: "pause", cancelled=lambda: seen[-1].stage == "paused"
    )
    with pytest.raises(CancelledError):
        trainer.run()


def test_stop_validates_and_keeps_the_best(tmp_path):
    steps = []
    trainer = small_trainer(
        tmp_path / "a",
        settings={"epochs": 9},
        validate=dice_of(0.6, 0.4),
        control=lambda: "stop" if len(steps) > STEPS + 3 else steps.append(None),
    )
    trainer.run()
    assert (trainer.history.epoch, trainer.history.best_epoch, trainer.history.best_dice) == (2, 1, 0.6)
    assert trainer.history.step < 2 * STEPS, "the second epoch was left"
    assert [row["dice mean"] for row in trainer.history.rows] == [0.6, 0.4]
    again = small_trainer(tmp_path / "a", settings={"epochs": 9}, validate=dice_of(0.7))
    again.run(resume=True)
    assert (again.history.epoch, again.history.best_epoch) == (10, 3), "a stopped run can go on"


def test_stop_before_the_first_step_gives_no_model(tmp_path):
    trainer = small_trainer(tmp_path / "a", validate=dice_of(0.2), control=lambda: "stop")
    trainer.measure()
    with pytest.raises(CancelledError, match="before its first step"):
        trainer.run()
    assert trainer.history.step == 0
    again = small_trainer(tmp_path / "a", settings={"epochs": 1}, control=lambda: "stop")
    with pytest.raises(CancelledError, match="before its first step"):
        again.run(resume=True)


def test_validation_before_the_first_step_is_told_before_it(tmp_path):
    seen = []
    trainer = small_trainer(tmp_path / "a", settings={"epochs": 1}, validate=dice_of(0.2, 0.4), progress=seen.append)
    trainer.measure()
    trainer.run()
    assert (seen[0].stage, seen[0].epoch, seen[0].scores["mean"]) == ("preparing", 0, 0.2)
    assert seen[1].stage == "training"


def test_early_end(tmp_path):
    trainer = small_trainer(
        tmp_path / "a", settings={"epochs": 50, "patience": 2}, validate=dice_of(0.1, 0.3, 0.2, 0.3, 0.9)
    )
    trainer.run()
    assert (trainer.history.epoch, trainer.history.best_epoch) == (4, 2)
    saved = load_checkpoint(trainer.record.checkpoint)["history"]
    assert saved["stale"] == 2


def test_progress_tells_the_dice_of_each_class(tmp_path):
    seen = []
    trainer = small_trainer(tmp_path / "a", settings={"epochs": 1}, validate=dice_of(0.25), progress=seen.append)
    trainer.run()
    assert seen[-1].scores == {"mean": 0.25, "disc": 0.5}
    assert seen[0].scores == {}


def test_validation_is_told_and_can_be_cancelled(tmp_path):
    seen = []

    def validate(watch):
        watch()
        return {"mean": 0.5}

    trainer = small_trainer(
        tmp_path / "a",
        settings={"epochs": 2},
        validate=validate,
        progress=seen.append,
        cancelled=lambda: [state.stage for state in seen].count("validating") == 2,
    )
    with pytest.raises(CancelledError):
        trainer.run()
    assert trainer.history.epoch == 1
    assert seen[-1].stage == "validating"


def test_preview_is_the_prediction_on_the_volume(tmp_path, make_model):
    volume = blobs()
    case = Case("a", tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")
    write_volume(case.image, volume)
    labels = volume.with_array(np.zeros((1, *volume.array.shape[1:]), np.uint8))
    labels.array[0, :, 2:9, 2:9] = 1
    write_labels(case.label, labels, STRUCTURES)
    seen, watched = [], []
    dice = mean_dice(make_model(), [case], None, lambda: watched.append(None), lambda *found: seen.append(found))
    assert dice.keys() <= {"mean", *(s.name for s in STRUCTURES)}
    assert watched
    ((of, predicted),) = seen
    assert of is case and predicted.shape == read_labels(case.label).array.shape[1:]
    write_preview(tmp_path / "preview.npy", predicted)
    np.testing.assert_array_equal(np.load(tmp_path / "preview.npy"), predicted)
    assert np.load(tmp_path / "preview.npy").dtype == np.uint8
