"""Prompts for interactive refinement: off by default, drawn as models.md says, and they move the output."""

import numpy as np
import pytest
import torch
from adapted import frozen_hashes, images, moved, tiny_network
from sam2adapt.adapters import METHODS, create
from sam2adapt.adapters.lora import SAM2LoRA
from sam2adapt.adapters.prompt_drawing import draw_prompts
from sam2adapt.network.prompts import Prompts, PromptTokens
from sam2adapt.shared.errors import SettingsError
from sam2adapt.shared.labels.annotation import IGNORE
from sam2adapt.training.loop import Trainer
from sam2adapt.training.losses import SegmentationLoss
from sam2adapt.training.prepare import PreparedCase
from sam2adapt.training.settings import TrainSettings

PROMPTED = SAM2LoRA(prompts=0.5)
CLICK = Prompts(points=((20.0, 12.0, 1), (3.0, 40.0, 0)))
BOX = Prompts(boxes=((4.0, 6.0, 30.0, 41.0, 2),))


@pytest.mark.parametrize("name", list(METHODS))
def test_methods_train_without_prompts_by_default(name):
    method = create(name)
    assert method.draw_prompts(torch.zeros(2, 8, 8, dtype=torch.uint8)) is None
    network = tiny_network(method)
    assert network.prompts is None
    with pytest.raises(SettingsError, match="not trained with prompts"):
        network(images(), [CLICK])


def test_output_without_prompts_is_unchanged_bit_by_bit():
    x = images(50, 70, batch=3)
    with torch.no_grad():
        expected = moved(tiny_network(SAM2LoRA()))(x)
        network = moved(tiny_network(PROMPTED))
        assert torch.equal(network(x), expected)
        assert torch.equal(network(x, [Prompts()] * 3), expected)


