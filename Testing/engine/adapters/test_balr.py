"""BALR: detail network, low-rank attention from the base's, distillation without labels, boundary loss."""

import copy

import numpy as np
import pytest
import torch
from adapted import (
    WHOLE,
    assert_step_0_is_the_base,
    frozen_hashes,
    images,
    moved,
    shapes_only,
    steps,
    tiny_network,
    trained,
)
from sam2.modeling.sam.transformer import Attention
from sam2adapt.adapters import create
from sam2adapt.adapters.balr import BALR
from sam2adapt.adapters.detail import DetailEnhancement, DetailNetwork
from sam2adapt.adapters.distillation import distil_decoder
from sam2adapt.adapters.lora import LoRALinear
from sam2adapt.adapters.low_rank_attention import LowRankAttention, factorise, teacher_of
from sam2adapt.adapters.method import always
from sam2adapt.evaluation.metrics import case_metrics
from sam2adapt.imaging.volume import read_volume
from sam2adapt.network.attention import KeyBiasAttention
from sam2adapt.segmenting.model import load_model
from sam2adapt.segmenting.slices import SliceStack
from sam2adapt.shared.errors import CancelledError, SettingsError
from sam2adapt.shared.files import bundled_folder
from sam2adapt.training.loop import Trainer
from sam2adapt.training.losses import SegmentationLoss
from sam2adapt.training.prepare import PreparedCase
from sam2adapt.training.settings import TrainSettings
from torch.nn import functional as F


def factorised(network) -> list[LowRankAttention]:
    return [module for module in network.modules() if isinstance(module, LowRankAttention)]


# models.md 4: whole method with K = 4 head and PEG; on L the paper's own share, 1.8 %.
@pytest.mark.parametrize(
    ("base", "count", "share"),
    [("tiny", 1.057, 2.71), ("small", 1.254, 2.72), ("base_plus", 1.831, 2.26), ("large", 3.955, 1.76)],
)
def test_counts(base, count, share):
    number = trained(shapes_only(base, BALR()))
    assert number / 1e6 == pytest.approx(count, abs=6e-4)
    assert 100 * number / WHOLE[base] == pytest.approx(share, abs=0.006)


@pytest.mark.parametrize(("width", "count"), [(32, 106_257), (48, 199_529), (64, 319_681)])
def test_counts_of_the_detail_network(width, count):
    assert sum(p.numel() for p in DetailEnhancement(width, 256).parameters()) == count


@pytest.mark.parametrize(("fraction", "count"), [(3 / 16, 223_408), (1 / 4, 297_280), (1 / 2, 592_768)])
def test_counts_of_the_low_rank_attentions(fraction, count):
    network = shapes_only("tiny", BALR(attention=fraction))
    assert sum(p.numel() for module in factorised(network) for p in module.parameters()) == count


@pytest.mark.parametrize("method", [BALR(attention=0), DetailNetwork(), DetailNetwork(high_pass=True)])
def test_step_0_is_the_base_without_low_rank_attention(method):
    assert_step_0_is_the_base(method)


def test_every_part_is_there():
    network = tiny_network(BALR())
    assert len(factorised(network)) == 7
    # qkv, proj and both layers of the MLP of five blocks.
    assert sum(isinstance(module, LoRALinear) for module in network.modules()) == 20
    assert isinstance(network.detail, DetailEnhancement)


def attention_pair(kind, rate: int, fraction: float, bias: bool) -> tuple[Attention, LowRankAttention]:
    torch.manual_seed(1)
    base = kind(64, 8, downsample_rate=rate)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        torch.nn.init.normal_(getattr(base, name).bias)
    if bias:
        base.key_bias = torch.randn(11)
    return base.eval(), LowRankAttention(base, fraction).eval()


