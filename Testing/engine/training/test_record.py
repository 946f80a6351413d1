"""Checkpoints of former builds: they resume, or a sentence says why not."""

import re

import pytest
import torch
from sam2adapt.shared.errors import ModelFileError
from trained import assert_equal, short_epochs, small_trainer

__all__ = ["short_epochs"]

# The layout that every checkpoint has had since the first release; it must be read for as long as its format is 1.
# Names are written out here, so that renaming one in the engine fails.
SETTINGS = {
    "epochs": 3, "steps": None, "max_minutes": None, "batch_size": 4, "learning_rate": 1e-3,
    "base_learning_rate": 3e-4, "weight_decay": 1e-4, "warmup": 0.05, "clip": 1.0, "ema": 0.99, "loss": None,
    "rotation": 20.0, "scale": 0.25, "flips": [], "crop": None, "size": None, "axis": None, "modality": None,
    "validate_every": None, "patience": None, "quick": False, "seed": 0,
}  # fmt: skip
HISTORY = (
    "epoch", "seconds", "step", "best_dice", "best_epoch", "stale", "setbacks", "rate", "before", "rows",
)  # fmt: skip
PARTS = ("network", "average", "best", "optimizer", "scaler")


def torn_off(folder) -> dict:
    """The checkpoint of a run that died in its second epoch, in the layout without a format's number."""
    with pytest.raises(KeyboardInterrupt):
        small_trainer(folder, progress=die_in_epoch_2).run()
    file = folder / "checkpoint.pt"
    state = torch.load(file, weights_only=True)
    history = {name: state["history"][name] for name in HISTORY}
    former = {"settings": SETTINGS, "history": history, **{part: state[part] for part in PARTS}}
    torch.save(former, file)
    return former


def die_in_epoch_2(state) -> None:
    if state.epoch == 2:
        raise KeyboardInterrupt


def test_a_checkpoint_of_a_former_build_goes_on_to_the_same_result(tmp_path):
    expected = small_trainer(tmp_path / "whole").run()
    assert torn_off(tmp_path / "torn")["history"]["epoch"] == 1
    assert_equal(small_trainer(tmp_path / "torn").run(resume=True), expected)


def test_a_checkpoint_that_does_not_fit_is_refused_with_the_reason(tmp_path):
    former = torn_off(tmp_path / "run")
    history, groups = former["history"], former["optimizer"]["param_groups"]
    fewer = {name: tensor for name, tensor in former["average"].items() if name != "head.tokens"}
    larger = former["network"] | {"head.tokens": torch.zeros(9, 9)}
    other = {"state": {}, "param_groups": groups[1:]}
    cases = [
        ([1, 2], "it is not a checkpoint of a training"),
        (former | {"format": 2}, "it has format 2, and this version of SAM2Adapt reads format 1"),
        ({name: part for name, part in former.items() if name != "scaler"}, "it lacks 'scaler'"),
        (former | {"history": history | {"mood": 1}}, "its history holds 'mood', which this version"),
        (former | {"average": fewer}, "do not fit the network (1 of them, for example 'head.tokens')"),
        (former | {"network": larger}, "do not fit the network (1 of them, for example 'head.tokens')"),
        (former | {"optimizer": other}, "its optimiser trains other parameters"),
    ]
    for state, reason in cases:
        torch.save(state, tmp_path / "run" / "checkpoint.pt")
        trainer = small_trainer(tmp_path / "run")
        before = {name: tensor.clone() for name, tensor in trainer.network.trained_state().items()}
        with pytest.raises(ModelFileError, match=re.escape(reason)) as caught:
            trainer.run(resume=True)
        assert caught.value.setting == ("resume",) and "Start a new training" in caught.value.remedy
        assert_equal(trainer.network.trained_state(), before)
