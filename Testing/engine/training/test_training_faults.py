"""What goes wrong in a training and is mended, or at least leaves everything as it was."""

import errno
import os
from collections import Counter

import pytest
import torch
from adapted import images, tiny_network
from sam2adapt import adapters
from sam2adapt.shared.errors import DeviceError, OutputError, SettingsError
from sam2adapt.training import record
from sam2adapt.training.losses import SegmentationLoss
from sam2adapt.training.record import load_checkpoint
from sam2adapt.training.step import backward
from trained import STEPS, assert_equal, short_epochs, small_trainer

__all__ = ["short_epochs"]


def broken_loss(trainer, calls: set[int]) -> None:
    """Let the loss be no number at these calls."""
    whole, count = trainer.step.loss.forward, iter(range(10**6))
    trainer.step.loss.forward = lambda *args: whole(*args) * (float("nan") if next(count) in calls else 1)


def test_a_loss_that_is_no_number_goes_back_with_half_the_rate(tmp_path):
    said = []
    trainer = small_trainer(tmp_path / "a", say=said.append)
    broken_loss(trainer, {STEPS + 3})  # in the second epoch
    best = trainer.run()
    (sentence,) = said
    assert "no longer a number in epoch 2: back to the end of epoch 1, with half the learning rate" in sentence
    assert trainer.history.epoch == 3 and trainer.history.setbacks == 1
    rates = [row["learning_rate"] for row in trainer.history.rows]
    whole = small_trainer(tmp_path / "b")
    whole.run()
    assert rates[1] == pytest.approx(whole.history.rows[1]["learning_rate"] / 2)
    assert rates[0] == whole.history.rows[0]["learning_rate"]
    assert all(torch.isfinite(tensor).all() for tensor in best.values())


def test_in_the_first_epoch_it_goes_back_to_the_start(tmp_path):
    said = []
    trainer = small_trainer(tmp_path / "a", settings={"epochs": 1}, say=said.append)
    broken_loss(trainer, {0, 1})
    trainer.run()
    assert len(said) == 2 and "back to the start" in said[0]
    assert trainer.history.rate == 0.25


def test_gradients_that_are_no_number_never_reach_the_weights(tmp_path):
    said = []
    trainer = small_trainer(tmp_path / "a", settings={"epochs": 1}, say=said.append)
    calls = iter(range(10**6))
    trainer.network.head.bias.register_hook(lambda slope: slope * float("inf") if next(calls) == 3 else slope)
    best = trainer.run()
    assert len(said) == 1
    assert all(torch.isfinite(tensor).all() for tensor in best.values())


def test_after_three_setbacks_it_ends_with_a_remedy(tmp_path):
    said = []
    trainer = small_trainer(tmp_path / "a", say=said.append)
    broken_loss(trainer, set(range(STEPS + 1, 10**4)))
    with pytest.raises(SettingsError, match="no longer a number in epoch 2") as caught:
        trainer.run()
    assert len(said) == 3 and "resume" in caught.value.setting
    assert load_checkpoint(trainer.record.checkpoint)["history"]["epoch"] == 1


def test_a_full_disk_before_the_first_checkpoint_leaves_nothing_to_resume(tmp_path, monkeypatch):
    def full(state, file):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    trainer = small_trainer(tmp_path)
    monkeypatch.setattr(record.torch, "save", full)
    with pytest.raises(OutputError, match="No space left") as caught:
        trainer.run()
    assert "start the training again" in caught.value.remedy and caught.value.setting == ()


def test_a_full_disk_keeps_the_former_checkpoint_and_the_run_goes_on_from_it(tmp_path, monkeypatch):
    expected = small_trainer(tmp_path / "a").run()
    trainer, calls = small_trainer(tmp_path / "b"), iter(range(9))
    save = torch.save

    def full(state, file):
        if next(calls) < 2:
            return save(state, file)
        file.write(b"half of it")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch, pytest.raises(OutputError, match="No space left") as caught:
        patch.setattr(record.torch, "save", full)
        trainer.run()
    assert "previous checkpoint is kept" in caught.value.remedy and caught.value.setting == ("resume",)
    assert sorted(path.name for path in trainer.record.folder.iterdir()) == ["checkpoint.pt", "log.csv"]
    assert load_checkpoint(trainer.record.checkpoint)["history"]["epoch"] == 1
    assert_equal(small_trainer(tmp_path / "b").run(resume=True), expected)


