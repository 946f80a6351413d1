"""SAM2LoRA: identity at the start, exact merging, counts of models.md, and the defects of the authors' code absent."""

import copy

import numpy as np
import pytest
import torch
from adapted import WHOLE, added, frozen_hashes, images, moved, shapes_only, steps, tiny_network, trained
from sam2adapt.adapters import create
from sam2adapt.adapters.detail import DetailNetwork
from sam2adapt.adapters.lora import LoRALinear, SAM2LoRA
from sam2adapt.machine import device
from sam2adapt.shared.errors import SettingsError
from sam2adapt.training import step
from sam2adapt.training.loop import Trainer
from sam2adapt.training.losses import SegmentationLoss
from sam2adapt.training.prepare import PreparedCase
from sam2adapt.training.settings import TrainSettings
from torch import nn

CPU = torch.device("cpu")
EVERYTHING = {"encoder": ("qkv", "proj", "mlp"), "decoder": ("attn", "mlp")}


def loras(network) -> dict[str, LoRALinear]:
    return {name: module for name, module in network.named_modules() if isinstance(module, LoRALinear)}


# models.md 2, "counted exactly as in the code": encoder qkv and decoder attentions.
@pytest.mark.parametrize(
    ("base", "rank", "count"),
    [
        ("tiny", 4, 119_680), ("tiny", 16, 478_720), ("tiny", 64, 1_914_880), ("small", 8, 288_512),
        ("small", 16, 577_024), ("base_plus", 16, 864_000), ("base_plus", 32, 1_728_000), ("large", 16, 1_923_328),
        ("large", 64, 7_693_312),
    ],
)  # fmt: skip
def test_counts(base, rank, count):
    assert added(base, SAM2LoRA(rank=rank)) == count


@pytest.mark.parametrize(("base", "share"), [("tiny", 3.93), ("base_plus", 3.80), ("large", 3.26)])
def test_counts_of_all_targets(base, share):
    assert 100 * added(base, SAM2LoRA(**EVERYTHING)) / WHOLE[base] == pytest.approx(share, abs=0.006)


def test_below_five_percent_with_head_and_peg_at_the_ranks_that_models_md_names():
    for base, rank in (("tiny", 32), ("small", 32), ("base_plus", 64), ("large", 64)):
        assert trained(shapes_only(base, SAM2LoRA(rank=rank))) / WHOLE[base] < 0.05


def test_targets_are_the_papers():
    names = loras(tiny_network(SAM2LoRA()))
    encoder = [name for name in names if "trunk" in name]
    decoder = [name for name in names if "transformer" in name]
    assert len(encoder) == 5 and all(name.endswith("attn.qkv") for name in encoder)
    assert len(decoder) == 28 and len(encoder) + len(decoder) == len(names)


@pytest.mark.parametrize(("placement", "count"), [("both", 33), ("encoder", 5), ("decoder", 28)])
def test_placement(placement, count):
    assert len(loras(tiny_network(SAM2LoRA(placement=placement)))) == count


@pytest.mark.parametrize("settings", [{}, EVERYTHING], ids=["default", "everything"])
def test_step_0_is_the_base(settings):
    x = images(96, 64)
    with torch.no_grad():
        assert torch.equal(tiny_network(SAM2LoRA(**settings))(x), tiny_network()(x))


@pytest.mark.parametrize("settings", [{}, EVERYTHING, {"rslora": True, "alpha": 7.5, "rank": 3}])
def test_merge_is_exact(settings):
    method = SAM2LoRA(**settings)
    network, x = moved(tiny_network(method)), images(96, 64)
    plain = tiny_network()
    with torch.no_grad():
        before = network(x)
        method.export(network)
        after = network(x)
        assert (before - plain(x)).abs().max() > 0.01
    assert (before - after).abs().max() <= 1e-5
    assert not loras(network)


def test_merged_weight_by_hand():
    layer = LoRALinear(nn.Linear(3, 2), rank=1, scaling=2.0, dropout=0.0)
    layer.lora_A.data, layer.lora_B.data = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[0.5], [-1.0]])
    expected = layer.weight + torch.tensor([[1.0, 2.0, 3.0], [-2.0, -4.0, -6.0]])
    assert torch.allclose(layer.merge().weight, expected, atol=1e-6)
    assert torch.equal(layer.merge().bias, layer.bias)