@pytest.mark.parametrize("size", [(64, 64), (50, 70), (240, 33), (96, 160)])
def test_prompts_of_any_size_reach_their_own_image_only(size):
    network, x = moved(tiny_network(PROMPTED)), images(*size, batch=4)
    with torch.no_grad():
        plain, mixed = network(x), network(x, [Prompts(), CLICK, BOX, Prompts()])
        alone = network(x[1:2], [CLICK])
    assert mixed.shape == (4, 4, *size)
    assert torch.isfinite(mixed).all()
    assert (mixed[1:3] - plain[1:3]).abs().amax(dim=(1, 2, 3)).min() > 1e-3
    torch.testing.assert_close(mixed[[0, 3]], plain[[0, 3]], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(network.forward(x[:3], [Prompts(), CLICK, CLICK])[1:2], alone, atol=1e-5, rtol=1e-5)


def test_prompts_go_through_sam2s_encoder_at_their_place_in_the_padded_image():
    network = tiny_network(PROMPTED)
    encoder, tokens = network.base.sam_prompt_encoder, network.prompts
    with torch.no_grad():
        found = tokens(encoder, [Prompts(points=((15.5, 7.5, 2), (3.0, 9.0, 0)), boxes=((0, 0, 31, 63, 1),))], (64, 32))
        # Halves of 32 columns, eighths of 64 rows; SAM2 counts from a pixel's corner, and adds a token of its own.
        places = torch.tensor([[[512.0, 128.0], [112.0, 152.0], [16.0, 8.0], [1008.0, 1016.0]]]) - 0.5
        expected, _ = encoder(points=(places, torch.tensor([[1, 0, 2, 3]])), boxes=None, masks=None)
        assert found.shape == (1, 5, 32)
        torch.testing.assert_close(found, expected)
        tokens.classes.data += torch.arange(4.0).view(4, 1)
        shifted = tokens(encoder, [Prompts(points=((15.5, 7.5, 2), (3.0, 9.0, 3)))], (64, 32))
        plain = PromptTokens(4, 32)(encoder, [Prompts(points=((15.5, 7.5, 2), (3.0, 9.0, 3)))], (64, 32))
        assert (shifted - plain)[0, :, 0].tolist() == pytest.approx([2.0, 3.0, 0.0], abs=1e-6)


@pytest.mark.parametrize("prompts", [Prompts(((1, 1, 4),)), Prompts(((1, 1, -1),)), Prompts(boxes=((0, 0, 5, 5, 0),))])
def test_classes_that_are_not_there_are_refused(prompts):
    with pytest.raises(SettingsError, match="no class"):
        tiny_network(PROMPTED)(images(), [prompts])


def truths() -> torch.Tensor:
    """Class maps (B, 32, 48): three structures beside what is not annotated, an empty one, one without annotation."""
    target = torch.zeros(3, 32, 48, dtype=torch.uint8)
    target[0, 4:12, 6:30], target[0, 20:30, 3:9], target[0, 15:18, 40:44] = 1, 2, 3
    target[0, :, 46:] = IGNORE
    target[2] = IGNORE
    return target


def test_drawn_prompts_are_those_of_the_truth():
    torch.manual_seed(0)
    target = truths()
    kinds, lengths, classes = [], set(), set()
    for _ in range(1000):
        full, empty, blank = draw_prompts(target, 0.5)
        assert not blank and not empty.boxes
        assert all(number == 0 for *_, number in empty.points)
        kinds.append("points" if full.points else "box" if full.boxes else "none")
        for column, row, number in full.points:
            assert target[0, int(row), int(column)] == number
            classes.add(number)
        lengths.add(len(full.points))
        for left, top, right, bottom, number in full.boxes:
            rows, columns = np.nonzero((target[0] == number).numpy())
            height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
            moves = (left - columns.min(), right - columns.max(), top - rows.min(), bottom - rows.max())
            assert np.all(np.abs(moves) <= 0.02 * np.array([width, width, height, height]) + 1e-6)
            assert np.any(np.abs(moves) > 0)
    assert lengths == {0, 1, 2, 3, 4, 5}
    assert classes == {0, 1, 2, 3}
    for kind, share in (("none", 0.5), ("points", 0.25), ("box", 0.25)):
        assert kinds.count(kind) / 1000 == pytest.approx(share, abs=0.07)


def test_share_of_prompts():
    torch.manual_seed(0)
    assert not any(any(draw_prompts(truths(), 0.0)) for _ in range(20))
    assert all(draw_prompts(truths(), 1.0)[0] for _ in range(20))


def ambiguous(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Two equal squares, one of which is the structure: only a prompt can tell which."""
    generator = torch.Generator().manual_seed(seed)
    x = 0.1 * torch.randn(count, 3, 64, 64, generator=generator)
    target = torch.zeros(count, 64, 64, dtype=torch.uint8)
    for index, left in enumerate(torch.rand(count, generator=generator) < 0.5):
        x[index, :, 22:42, 6:26] += 2.0
        x[index, :, 22:42, 38:58] += 2.0
        columns = slice(6, 26) if left else slice(38, 58)
        target[index, 22:42, columns] = 1
    return x, target


def test_short_training_makes_prompts_decide():
    torch.manual_seed(0)
    method = SAM2LoRA(prompts=0.75, dropout=0.0)
    network = tiny_network(method, classes=2)
    frozen, loss_of = frozen_hashes(network), SegmentationLoss(method.loss_weights())
    parameters = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=3e-3)
    network.train()
    for step in range(240):
        x, target = ambiguous(8, seed=step)
        logits, _ = network.forward_with_extras(x, method.draw_prompts(target))
        optimizer.zero_grad()
        loss_of(logits, target).backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
    network.eval()
    assert network.prompts.classes.abs().max() > 0.01
    assert frozen_hashes(network) == frozen
    x, _ = ambiguous(1, seed=999)
    with torch.no_grad():
        shares = {}
        for name, prompts in (
            ("left", Prompts(points=((16.0, 32.0, 1),))),
            ("right", Prompts(points=((48.0, 32.0, 1),))),
            ("left box", Prompts(boxes=((6.0, 22.0, 25.0, 41.0, 1),))),
        ):
            chance = network(x, [prompts]).softmax(dim=1)[0, 1]
            shares[name] = (chance[22:42, 6:26].mean() - chance[22:42, 38:58].mean()).item()
    assert shares["left"] > 0.25 and shares["left box"] > 0.25 and shares["right"] < -0.25


def test_training_draws_prompts_and_repeats(tmp_path, monkeypatch):
    grey = np.random.default_rng(0).random((4, 3, 64, 64)).astype(np.float16)
    target = np.zeros((4, 64, 64), np.uint8)
    target[:, 20:40, 10:30] = 1
    case = PreparedCase("a", grey, target, [0, 1, 2, 3], [0, 1, 2, 3])
    seen, results = [], []
    forward = PromptTokens.forward
    monkeypatch.setattr(PromptTokens, "forward", lambda self, *args: seen.append(len(args[1])) or forward(self, *args))
    for run in ("first", "second"):
        (tmp_path / run).mkdir()
        method = SAM2LoRA(prompts=0.5, quality=0.1)
        network, settings = tiny_network(method, classes=2), TrainSettings(epochs=1, batch_size=16)
        trainer = Trainer(network, [case], method, settings, (64, 64), 0, tmp_path / run, torch.device("cpu"))
        trainer.initialise()
        results.append(trainer.run())
    assert 0.3 < sum(seen) / (2 * 128) < 0.7
    assert results[0].keys() == results[1].keys() and "prompts.classes" in results[0]
    assert all(torch.equal(results[1][name], tensor) for name, tensor in results[0].items())
    assert results[0]["prompts.classes"].abs().max() > 0


def test_prompts_work_with_low_rank_attention_half_precision_and_after_export():
    parts = [{"name": "lora", "settings": {"placement": "encoder", "encoder": [], "prompts": 0.5}}, "balr"]
    method = create("combined", {"parts": parts})
    network, x = moved(tiny_network(method), amount=0.05), images(50, 70, batch=2)
    prompts = [CLICK, Prompts()]
    with torch.no_grad():
        before, plain = network(x, prompts), network(x)
        with torch.autocast("cpu", torch.bfloat16):
            half = network(x, prompts)
        method.export(network)
        after = network(x, prompts)
    assert len(method.draw_prompts(truths())) == 3
    assert (before[0] - plain[0]).abs().max() > 1e-3
    assert (after - before).abs().max() <= 1e-5 * max(1.0, before.abs().max().item())
    assert half.dtype == torch.float32 and (half - before).abs().mean() < 0.1 * before.std()