@pytest.mark.parametrize(("kind", "bias"), [(Attention, False), (KeyBiasAttention, False), (KeyBiasAttention, True)])
@pytest.mark.parametrize("rate", [1, 2])
def test_full_rank_attention_is_the_base(kind, rate, bias):
    base, low = attention_pair(kind, rate, 1.0, bias)
    q, k, v = torch.randn(2, 5, 64), torch.randn(2, 11, 64), torch.randn(2, 11, 64)
    with torch.no_grad():
        assert (base(q, k, v) - low(q, k, v)).abs().max() <= 1e-5


def test_key_bias_counts():
    _, low = attention_pair(KeyBiasAttention, 1, 1.0, True)
    q, k = torch.randn(2, 5, 64), torch.randn(2, 11, 64)
    with torch.no_grad():
        before = low(q, k, k)
        low.key_bias = None
        assert (before - low(q, k, k)).abs().max() > 1e-3


def test_truncation_is_the_best_of_its_rank():
    """The scores' bilinear form is what an SVD of the whole product leaves (Eckart and Young)."""
    base, low = attention_pair(Attention, 1, 0.5, False)
    for head in range(8):
        rows, kept = slice(8 * head, 8 * head + 8), slice(4 * head, 4 * head + 4)
        query, key = (torch.cat([p.weight[rows], p.bias[rows, None]], 1) for p in (base.q_proj, base.k_proj))
        u, s, vh = torch.linalg.svd((query.T @ key).double())
        expected = u[:, :4] @ torch.diag(s[:4]) @ vh[:4]
        query, key = (torch.cat([p.weight[kept], p.bias[kept, None]], 1) for p in (low.query, low.key))
        assert torch.allclose((query.T @ key).double(), expected, atol=1e-5)


@pytest.mark.parametrize("settings", [{"attention": 1.0}, {"attention": 1.0, "edge": 0}])
def test_full_rank_network_is_the_base(settings):
    x = images(96, 64)
    with torch.no_grad():
        assert (tiny_network(BALR(**settings))(x) - tiny_network()(x)).abs().max() <= 1e-5


def agreement(first, second, x) -> float:
    with torch.no_grad():
        return (first(x).argmax(dim=1) == second(x).argmax(dim=1)).float().mean().item()


def test_distillation_brings_the_decoder_back_without_labels():
    """On random weights, whose singular values are flat: the hardest case, and not what pretrained weights are like."""
    method = BALR(distil=150)
    network, base = tiny_network(method), tiny_network()
    frozen = frozen_hashes(network)
    others = {n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad and "_attn" not in n}
    fresh = images(64, 64, batch=4, seed=99)
    before = agreement(network, base, fresh)
    method.initialise(network, (images(64, 64, batch=2, seed=seed) for seed in range(8)))
    after = agreement(network, base, fresh)
    assert after > before + 0.1
    assert after >= 0.9
    assert frozen_hashes(network) == frozen
    assert len(others) > 20
    now = dict(network.named_parameters())
    assert all(torch.equal(now[name], tensor) for name, tensor in others.items())
    assert all(p.grad is None for p in network.parameters())


def test_distillation_on_pretrained_weights_and_real_slices_keeps_99_percent(data_path):
    """models.md 4: the same class in at least 99 % of the pixels."""
    model = load_model(bundled_folder() / "torso-ct.safetensors")
    stack = SliceStack(read_volume(data_path / "ct_sample" / "chaos_ct" / "image.nii.gz"), model.slices)
    training = [torch.cat([stack.batch(k, k + 1) for k in range(first, len(stack), 20)]) for first in (0, 10)]
    fresh = torch.cat([stack.batch(k, k + 1) for k in range(5, len(stack), 10)])
    network = copy.deepcopy(model.network.plain)
    transformer = network.base.sam_mask_decoder.transformer
    factorise(transformer, BALR().attention)
    students = [module for module in transformer.modules() if isinstance(module, LowRankAttention)]
    distil_decoder(network, teacher_of(transformer), students, training, 100, always)
    with torch.no_grad():
        expected, found = (n(fresh).argmax(dim=1) for n in (model.network, network))
    assert (expected > 0).float().mean() > 0.05
    assert (found == expected).float().mean() >= 0.99
    assert (found == expected)[expected > 0].float().mean() >= 0.98


