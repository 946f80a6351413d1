"""Pretraining of the base: the masked autoencoder, its recipes, and that a broken run ends as a whole one would."""

import json
import sys
from pathlib import Path

import pytest
import torch
from benchmark_testing import write_pack

pytest.importorskip("dynamic_network_architectures")

import pretrain
from made_up import KINDS
from masked_autoencoder import MaskedAutoencoder, joined, packed_size, units_of
from pretrain_data import Pack, Steps, training_part
from safetensors import safe_open
from sam2adapt.modelfiles.bases import file_sha256
from sam2adapt.network.weights import load_base, random_base
from sam2adapt.shared.safetensors_header import BASE_KEY
from sam2adapt.training.settings import TrainSettings
from trained import short_epochs

__all__ = ["short_epochs"]


def autoencoder(seed: int = 0) -> MaskedAutoencoder:
    """A small one on the real trunk."""
    torch.manual_seed(seed)
    trunk = random_base("nano", seed)[0].image_encoder.trunk.requires_grad_(True)
    return MaskedAutoencoder(trunk, dim=32, depth=1)


def test_units_are_cut_and_joined():
    images = torch.randn(2, 3, 64, 96)
    units = units_of(images)
    assert units.shape == (2, 6, 3, 32, 32)
    assert torch.equal(units[:, 4], images[:, :, 32:, 32:64])
    assert torch.equal(joined(units, 2, 3), images)


@pytest.mark.parametrize(("grid", "expected"), [((8, 8), (5, 5)), ((6, 6), (5, 3)), ((5, 4), (4, 2)), ((2, 2), (2, 1))])
def test_about_sixty_percent_are_masked(grid, expected):
    found = packed_size(*grid)
    assert sorted(found) == sorted(expected)
    assert 0.5 <= 1 - found[0] * found[1] / (grid[0] * grid[1]) <= 0.66


def test_the_trunk_sees_nothing_of_masked_units():
    network = autoencoder()
    images = torch.randn(2, 3, 96, 96)
    visible = network.draw(images, torch.Generator().manual_seed(1))
    hidden = torch.ones(2, 9).scatter(1, visible, 0.0).view(2, 1, 3, 3)
    other = images + 5 * hidden.repeat_interleave(32, 2).repeat_interleave(32, 3)
    with torch.no_grad():
        assert torch.equal(network.encode(images, visible), network.encode(other, visible))
        seen = images + 5 * (1 - hidden).repeat_interleave(32, 2).repeat_interleave(32, 3)
        assert not torch.equal(network.encode(images, visible), network.encode(seen, visible))


def test_units_keep_their_places():
    """The same visible units give other features where they lie elsewhere."""
    network = autoencoder()
    torch.nn.init.normal_(network.trunk.pos_embed)
    images = torch.zeros(1, 3, 96, 96)
    with torch.no_grad():
        first, second = (network.encode(images, torch.tensor([units])) for units in ([0, 1, 2, 3], [5, 6, 7, 8]))
    assert not torch.allclose(first, second)


def test_only_masked_units_count_and_each_in_its_own_normalisation():
    network = autoencoder()
    grey = torch.rand(1, 3, 64, 64)
    visible = torch.tensor([[0, 3]])
    with torch.no_grad():
        loss = network.loss(grey, grey, visible)
        louder = grey.clone()
        louder[..., :32, 32:] = louder[..., :32, 32:] * 0.5 + 0.2
        assert network.loss(louder, grey, visible) == pytest.approx(loss.item(), rel=0.02)
        shown = grey.clone()
        shown[..., :32, :32] = 0
        assert network.loss(shown, grey, visible).item() == loss.item()
        flat = torch.full_like(grey, 0.3)
        predicted = network(grey, visible)[:, [1, 2]]
        assert network.loss(flat, grey, visible).item() == pytest.approx((predicted**2).mean().item(), rel=1e-4)


def test_it_learns_what_is_behind_the_masks():
    network = autoencoder()
    optimizer = torch.optim.AdamW(network.parameters(), lr=2e-3)
    generator = torch.Generator().manual_seed(3)
    stripes = torch.sin(torch.arange(96) / 3).mul(0.5).add(0.5).expand(4, 3, 96, 96)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = network.loss(stripes, stripes - 0.5, network.draw(stripes, generator))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.9 and losses[-1] < 0.6, "0 would be perfect, 1 is the mean of each unit"
    assert network.trunk.blocks[0].attn.qkv.weight.grad.abs().sum() > 0


@pytest.fixture
def data(tmp_path, monkeypatch) -> Path:
    """Two packs of photographs in the place of the permissive ones."""
    settings = TrainSettings(size=64, crop=64)
    for name in ("one", "two"):
        write_pack(tmp_path / "data" / name)

    def packs(data: Path, work: Path) -> list[Pack]:
        return [Pack(name, training_part(data / name), ["vessel"], 0.5, settings) for name in ("one", "two")]

    monkeypatch.setattr(pretrain, "permissive", packs)
    return tmp_path / "data"


