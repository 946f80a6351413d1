"""Quick adapt: features computed once, a decoder trained on them, and where that makes sense."""

import errno
import os

import numpy as np
import pytest
import torch
from adapted import images, moved, tiny_network
from sam2adapt import adapters
from sam2adapt.segmenting.slices import normalise
from sam2adapt.shared.errors import OutputError, SettingsError
from sam2adapt.training import features
from sam2adapt.training.features import CachedFeatures, check_quick, is_encoder_side, quick_fits
from sam2adapt.training.samples import AugmentedSlices
from sam2adapt.training.settings import TrainSettings
from trained import CPU, STEPS, assert_equal, discs, short_epochs, small_trainer

__all__ = ["short_epochs"]
LORA = ("lora", {"rank": 2, "quality": 0.1})


def cached(folder, network=None, seed=0, watch=lambda share: None, **settings) -> CachedFeatures:
    source = AugmentedSlices([discs()], (32, 32), 1, TrainSettings(batch_size=4, seed=seed, **settings))
    return CachedFeatures(source, network or tiny_network(classes=3), folder, CPU, watch)


@pytest.mark.parametrize("name", ["head", "dual-lw", "detail"])
def test_features_are_those_of_the_network(tmp_path, name):
    """Up to float16, the network gives the same logits from them as from the augmented slices themselves."""
    network = moved(tiny_network(adapters.create(name), classes=3), 0.02)
    source = cached(tmp_path, network)
    samples = AugmentedSlices([discs()], (32, 32), 1, source.settings).samples(2)
    expected = [samples[index] for index in range(len(samples))]
    order = np.random.default_rng([0, 2]).permutation(len(source))
    inputs, targets = next(iter(source.batches(2)))
    chosen = sorted(order[:4])
    assert torch.equal(targets, torch.stack([expected[index][1] for index in chosen]))
    with torch.no_grad():
        logits, _ = source.forward(network, inputs, None)
        wanted = network(normalise(torch.stack([expected[index][0] for index in chosen])))
    torch.testing.assert_close(logits, wanted, atol=0.02 * wanted.abs().max().item(), rtol=0)
    assert logits.shape == (4, 3, 32, 32)


def test_every_epoch_shows_all_slices_in_another_order(tmp_path):
    source = cached(tmp_path)
    targets = {epoch: torch.cat([batch for _, batch in source.batches(epoch)]) for epoch in (1, 2, 1 + features.COPIES)}
    assert all(len(shown) == 4 * (len(source) // 4) for shown in targets.values())
    assert not torch.equal(targets[1], targets[2])
    again = torch.cat([batch for _, batch in source.batches(1)])
    assert torch.equal(again, targets[1])
    assert not torch.equal(targets[1], targets[1 + features.COPIES]), "the same copy, shuffled anew"


def test_features_are_found_again_and_made_anew_when_anything_has_changed(tmp_path):
    shares, made = [], []
    cached(tmp_path, watch=shares.append)
    assert shares[-1] == 1 and shares == sorted(shares)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(files) == 4 * features.COPIES
    cached(tmp_path, watch=made.append, epochs=7)
    assert made == [] and {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    for change in ({"seed": 1}, {"rotation": 5.0}, {"network": moved(tiny_network(classes=3))}):
        cached(tmp_path, watch=made.append, **change)
        assert made.pop() == 1
        made.clear()


def test_a_full_disk_leaves_no_half_file(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(features.np.lib.format, "write_array_header_1_0", full)
    with pytest.raises(OutputError, match="disk is full"):
        cached(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["dual-lw", "lora", "balr", "full"])
def test_the_encoders_side_stays_as_it_is_and_the_decoders_side_learns(tmp_path, name):
    method = adapters.create(name, {"rank": 2} if name == "lora" else None)
    trainer = small_trainer(tmp_path / "a", method, settings={"epochs": 3, "quick": True})
    network = trainer.network
    before = {n: tensor.clone() for n, tensor in network.state_dict().items()}
    names = set(network.trained_state())
    trainer.run()
    after = network.state_dict()
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    trainable = {n for n, p in network.named_parameters() if p.requires_grad and not is_encoder_side(n)}
    assert changed and changed <= trainable
    assert {"head.tokens", "head.weight", "decoder_peg.conv.weight"} <= changed
    assert trainer.step.trained == sum(p.numel() for n, p in network.named_parameters() if n in trainable)
    assert set(trainer.validation.best) == names, "the model file keeps its form"
    losses = [row["loss"] for row in trainer.history.rows]
    assert losses[-1] < losses[0]


def test_quick_run_that_was_torn_off_goes_on_to_the_same_result(tmp_path):
    method, settings = adapters.create(*LORA), {"quick": True, "epochs": 2}
    expected = small_trainer(tmp_path / "a", method, settings=settings).run()
    seen = []

    def die(state) -> None:
        seen.append(state.stage)
        if seen.count("training") == STEPS + 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        small_trainer(tmp_path / "b", method, settings=settings, progress=die).run()
    assert seen[0] == "preparing"
    again = small_trainer(tmp_path / "b", method, settings=settings)
    assert_equal(again.run(resume=True), expected)
    seen.clear()
    small_trainer(tmp_path / "b", method, settings=settings, progress=seen.append).run(resume=True)
    assert seen == [], "a finished run needs no features"


def test_where_quick_adapt_fits():
    def fits(name, settings=None, continued=False, peg="add") -> bool:
        return quick_fits(tiny_network(adapters.create(name, settings), peg=peg), continued)

    assert fits("head") and fits("head", peg="none") and fits("full")
    assert fits("lora", {"placement": "decoder"})
    assert not fits("head", peg="replace"), "its trunk would read positions from random numbers"
    for name in ("lora", "dual-lw", "dual-hp", "balr", "detail"):
        assert not fits(name) and fits(name, continued=True)
    with pytest.raises(SettingsError, match="'dual-lw'") as caught:
        check_quick(tiny_network(adapters.create("dual-lw")), False, "dual-lw")
    assert caught.value.setting == ("init", "method", "settings", "quick")


def test_splitting_the_forward_pass_changes_nothing():
    network = moved(tiny_network(adapters.create("detail"), classes=3))
    batch = images(45, 70, batch=2)
    with torch.no_grad():
        encoded, extras = network.encode(batch)
        logits, _ = network.segment_features(encoded, (45, 70))
        whole, expected = network.forward_with_extras(batch)
    assert torch.equal(logits, whole) and torch.equal(extras["edge"], expected["edge"])
    assert logits.shape == (2, 3, 45, 70)