@pytest.mark.parametrize("steps", [0, 3, STEPS + 4])
def test_a_run_that_was_torn_off_goes_on_to_the_same_result(tmp_path, steps):
    """Also before its first epoch has ended: what a method has prepared is kept."""
    method = adapters.create("lora", {"rank": 2})
    expected = small_trainer(tmp_path / "a", method).run()
    count = iter(range(steps + 1))

    def die(state) -> None:
        if next(count, None) is None:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_trainer(tmp_path / "b", method, progress=die).run()
    assert_equal(small_trainer(tmp_path / "b", method).run(resume=True), expected)


def gradients(method, sizes: list[int]) -> dict[str, torch.Tensor]:
    network = tiny_network(method, classes=3, peg="add").train()
    loss = SegmentationLoss({"ce": 1.0, "dice": 1.0, "focal_tversky": 1.0})
    targets = torch.randint(0, 3, (5, 64, 64), generator=torch.Generator().manual_seed(1)).to(torch.uint8)
    targets[1] = 255  # nothing annotated: parts weigh differently

    def forward(inputs, prompts):
        logits, extras = network.forward_with_extras(inputs[0], prompts)
        return extras | {"logits": logits}

    def loss_of(outputs):
        return loss(outputs["logits"], targets) + method.auxiliary_loss(outputs, targets, 0.0)

    backward(forward, loss_of, [images(batch=5)], None, sizes, lambda value: value)
    return {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("head", {}),
        ("lora", {"rank": 2, "dropout": 0.0, "quality": 0.1}),
        ("detail", {"width": 8}),
        ("dual-lw", {"norm": "none"}),
    ],
)
def test_gradients_of_parts_are_those_of_the_whole_batch(name, settings):
    method = adapters.create(name, settings)
    whole, parts = gradients(method, [5]), gradients(method, [2, 2, 1])
    assert whole.keys() == parts.keys()
    for key, expected in whole.items():
        torch.testing.assert_close(parts[key], expected, rtol=1e-3, atol=1e-7)


def masks(folder, parts: int, **settings) -> Counter:
    """How often each dropout mask of an image is seen in a step that is computed in parts."""
    trainer = small_trainer(folder / str(parts), adapters.create("lora", {"rank": 2, "dropout": 0.5, **settings}))
    trainer.step.parts, seen = parts, []
    for module in trainer.network.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(lambda module, args, out: seen.extend(row == 0 for row in out))
    inputs, targets = next(iter(trainer.source.batches(1)))
    trainer.network.train()
    trainer.step.compute_gradients(trainer.source, inputs, targets, [11, 12, 13, 14], 0.0)
    return Counter(row.numpy().tobytes() for row in seen)


def test_parts_see_the_dropout_of_the_whole_batch_both_times(tmp_path):
    whole = masks(tmp_path, 1)
    assert masks(tmp_path, 2) == Counter({mask: 2 * times for mask, times in whole.items()})
    assert len(whole) > 100


def test_images_with_prompts_have_the_same_dropout_both_times(tmp_path):
    assert {times % 2 for times in masks(tmp_path, 2, prompts=0.5).values()} == {0}


def memory_for(trainer, most: int) -> list[int]:
    """Let memory run out when the network gets more than so many slices at once; gives what it got."""
    whole, sizes = trainer.network.forward_with_extras, []

    def forward(batch, prompts=None):
        if len(batch) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB")
        sizes.append(len(batch))
        return whole(batch, prompts)

    trainer.network.forward_with_extras = forward
    return sizes


def test_out_of_memory_takes_smaller_parts_of_the_same_steps(tmp_path):
    expected = small_trainer(tmp_path / "a", settings={"steps": 4})
    expected.run()
    said = []
    trainer = small_trainer(tmp_path / "b", settings={"steps": 4}, say=said.append)
    sizes = memory_for(trainer, 1)
    trainer.run()
    assert said == [
        "Memory ran out with 4 slices at once; going on with 2, and steps of 4 as before.",
        "Memory ran out with 2 slices at once; going on with 1, and steps of 4 as before.",
    ]
    assert set(sizes) == {1} and trainer.history.step == 4
    assert trainer.history.rows[0]["loss"] == pytest.approx(expected.history.rows[0]["loss"], rel=1e-3)


def test_out_of_memory_with_one_slice(tmp_path):
    trainer = small_trainer(tmp_path / "a", settings={"steps": 4})
    memory_for(trainer, 0)
    with pytest.raises(DeviceError, match="single slice"):
        trainer.run()


def test_an_error_that_is_no_lack_of_memory_is_a_defect(tmp_path):
    trainer = small_trainer(tmp_path / "a")

    def broken(*args):
        raise RuntimeError("shapes cannot be multiplied")

    trainer.network.forward_with_extras = broken
    with pytest.raises(RuntimeError, match="multiplied"):
        trainer.run()
