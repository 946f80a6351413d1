"""Every registered method keeps the interface's promises, on any size; presets and combinations too."""

import json
from typing import ClassVar

import numpy as np
import pytest
import torch
from adapted import WHOLE, frozen_hashes, images, moved, shapes_only, steps, tiny_network, trained
from cards import model_card
from sam2adapt.adapters import METHODS, create
from sam2adapt.adapters.head import HeadOnly
from sam2adapt.adapters.method import Method
from sam2adapt.modelfiles.bases import file_sha256
from sam2adapt.modelfiles.bundle import write_bundle
from sam2adapt.modelfiles.card import validate_card
from sam2adapt.network.weights import load_base, write_base
from sam2adapt.segmenting.model import build_network, load_model
from sam2adapt.shared.errors import ModelFileError, SettingsError
from sam2adapt.shared.presets import PRESETS
from sam2adapt.training.loop import Trainer
from sam2adapt.training.losses import SegmentationLoss
from sam2adapt.training.prepare import PreparedCase
from sam2adapt.training.settings import TrainSettings

NAMES = list(METHODS)
# At step 0 these only approximate the base (adapters/balr.py says so).
APPROXIMATE = {"balr"}
EXPORTED = {"lora", "dual-lw", "balr", "combined"}  # whose exported network is another one
SIZES = [(224, 224), (240, 240), (250, 330), (96, 544)]
PARTS = {"parts": ["lora", {"name": "dual-lw", "settings": {"blocks": "stage4"}}, "detail"]}


def test_what_the_issue_names_is_registered():
    assert {"head", "lora", "dual-hp", "dual-lw", "balr", "full"} <= METHODS.keys()


@pytest.mark.parametrize("name", NAMES)
def test_each_method_describes_itself(name):
    method = create(name)
    assert isinstance(method, Method) and method.name == name
    assert 10 < len(method.summary) < 100
    settings = json.loads(json.dumps(method.settings()))
    assert settings.keys() == set(METHODS[name].setting_names())
    assert create(name, settings) == method
    card = model_card(method={"name": name, "settings": settings})
    card["base"]["id"] = "nano"
    validate_card(card)


@pytest.mark.parametrize("name", NAMES)
def test_each_methods_loss_has_known_terms(name):
    SegmentationLoss(create(name).loss_weights())


@pytest.mark.parametrize("name", [name for name in NAMES if name not in APPROXIMATE])
def test_step_0_is_the_base(name):
    x = images(64, 96)
    with torch.no_grad():
        assert torch.equal(tiny_network(create(name))(x), tiny_network()(x))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_any_size(name, size):
    network = moved(tiny_network(create(name)), amount=0.02)
    with torch.no_grad():
        logits = network(images(*size))
    assert logits.shape == (1, 4, *size)
    assert torch.isfinite(logits).all()


@pytest.mark.parametrize("name", NAMES)
def test_export_is_equal(name):
    method = create(name)
    network, x = moved(tiny_network(method), amount=0.05), images(250, 130)
    kinds = [type(module) for module in network.modules()]
    with torch.no_grad():
        before = network(x)
        method.export(network)
        assert (network(x) - before).abs().max() <= 1e-5 * max(1.0, before.abs().max().item())
    assert ([type(module) for module in network.modules()] != kinds) == (name in EXPORTED | {"detail"})


@pytest.mark.parametrize("name", NAMES)
def test_trained_state_comes_back(name):
    method = create(name)
    network, x = moved(tiny_network(method)), images()
    state = {key: tensor.clone() for key, tensor in network.trained_state().items()}
    other = tiny_network(method)
    with torch.no_grad():
        assert not torch.equal(other(x), network(x))
        other.load_trained_state(state)
        assert torch.equal(other(x), network(x))
    assert trained(network) == sum(state[n].numel() for n, p in network.named_parameters() if p.requires_grad)