def test_scaling():
    assert SAM2LoRA(rank=16).scaling == 2
    assert SAM2LoRA(rank=16, alpha=8).scaling == 0.5
    assert SAM2LoRA(rank=16, rslora=True).scaling == 8


def test_only_adapters_head_and_peg_change():
    method = SAM2LoRA()
    network = tiny_network(method)
    before = frozen_hashes(network)
    start = {name: layer.lora_B.clone() for name, layer in loras(network).items()}
    steps(network, method, count=5)
    assert frozen_hashes(network) == before
    assert all(not torch.equal(layer.lora_B, start[name]) for name, layer in loras(network).items())


def test_gradients_reach_every_adapter():
    method = SAM2LoRA(**EVERYTHING)
    network = tiny_network(method)
    steps(network, method, count=2)
    for name, layer in loras(network).items():
        assert layer.lora_A.grad.abs().sum() > 0, name
        assert layer.lora_B.grad.abs().sum() > 0, name


def test_every_image_is_decoded_from_its_own_features():
    """The authors' training decodes every mask of a batch from the last image's features."""
    network = moved(tiny_network(SAM2LoRA())).train()
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    x = images(64, 64, batch=3)
    with torch.no_grad():
        together, alone = network(x), torch.cat([network(image[None]) for image in x])
    assert torch.allclose(together, alone, atol=1e-5)
    assert (alone[0] - alone[2]).abs().max() > 0.01


def test_pretrained_image_path_is_kept():
    """The authors' code draws ``no_mem_embed`` anew and leaves it out of the embedding."""
    base = tiny_network().base
    base.no_mem_embed.data += 1.5
    changed = tiny_network(SAM2LoRA())
    changed.base.no_mem_embed.data += 1.5
    x = images()
    assert torch.equal(base.no_mem_embed, changed.base.no_mem_embed)
    with torch.no_grad():
        assert torch.equal(base.features(x)[0], changed.base.features(x)[0])
        assert not torch.equal(base.features(x)[0], tiny_network().base.features(x)[0])


def test_dropout_works_in_training_only():
    network, x = moved(tiny_network(SAM2LoRA(dropout=0.5))), images()
    with torch.no_grad():
        assert torch.equal(network(x), network(x))
        network.train()
        assert not torch.equal(network(x), network(x))


def test_quality_head_begins_as_sam2s_and_leaves_with_the_export():
    method, x = SAM2LoRA(quality=0.1), images(96, 64, batch=2)
    network, plain = tiny_network(method), tiny_network(SAM2LoRA())
    assert plain.head.quality is None and "quality" not in plain.forward_with_extras(x)[1]
    assert trained(network) - trained(plain) == 4 * (32 + 1)
    assert trained(shapes_only("tiny", method)) - trained(shapes_only("tiny", SAM2LoRA())) == 4 * 257
    tokens = []
    network.base.sam_mask_decoder.transformer.register_forward_hook(lambda m, args, out: tokens.append(out[0][:, 1]))
    with torch.no_grad():
        logits, extras = network.forward_with_extras(x)
        expected = network.base.sam_mask_decoder.iou_prediction_head(tokens[0])[:, :1]
        assert torch.equal(logits, plain(x)) and torch.equal(logits, extras["logits"])
        torch.testing.assert_close(extras["quality"], expected.expand(-1, 4))
        method.export(network)
        assert torch.equal(network(x), logits)
    assert network.forward_with_extras(x)[1] == {}


def test_quality_term_is_a_tenth_of_the_distance_and_is_learnt():
    method = SAM2LoRA(quality=0.1)
    network, frozen = tiny_network(method), frozen_hashes(tiny_network(method))
    logits = torch.zeros(1, 4, 2, 2)
    logits[0, 1] = 1.0
    extras = {"quality": torch.tensor([[0.0, 0.9, 0.0, 0.0]]), "logits": logits}
    target = torch.ones(1, 2, 2, dtype=torch.uint8)
    assert method.auxiliary_loss(extras, target, 0.0).item() == pytest.approx(0.01)
    assert SAM2LoRA().auxiliary_loss({}, target, 0.0) == 0
    steps(network, method)
    assert network.head.quality.weight.grad.abs().sum() > 0
    assert frozen_hashes(network) == frozen


