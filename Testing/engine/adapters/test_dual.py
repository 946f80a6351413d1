"""Dual adapters: identity at the start, exact fusion, deformable offsets that learn, counts of models.md, PEG modes."""

import numpy as np
import pytest
import torch
from adapted import (
    WHOLE,
    added,
    assert_step_0_is_the_base,
    frozen_hashes,
    images,
    moved,
    shapes_only,
    steps,
    tiny_network,
    trained,
)
from sam2adapt.adapters.dual import (
    AdaptedMLP,
    Bottleneck,
    BranchedConvolution,
    HighPerformanceAdapters,
    LightweightAdapters,
    ResidualDeformableConvolution,
)
from sam2adapt.shared.errors import SettingsError
from torch import nn
from torch.nn import functional as F

METHODS = [HighPerformanceAdapters(), LightweightAdapters()]
NAMES = [method.name for method in METHODS]


# models.md 3, "counted trainable (adapters only)".
@pytest.mark.parametrize(
    ("base", "method", "count"),
    [
        ("tiny", HighPerformanceAdapters(ratio=1 / 4), 1.451), ("tiny", HighPerformanceAdapters(), 0.728),
        ("tiny", HighPerformanceAdapters(ratio=1 / 16), 0.367), ("tiny", HighPerformanceAdapters(dense=True), 1.045),
        ("tiny", LightweightAdapters(ratio=1 / 4), 1.184), ("tiny", LightweightAdapters(), 0.594),
        ("tiny", LightweightAdapters(dense=True), 1.159), ("base_plus", HighPerformanceAdapters(), 1.802),
        ("base_plus", HighPerformanceAdapters(dense=True), 2.604), ("base_plus", LightweightAdapters(), 1.496),
        ("base_plus", LightweightAdapters(ratio=1 / 4), 2.981),
    ],
)  # fmt: skip
def test_counts(base, method, count):
    assert added(base, method) / 1e6 == pytest.approx(count, abs=6e-4)


@pytest.mark.parametrize(
    ("base", "high", "light"),
    [("tiny", 1.87, 1.53), ("small", 2.01, 1.62), ("base_plus", 2.23, 1.85), ("large", 2.38, 2.04)],
)
def test_shares(base, high, light):
    assert 100 * added(base, HighPerformanceAdapters()) / WHOLE[base] == pytest.approx(high, abs=0.006)
    assert 100 * added(base, LightweightAdapters()) / WHOLE[base] == pytest.approx(light, abs=0.006)


@pytest.mark.parametrize(
    ("base", "classes", "high", "light"),
    [("tiny", 4, 0.766, 0.632), ("tiny", 9, 0.808, 0.674), ("large", 4, 5.383, 4.605)],
)
def test_counts_with_head_and_peg(base, classes, high, light):
    assert trained(shapes_only(base, HighPerformanceAdapters(), classes)) / 1e6 == pytest.approx(high, abs=6e-4)
    assert trained(shapes_only(base, LightweightAdapters(), classes)) / 1e6 == pytest.approx(light, abs=6e-4)


def test_lightweight_is_smaller_after_fusion():
    network = shapes_only("tiny", LightweightAdapters())
    bottlenecks = [module for module in network.modules() if isinstance(module, Bottleneck)]
    training = sum(p.numel() for b in bottlenecks for p in b.parameters())
    branches = sum(p.numel() for b in bottlenecks for p in b.spatial.parameters())
    # One depthwise 3x3 with bias instead of the branches.
    assert (training - branches + sum(10 * b.spatial.channels for b in bottlenecks)) / 1e6 == pytest.approx(
        0.585, abs=6e-4
    )


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_step_0_is_the_base(method):
    assert_step_0_is_the_base(method)


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_only_adapters_head_and_peg_change(method):
    network = tiny_network(method)
    before = frozen_hashes(network)
    start = {name: p.detach().clone() for name, p in network.named_parameters() if ".adapter." in name}
    steps(network, method)
    assert frozen_hashes(network) == before
    now = dict(network.named_parameters())
    assert all(not torch.equal(now[name], tensor) for name, tensor in start.items())