@pytest.mark.parametrize("until", [0.5, 1.0])
def test_distillation_says_how_far_it_is_and_ends_when_told(until):
    said = []

    def keep_on(share: float) -> bool:
        said.append(share)
        return share < until

    BALR(distil=6).initialise(tiny_network(BALR()), iter([images()]), keep_on)
    assert said == pytest.approx([(step + 1) / 6 for step in range(round(6 * until))])


def test_cancelling_and_time_limit_reach_the_distillation(tmp_path):
    grey = np.random.default_rng(0).random((2, 3, 32, 32)).astype(np.float16)
    target = np.zeros((2, 32, 32), np.uint8)
    target[:, 8:20, 10:30] = 1
    case, method, seen = PreparedCase("a", grey, target, [0, 1], [0, 1]), BALR(distil=100_000), []

    def trainer(**watchers) -> Trainer:
        settings = TrainSettings(epochs=1, batch_size=8, max_minutes=watchers.pop("minutes", None))
        network, cpu = tiny_network(method, classes=2), torch.device("cpu")
        return Trainer(network, [case], method, settings, (32, 32), 0, tmp_path, cpu, **watchers)

    with pytest.raises(CancelledError) as caught:
        trainer(progress=seen.append, cancelled=lambda: len(seen) == 3).initialise()
    assert "Start it again" in caught.value.remedy
    assert [state.prepared for state in seen] == pytest.approx([0.00001, 0.00002, 0.00003])
    assert {(state.epoch, state.loss) for state in seen} == {(0, None)}
    seen.clear()
    limited = trainer(progress=seen.append, minutes=1 / 60)
    limited.initialise()
    assert 0 < seen[-1].prepared < 1
    assert seen[-1].seconds >= 0.2 * limited.settings.max_minutes * 60


def test_teacher_is_the_base():
    network, base = tiny_network(BALR()), tiny_network()
    decoder = base.base.sam_mask_decoder.transformer
    teacher = teacher_of(network.base.sam_mask_decoder.transformer)
    inputs = torch.randn(1, 32, 4, 4), torch.randn(1, 32, 4, 4), torch.randn(1, 9, 32)
    with torch.no_grad():
        for ours, theirs in zip(teacher(*inputs), decoder(*inputs), strict=True):
            assert torch.equal(ours, theirs)


def test_only_declared_parameters_change():
    method = BALR()
    network = tiny_network(method)
    before = frozen_hashes(network)
    start = {n: p.detach().clone() for n, p in network.named_parameters() if p.requires_grad}
    steps(network, method)
    assert frozen_hashes(network) == before
    now = dict(network.named_parameters())
    assert [name for name, tensor in start.items() if torch.equal(now[name], tensor)] == []


def test_gradients_reach_every_part():
    method = BALR()
    network = tiny_network(method)
    steps(network, method, count=2)
    for name, parameter in network.named_parameters():
        assert not parameter.requires_grad or parameter.grad.abs().sum() > 0, name


def test_export_drops_the_boundary_head_and_the_teachers():
    method = BALR()
    network, x = moved(tiny_network(method)), images(96, 64)
    with torch.no_grad():
        before = network(x)
        method.export(network)
        assert (network(x) - before).abs().max() <= 1e-5
    assert network.detail.edge is None
    assert all(not module.teacher for module in factorised(network))
    assert network.forward_with_extras(x)[1] == {}


def test_edge_logits_have_the_images_size():
    x = images(50, 70)
    logits, extras = tiny_network(DetailNetwork()).forward_with_extras(x)
    assert logits.shape == (1, 4, 50, 70)
    assert extras["edge"].shape == (1, 1, 50, 70)


def test_boundary_loss_weighs_less_in_the_last_fifth():
    method = BALR()
    extras, targets = {"edge": torch.randn(1, 1, 16, 16)}, torch.randint(0, 3, (1, 16, 16))
    early, late = (method.auxiliary_loss(extras, targets, fraction) for fraction in (0.79, 0.8))
    assert (0.2 / 0.5 * early).item() == pytest.approx(late.item(), abs=1e-6)
    assert early > 0
    assert BALR(edge=0).auxiliary_loss({}, targets, 0.1) == 0