@pytest.mark.parametrize("half", [None, torch.bfloat16, torch.float16])
def test_gradients_are_clipped_at_their_true_size(tmp_path, monkeypatch, half):
    """The authors clip before the loss's scaling is undone, so that almost nothing is left of the gradients."""
    for module in (device, step):
        monkeypatch.setattr(module, "autocast_dtype", lambda _: half)
    grey = np.random.default_rng(0).random((2, 3, 32, 32)).astype(np.float16)
    target = np.zeros((2, 32, 32), np.uint8)
    target[:, 8:20, 10:30] = 1
    case, method = PreparedCase("a", grey, target, [0, 1], [0, 1]), SAM2LoRA()
    settings = TrainSettings(epochs=1, batch_size=32, clip=0.05)
    trainer = Trainer(tiny_network(method, classes=2), [case], method, settings, (32, 32), 0, tmp_path, CPU)
    norms = []

    def note(optimizer, args, kwargs):
        gradients = [p.grad for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        norms.append(torch.cat([gradient.flatten() for gradient in gradients]).norm().item())

    trainer.step.optimizer.register_step_pre_hook(note)
    trainer.run()
    assert trainer.step.scaler.is_enabled() == (half == torch.float16)
    assert len(norms) == 4
    assert norms == pytest.approx([0.05] * 4, rel=1e-3)


def vessels(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 3, 64, 64) of faint wavy lines two pixels wide in noise, and their masks (B, 64, 64)."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.arange(64.0).view(-1, 1), torch.arange(64.0).view(1, -1)
    targets = torch.zeros(count, 64, 64, dtype=torch.bool)
    for height, swing, length, phase in torch.rand(3, 4, count, 1, 1, generator=generator):
        line = 64 * height + 10 * (2 * swing - 1) * torch.sin(columns / (5 + 8 * length) + 6.3 * phase)
        targets |= (rows - line).abs() < 1
    x = 0.5 * targets[:, None].expand(-1, 3, -1, -1)
    return x + 0.25 * torch.randn(x.shape, generator=generator), targets.long()


def test_every_term_of_the_composite_loss_finds_more_of_thin_vessels():
    terms, recalls = SAM2LoRA().loss_weights(), []
    assert list(terms) == ["ce", "dice", "focal_tversky"]
    for count in (1, 2, 3):
        torch.manual_seed(0)
        network = tiny_network(DetailNetwork(width=16, edge=0), classes=2).train()
        loss_of = SegmentationLoss(dict(list(terms.items())[:count]))
        optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=5e-3)
        x, targets = vessels(8, seed=0)
        for _ in range(40):
            optimizer.zero_grad()
            loss_of(network(x), targets).backward()
            optimizer.step()
        x, targets = vessels(16, seed=1000)
        with torch.no_grad():
            labels = network.eval()(x).argmax(dim=1)
        recalls.append(((labels == 1) & (targets == 1)).sum().item() / targets.sum().item())
    assert recalls[1] > recalls[0] + 0.1
    assert recalls[2] > recalls[1] + 0.02


def test_copy_is_its_own():
    network = tiny_network(SAM2LoRA())
    other = moved(copy.deepcopy(network))
    x = images()
    with torch.no_grad():
        assert torch.equal(network(x), tiny_network()(x))
        assert not torch.equal(other(x), network(x))


def test_settings_survive_json_and_the_command_line():
    assert create("lora", {"encoder": ["qkv", "mlp"]}) == SAM2LoRA(encoder=("qkv", "mlp"))
    assert create("lora", {"encoder": "proj"}) == SAM2LoRA(encoder=("proj",))
    method = SAM2LoRA(rank=4, decoder=())
    assert create("lora", method.settings()) == method
    assert method.settings()["encoder"] == ["qkv"]


@pytest.mark.parametrize(
    "settings",
    [
        {"encoder": ["attn"]},
        {"placement": "neck"},
        {"rank": 0},
        {"dropout": 1.0},
        {"ranks": 4},
        {"quality": -1},
        {"prompts": 1.5},
    ],
)
def test_bad_settings_are_refused(settings):
    with pytest.raises(SettingsError):
        create("lora", settings)


def test_a_layer_takes_one_lora():
    network = tiny_network(SAM2LoRA())
    with pytest.raises(SettingsError, match="two LoRAs"):
        SAM2LoRA().apply(network)