@pytest.mark.parametrize("method", METHODS, ids=NAMES)
def test_gradients_reach_up_at_once_and_the_rest_from_the_next_step(method):
    network = tiny_network(method)
    steps(network, method, count=1)
    adapters = {n: p for n, p in network.named_parameters() if ".adapter." in n}
    assert all(p.grad.abs().sum() > 0 for n, p in adapters.items() if ".up." in n)
    steps(network, method, count=1)
    assert all(p.grad.abs().sum() > 0 for p in adapters.values())


def random_branches(channels: int, dense: bool, norm: str) -> BranchedConvolution:
    torch.manual_seed(channels)
    module = BranchedConvolution(channels, dense, norm).eval()
    for batch_norm in module.norms:
        if isinstance(batch_norm, nn.BatchNorm2d):
            nn.init.normal_(batch_norm.weight)
            nn.init.normal_(batch_norm.bias)
            nn.init.normal_(batch_norm.running_mean)
            nn.init.uniform_(batch_norm.running_var, 0.2, 3)
    return module


@pytest.mark.parametrize(
    ("channels", "dense", "norm"),
    [
        (1, False, "batch"),
        (8, False, "batch"),
        (96, False, "batch"),
        (8, True, "batch"),
        (24, True, "none"),
        (13, False, "none"),
    ],
)
@pytest.mark.parametrize("size", [(33, 29), (1, 1), (2, 5)])
def test_fusion_is_exact(channels, dense, norm, size):
    module = random_branches(channels, dense, norm)
    x = torch.randn(2, channels, *size)
    with torch.no_grad():
        expected, fused = module(x), module.fuse()(x)
    assert (expected - fused).abs().max() <= 1e-5
    assert isinstance(module.fuse(), nn.Conv2d)


def test_fusion_leaves_the_training_form_as_it_is():
    module = random_branches(8, False, "batch")
    x = torch.randn(1, 8, 9, 9)
    with torch.no_grad():
        before = module(x)
        module.fuse().weight.zero_()
        assert torch.equal(module(x), before)


def test_export_fuses_every_adapter_exactly():
    method = LightweightAdapters()
    network, x = moved(tiny_network(method)), images(96, 64)
    with torch.no_grad():
        before = network(x)
        method.export(network)
        assert (network(x) - before).abs().max() <= 1e-5
        assert (before - tiny_network()(x)).abs().max() > 0.01
    assert not any(isinstance(module, BranchedConvolution) for module in network.modules())


def bilinear_zero(h: np.ndarray, y: float, x: float) -> float:
    """Value of a map (H, W) between its pixels, 0 outside."""
    total = 0.0
    for row in (int(np.floor(y)), int(np.floor(y)) + 1):
        for column in (int(np.floor(x)), int(np.floor(x)) + 1):
            if 0 <= row < h.shape[0] and 0 <= column < h.shape[1]:
                total += h[row, column] * (1 - abs(y - row)) * (1 - abs(x - column))
    return total