def run(monkeypatch, data: Path, work: Path, recipe: str, *more: str) -> dict[str, torch.Tensor]:
    """Pretrain for six steps and read what was written."""
    output = work / "base.safetensors"
    options = [*f"--steps 6 --batch 2 --recipe {recipe}".split(), *more]
    monkeypatch.setattr(
        sys, "argv", ["pretrain.py", "--data", str(data), "--work", str(work), "-o", str(output), *options]
    )
    pretrain.main()
    base, identity = load_base(str(output))
    assert identity["id"] == "nano"
    return base.state_dict()


def changed(before: dict, after: dict) -> set[str]:
    """Modules whose tensors differ."""
    return {".".join(n.split(".")[:2]) for n in after if not torch.equal(before[n].half().float(), after[n])}


def test_recipes_train_what_they_say(monkeypatch, data, tmp_path):
    start = random_base("nano", 0)[0].state_dict()
    assert changed(start, run(monkeypatch, data, tmp_path / "none", "none")) == set()
    assert changed(start, run(monkeypatch, data, tmp_path / "mae", "mae")) == {"image_encoder.trunk"}
    whole = changed(start, run(monkeypatch, data, tmp_path / "supervised", "supervised"))
    assert whole >= {"image_encoder.trunk", "image_encoder.neck", "sam_mask_decoder.transformer"}


def test_a_base_is_gone_on_from(monkeypatch, data, tmp_path):
    first = run(monkeypatch, data, tmp_path / "first", "supervised")
    file = tmp_path / "first" / "base.safetensors"
    same = run(monkeypatch, data, tmp_path / "same", "none", "--start", str(file))
    assert all(torch.equal(same[name], first[name]) for name in first)
    assert changed(first, run(monkeypatch, data, tmp_path / "on", "made-up", "--start", str(file), "--rate", "0.01"))
    with safe_open(tmp_path / "on" / "base.safetensors", "pt") as opened:
        training = json.loads(opened.metadata()[BASE_KEY])["training"]
    assert training["recipe"] == "made-up" and training["start"] == file_sha256(file)
    with pytest.raises(SystemExit, match="recipe made-up from a base with hash"):
        run(monkeypatch, data, tmp_path / "on", "made-up")


def test_a_recipe_decides_on_random_contrast_and_made_up_batches(monkeypatch, data, tmp_path):
    """The slices of a step are the same but for their grey levels; of made-up batches there are three of ten."""
    found = {}
    for name in ("supervised", "contrast", "made-up"):
        recipe = pretrain.RECIPES[name]
        parts, classes = pretrain.sources(pretrain.permissive(data, tmp_path), tmp_path / name, recipe.contrast,
                                          recipe.made_up)  # fmt: skip
        found[name] = Steps(parts, 8, 0), classes
    (plain, few), (contrast, _), (made_up, many) = found.values()
    assert many == few + len(KINDS) and made_up.parts[-1].channels == [0, *range(few, many)]
    assert made_up.shares[-1] == pytest.approx(0.3)
    (_, before, targets), (_, after, same) = plain[3], contrast[3]
    assert torch.equal(targets, same)
    assert 1 <= sum(torch.equal(a, b) for a, b in zip(before, after, strict=True)) <= 7


def test_what_is_tested_on_is_left_out(monkeypatch, data, tmp_path):
    third = Pack("three", training_part(data / "two"), ["vessel"], 0.5, TrainSettings(size=64, crop=64))
    monkeypatch.setattr(pretrain, "research", lambda data: [third])
    run(monkeypatch, data, tmp_path, "none", "--research", "--without", "one,two")
    with safe_open(tmp_path / "base.safetensors", "pt") as file:
        card = json.loads(file.metadata()[BASE_KEY])
    assert card["training"]["data"] == "three (3 cases)"
    assert card["license"].startswith("research only")


def test_a_run_that_was_broken_off_ends_as_a_whole_one(monkeypatch, data, tmp_path):
    """Broken off in the second stage of two, with a checkpoint after every step."""
    expected = run(monkeypatch, data, tmp_path / "whole", "mae+supervised")
    monkeypatch.setattr(pretrain, "_SECONDS_BETWEEN_SAVES", -1)
    original, steps = pretrain.Stage.step, []

    def step(self, loss, fraction, number):
        steps.append((type(self).__name__, number))
        if len(steps) in (3, 7):
            raise KeyboardInterrupt
        original(self, loss, fraction, number)

    monkeypatch.setattr(pretrain.Stage, "step", step)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            run(monkeypatch, data, tmp_path / "torn", "mae+supervised")
    found = run(monkeypatch, data, tmp_path / "torn", "mae+supervised")
    masked, supervised = "Masked", "Supervised"
    assert steps == [
        (masked, 0), (masked, 1), (masked, 2), (masked, 2), (supervised, 0), (supervised, 1), (supervised, 2),
        (supervised, 2),
    ]  # fmt: skip
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert changed(expected, run(monkeypatch, data, tmp_path / "torn", "mae+supervised")) == set()
    assert len(steps) == 8, "a finished run trains nothing again"
    with pytest.raises(SystemExit, match=r"recipe mae\+supervised"):
        run(monkeypatch, data, tmp_path / "torn", "mae")