def blurred_shapes(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images (B, 3, 64, 64) of wavy discs behind a blur of 7 pixels and noise, and their masks (B, 64, 64)."""
    generator = torch.Generator().manual_seed(seed)
    random = torch.rand(6, count, 1, 1, generator=generator)
    rows, columns = (torch.arange(64.0).view(shape) - 24 - 16 * random[i] for i, shape in enumerate([(-1, 1), (1, -1)]))
    angle, waves = torch.atan2(rows, columns), torch.round(3 + 4 * random[2])
    radius = 13 + 5 * random[3] + 4 * random[4] * torch.sin(waves * angle + 6.3 * random[5])
    targets = (torch.hypot(rows, columns) < radius).long()
    x = F.avg_pool2d(targets[:, None].float(), 7, 1, 3).expand(-1, 3, -1, -1)
    return x + 0.1 * torch.randn(x.shape, generator=generator), targets


def boundary_iou(first: torch.Tensor, second: torch.Tensor, distance: int = 2) -> float:
    """IoU of the pixels of masks (B, H, W) within a distance of their borders (arXiv 2103.16562)."""

    def band(mask: torch.Tensor) -> torch.Tensor:
        outside = F.pad(1 - mask[:, None].float(), (distance,) * 4, value=1.0)
        return mask.bool() & F.max_pool2d(outside, 2 * distance + 1, 1)[:, 0].bool()

    first, second = band(first), band(second)
    return ((first & second).sum() / (first | second).sum()).item()


def test_boundary_iou_by_hand():
    mask = torch.zeros(1, 9, 9, dtype=torch.long)
    mask[:, 1:8, 1:8] = 1
    moved_right = torch.roll(mask, 1, 2)
    # Bands of 40 pixels around cores of 3 x 3; beside the core, columns 1 and 2 of the band meet columns 2 and 3.
    both = {(r, c) for r in range(1, 8) for c in range(1, 8) if not (3 <= r <= 5 and 3 <= c <= 5)}
    other = {(r, c + 1) for r, c in both}
    assert boundary_iou(mask, mask) == 1
    assert boundary_iou(mask, moved_right) == pytest.approx(len(both & other) / len(both | other))


def test_detail_network_finds_blurred_borders():
    """On a frozen random base, with the same steps and the same seed, borders come much nearer, on new images."""
    found = {}
    for method in (create("head"), DetailNetwork(width=16)):
        torch.manual_seed(0)
        network, loss_of = tiny_network(method, classes=2).train(), SegmentationLoss(method.loss_weights())
        optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=5e-3)
        x, targets = blurred_shapes(8, seed=0)
        for step in range(40):
            logits, extras = network.forward_with_extras(x)
            loss = loss_of(logits, targets) + method.auxiliary_loss(extras, targets, step / 40)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        x, targets = blurred_shapes(16, seed=1000)
        with torch.no_grad():
            labels = network.eval()(x).argmax(dim=1)
        pairs = zip(labels.byte().numpy(), targets.byte().numpy(), strict=True)
        distances = [case_metrics(ours[None], truth[None], [1])[1]["assd"] for ours, truth in pairs]
        found[method.name] = boundary_iou(labels, targets), np.mean(distances)
    (without, far), (with_details, near) = found["head"], found["detail"]
    assert with_details > without + 0.15
    assert near < 0.7 * far


@pytest.mark.parametrize("settings", [{"attention": 1.5}, {"width": 6}, {"encoder": ["neck"]}, {"rank": 0}])
def test_bad_settings_are_refused(settings):
    with pytest.raises(SettingsError):
        tiny_network(create("balr", settings))


def test_settings_survive_json():
    method = BALR(encoder=("qkv",), width=32)
    assert create("balr", method.settings()) == method