@pytest.mark.parametrize("name", NAMES)
def test_bundle_segments_as_the_trained_network(name, small_base, home, tmp_path):
    path = home / "bases" / "small-test.safetensors"
    write_base(path, "small-test", small_base, {})
    digest = file_sha256(path)
    card = model_card(
        base={"id": "small-test", "sha256": digest}, method={"name": name, "settings": create(name).settings()}
    )
    network, _ = build_network(card, load_base("small-test", digest)[0])
    moved(network, amount=0.05).eval()
    write_bundle(tmp_path / "model.safetensors", card, network.trained_state())
    model, x = load_model(tmp_path / "model.safetensors"), images(50, 70)
    with torch.no_grad():
        expected = network(x)
        assert (model.network(x) - expected).abs().max() <= 1e-5 * max(1.0, expected.abs().max().item())
    assert not any(parameter.requires_grad for parameter in model.network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_trains_in_half_precision(name):
    method = create(name)
    network = moved(tiny_network(method), amount=0.02).train()
    with torch.autocast("cpu", torch.bfloat16):
        logits, extras = network.forward_with_extras(images(96, 64, batch=2))
    targets = torch.randint(0, 4, (2, 96, 64))
    loss = SegmentationLoss(method.loss_weights())(logits, targets) + method.auxiliary_loss(extras, targets, 0.5)
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(torch.isfinite(p.grad).all() for p in network.parameters() if p.grad is not None)


@pytest.mark.parametrize("name", NAMES)
def test_state_of_another_method_is_refused(name):
    other = "dual-lw" if name != "dual-lw" else "dual-hp"
    with pytest.raises(ModelFileError):
        tiny_network(create(name)).load_trained_state(tiny_network(create(other)).trained_state())


@pytest.mark.parametrize("name", NAMES)
def test_training_moves_what_is_trained_and_nothing_else(name):
    method = create(name)
    network = tiny_network(method)
    before = frozen_hashes(network)
    unused = {n for n, p in network.named_parameters() if p.requires_grad} if name == "full" else set()
    start = {n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad}
    losses = steps(network, method)
    assert all(torch.isfinite(torch.tensor(losses)))
    assert frozen_hashes(network) == before
    now = dict(network.named_parameters())
    still = {n for n, tensor in start.items() if torch.equal(now[n], tensor)}
    # SAM2's decoder holds heads (quality, presence, other masks) that class decoding never asks.
    assert still <= {n for n in unused if "sam_mask_decoder" in n}


@pytest.mark.parametrize("base", list(WHOLE))
@pytest.mark.parametrize("name", [name for name in NAMES if name != "full"])
def test_less_than_five_percent_is_trained(base, name):
    assert trained(shapes_only(base, create(name))) / WHOLE[base] < 0.05


def test_full_trains_nearly_all():
    network = shapes_only("tiny", create("full"))
    assert trained(network) / sum(p.numel() for p in network.parameters()) > 0.99


@pytest.mark.parametrize("name", list(PRESETS))
def test_presets_train_the_share_that_they_say_at_sizes_without_waste(name):
    preset = PRESETS[name]
    network = shapes_only(preset.base, create(preset.method, preset.settings), train_upscaling=preset.train_upscaling)
    whole = sum(p.numel() for p in network.parameters()) if preset.base == "nano" else WHOLE[preset.base]
    assert trained(network) / whole <= {"nano": 0.08, "nano-wide": 0.21}.get(name, 0.03)  # of the smallest base more
    assert preset.size is None or preset.size % network.base.config.window_multiple == 0


def test_combination_has_all_its_parts():
    method = create("combined", PARTS)
    network = tiny_network(method)
    alone = [tiny_network(create(name)) for name in ("lora", "detail")]
    names = {n for n, p in network.named_parameters() if p.requires_grad}
    for part in alone:
        assert {n for n, p in part.named_parameters() if p.requires_grad} <= names
    assert any(".adapter." in n for n in names)
    assert method.loss_weights() == create("lora").loss_weights()
    extras, targets = {"edge": torch.randn(1, 1, 8, 8)}, torch.randint(0, 2, (1, 8, 8))
    assert method.auxiliary_loss(extras, targets, 0.0) == create("detail").auxiliary_loss(extras, targets, 0.0)


def test_combination_prepares_its_parts_with_the_same_images():
    method = create("combined", {"parts": ["dual-lw", {"name": "balr", "settings": {"distil": 2}}]})
    network = tiny_network(method)
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    method.initialise(network, iter([images(), images(seed=1)]))
    changed = {n for n, p in network.named_parameters() if not torch.equal(p, before[n])}
    assert changed and all("transformer" in name for name in changed)


@pytest.mark.parametrize(
    "parts",
    [
        ["lora"], "lora", ["lora", "lora"], ["lora", "balr"], ["dual-hp", "dual-lw"], ["detail", "balr"],
        ["lora", "nothing"], ["lora", "combined"], ["lora", {"name": "detail", "width": 8}], ["lora", 3],
        # Low-rank attention would silently throw away the LoRA of the decoder, or the other way round.
        [{"name": "lora", "settings": {"placement": "decoder"}}, "balr"],
        ["balr", {"name": "lora", "settings": {"placement": "decoder"}}],
    ],
)  # fmt: skip
def test_combinations_that_cannot_be_are_refused(parts):
    with pytest.raises(SettingsError):
        tiny_network(create("combined", {"parts": parts}))


class Spy(HeadOnly):
    """Notes what the training asks it."""

    asked: ClassVar[list] = []

    def loss_weights(self):
        return {"dice": 1.0}

    def initialise(self, network, batches, keep_on):
        self.asked.append(("prepare", next(iter(batches)).shape))
        network.head.bias.data += 1.0

    def auxiliary_loss(self, extras, targets, fraction):
        self.asked.append(("loss", tuple(targets.shape), fraction))
        return 1000.0


def test_training_asks_the_method(tmp_path):
    grey = np.random.default_rng(0).random((4, 3, 64, 64)).astype(np.float16)
    target = np.zeros((4, 64, 64), np.uint8)
    target[:, 20:40, 10:30] = 1
    case = PreparedCase("a", grey, target, [0, 1, 2, 3], [0, 1, 2, 3])
    network, settings = tiny_network(classes=2), TrainSettings(epochs=1, batch_size=16)
    bias = network.head.bias.detach().clone()
    trainer = Trainer(network, [case], Spy(), settings, (64, 64), 0, tmp_path, torch.device("cpu"))
    assert trainer.step.loss.weights == {"dice": 1.0}
    trainer.initialise()
    assert torch.equal(trainer.validation.average["head.bias"], bias + 1.0)
    trainer.run()
    assert Spy.asked[0] == ("prepare", (16, 3, 64, 64))
    fractions = [entry[2] for entry in Spy.asked[1:]]
    assert all(entry[:2] == ("loss", (16, 64, 64)) for entry in Spy.asked[1:])
    assert fractions == sorted(fractions) and fractions[0] == 0 and len(set(fractions)) == 8
    assert 1000 < trainer.history.rows[0]["loss"] < 1002


def test_unknown_method_is_refused():
    with pytest.raises(SettingsError, match="dual-lw"):
        create("adapter")