def test_deformable_convolution_is_its_formula():
    """y(p) = sum_k w_k m_k(p) h(p + p_k + dp_k(p)) + b, with a residual: at one pixel, by hand."""
    torch.manual_seed(4)
    module = ResidualDeformableConvolution(3)
    nn.init.normal_(module.steering.weight, std=0.3)
    h = torch.randn(1, 3, 6, 5)
    with torch.no_grad():
        offsets, mask = module.steer(h)
        out = module(h)
    weight, bias = module.convolution.weight.detach(), module.convolution.bias.detach()
    for channel, row, column in ((0, 2, 3), (2, 0, 4)):
        expected = h[0, channel, row, column].item() + bias[channel].item()
        for k in range(9):
            y = row + k // 3 - 1 + offsets[0, 2 * k, row, column].item()
            x = column + k % 3 - 1 + offsets[0, 2 * k + 1, row, column].item()
            value = bilinear_zero(h[0, channel].numpy(), y, x)
            expected += weight[channel, 0, k // 3, k % 3].item() * mask[0, k, row, column].item() * value
        assert out[0, channel, row, column].item() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("dense", [False, True])
def test_deformable_convolution_begins_as_an_ordinary_one(dense):
    module = ResidualDeformableConvolution(8, dense)
    h = torch.randn(2, 8, 7, 9)
    plain = F.conv2d(h, module.convolution.weight, module.convolution.bias, padding=1, groups=1 if dense else 8)
    assert torch.allclose(module(h), h + plain, atol=1e-5)


def test_deformable_convolution_works_under_autocast():
    network, x = moved(tiny_network(HighPerformanceAdapters())), images(64, 96)
    with torch.no_grad():
        expected = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            logits = network(x)
    assert torch.isfinite(logits).all()
    assert (logits - expected).abs().mean() < 0.1 * expected.std()


def test_offsets_learn_on_curved_borders():
    torch.manual_seed(0)
    rows, columns = np.mgrid[:64, :64]
    rings = [np.hypot(rows - a, columns - b) for a, b in ((20, 24), (40, 30), (34, 44), (28, 16))]
    targets = torch.from_numpy(np.stack([(r > 10) & (r < 17) for r in rings])).long()
    x = F.avg_pool2d(targets[:, None].float(), 7, 1, 3).expand(-1, 3, -1, -1) + 0.1 * torch.randn(4, 3, 64, 64)
    network = tiny_network(HighPerformanceAdapters(), classes=2).train()
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(50):
        loss = F.cross_entropy(network(x), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    shifts = []
    for module in network.modules():
        if isinstance(module, ResidualDeformableConvolution):
            module.register_forward_pre_hook(lambda m, args: shifts.append(m.steer(args[0])[0].abs().mean().item()))
    with torch.no_grad():
        network(x)
    assert losses[-1] < 0.8 * losses[0]
    assert np.mean(shifts) > 0.05


@pytest.mark.parametrize(("blocks", "count"), [("all", 5), ("stage3+", 3), ("stage4", 1), (2, 2)])
def test_blocks(blocks, count):
    for kind in (HighPerformanceAdapters, LightweightAdapters):
        network = tiny_network(kind(blocks=blocks))
        adapted = [isinstance(block.mlp, AdaptedMLP) for block in network.base.image_encoder.trunk.blocks]
        assert adapted == [False] * (5 - count) + [True] * count


@pytest.mark.parametrize("blocks", ["stage2", 0, 6])
def test_blocks_that_are_not_there_are_refused(blocks):
    with pytest.raises(SettingsError):
        tiny_network(HighPerformanceAdapters(blocks=blocks))


def test_scale_is_the_factor_of_the_output():
    half, whole = (moved(tiny_network(LightweightAdapters(blocks="stage4", scale=s))) for s in (0.5, 1.0))
    tokens = torch.randn(1, 4, 4, 128)
    plain = tiny_network().base.image_encoder.trunk.blocks[-1].mlp(tokens)
    first, second = (n.base.image_encoder.trunk.blocks[-1].mlp(tokens) - plain for n in (half, whole))
    assert torch.allclose(2 * first, second, atol=1e-4)
    assert first.abs().max() > 0.01


def test_peg_replace_drops_the_position_embeddings_of_sam2():
    x = images()
    for peg, depends in (("add", True), ("replace", False)):
        network = tiny_network(LightweightAdapters(), peg=peg)
        with torch.no_grad():
            before = network.base.image_encoder.trunk(x)[0]
            network.base.image_encoder.trunk.pos_embed.data += 1.0
            assert torch.equal(before, network.base.image_encoder.trunk(x)[0]) != depends


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("spread", [0.0, 1.0, 30.0])
def test_prepared_deformable_convolution_equals_torchvisions(dense, spread):
    """Also where it samples outside of the map."""
    module = ResidualDeformableConvolution(6, dense)
    generator = torch.Generator().manual_seed(2)
    module.steering.bias.data = spread * torch.randn(27, generator=generator)
    module.steering.weight.data = 0.1 * torch.randn(27, 6, 3, 3, generator=generator)
    x = torch.randn(3, 6, 9, 14, generator=generator)
    with torch.no_grad():
        found = module.prepared()(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        torch.testing.assert_close(found, module(x), atol=1e-5, rtol=1e-5)
