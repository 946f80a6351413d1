"""Loss terms against values worked out by hand, and against MONAI's where it has the same."""

import math

import pytest
import torch
from monai.losses import DiceLoss, TverskyLoss
from sam2adapt.adapters.auxiliary_losses import edge_loss, edge_target, quality_loss
from sam2adapt.shared.errors import SettingsError
from sam2adapt.shared.labels.annotation import IGNORE
from sam2adapt.training.losses import SegmentationLoss

# Two classes, four pixels; probabilities of the foreground are 0.8, 0.4, 0.1, 0.5 and the truth is 1, 1, 0, 0.
PROBABILITY = torch.tensor([0.8, 0.4, 0.1, 0.5])
LOGITS = torch.stack([(1 - PROBABILITY).log(), PROBABILITY.log()]).view(1, 2, 2, 2)
TARGET = torch.tensor([1, 1, 0, 0], dtype=torch.uint8).view(1, 2, 2)


def test_cross_entropy_by_hand():
    expected = -(math.log(0.8) + math.log(0.4) + math.log(0.9) + math.log(0.5)) / 4
    assert SegmentationLoss({"ce": 1})(LOGITS, TARGET).item() == pytest.approx(expected, abs=1e-6)


def test_soft_dice_by_hand():
    expected = 1 - (2 * 1.2 + 1) / (1.8 + 2 + 1)
    assert SegmentationLoss({"dice": 1})(LOGITS, TARGET).item() == pytest.approx(expected, abs=1e-6)


def test_focal_tversky_by_hand():
    index = (1.2 + 1) / (1.2 + 0.7 * 0.8 + 0.3 * 0.6 + 1)
    loss = SegmentationLoss({"focal_tversky": 1})(LOGITS, TARGET)
    assert loss.item() == pytest.approx((1 - index) ** 0.75, abs=1e-6)


def test_weights_add_up():
    parts = [SegmentationLoss({name: 1})(LOGITS, TARGET) for name in ("ce", "dice", "focal_tversky")]
    total = SegmentationLoss({"ce": 1, "dice": 0.5, "focal_tversky": 2})(LOGITS, TARGET)
    assert total.item() == pytest.approx((parts[0] + 0.5 * parts[1] + 2 * parts[2]).item(), abs=1e-6)


def test_misses_cost_more_than_false_alarms():
    loss = SegmentationLoss({"focal_tversky": 1})
    missed, alarmed = torch.zeros(1, 2, 4, 4), torch.zeros(1, 2, 4, 4)
    target = torch.zeros(1, 4, 4, dtype=torch.uint8)
    target[:, :2] = 1
    # Both are right but for four pixels of one row.
    missed[:, 1], alarmed[:, 1] = -20, -20
    missed[:, 1, :1], alarmed[:, 1, :3] = 20, 20
    assert loss(missed, target) > loss(alarmed, target)


def test_focal_tversky_of_a_perfect_result_has_a_finite_gradient():
    logits = torch.where(TARGET.bool().unsqueeze(1), 60.0, -60.0) * torch.tensor([-1.0, 1.0]).view(1, 2, 1, 1)
    logits.requires_grad_(True)
    SegmentationLoss({"focal_tversky": 1})(logits, TARGET).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("name", ["dice", "focal_tversky"])
def test_agrees_with_monai(name):
    torch.manual_seed(0)
    logits, target = torch.randn(2, 4, 9, 7), torch.randint(0, 4, (2, 9, 7))
    common = {
        "include_background": False,
        "to_onehot_y": True,
        "softmax": True,
        "batch": True,
        "smooth_nr": 1.0,
        "smooth_dr": 1.0,
    }
    if name == "dice":
        expected = DiceLoss(**common)(logits, target.unsqueeze(1))
    else:
        tversky = TverskyLoss(alpha=0.3, beta=0.7, reduction="none", **common)(logits, target.unsqueeze(1))
        expected = (tversky**0.75).mean()
    assert SegmentationLoss({name: 1})(logits, target).item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("name", ["ce", "dice", "focal_tversky"])
def test_pixels_that_are_not_annotated_do_not_count(name):
    torch.manual_seed(1)
    logits, target = torch.randn(1, 3, 8, 8), torch.randint(0, 3, (1, 8, 8), dtype=torch.uint8)
    target[:, 3:5] = IGNORE
    loss = SegmentationLoss({name: 1})
    other = logits.clone()
    other[:, :, 3:5] = 7 * torch.randn(1, 3, 2, 8)
    assert loss(logits, target).item() == pytest.approx(loss(other, target).item(), abs=1e-6)


def test_half_precision_logits_are_summed_in_float32():
    torch.manual_seed(2)
    logits, target = torch.randn(2, 3, 64, 64).bfloat16(), torch.randint(0, 3, (2, 64, 64), dtype=torch.uint8)
    loss = SegmentationLoss({"ce": 1, "dice": 1, "focal_tversky": 1})
    assert loss(logits, target).dtype == torch.float32
    assert loss(logits, target).item() == pytest.approx(loss(logits.float(), target).item(), abs=1e-6)


def test_unknown_term_is_refused():
    with pytest.raises(SettingsError, match="hausdorff"):
        SegmentationLoss({"hausdorff": 1})


def test_edges_are_the_pixels_on_both_sides_of_every_border():
    target = torch.zeros(1, 6, 7, dtype=torch.uint8)
    target[:, :, 3:5] = 1
    target[:, :, 5:] = 2
    edges, counted = edge_target(target)
    assert edges[0, 0].tolist() == [[0, 0, 1, 1, 1, 1, 0]] * 6
    assert counted.all()


def test_border_to_what_is_not_annotated_is_left_out():
    target = torch.zeros(1, 5, 6, dtype=torch.uint8)
    target[:, :, 4:] = IGNORE
    edges, counted = edge_target(target)
    assert counted[0, 0].tolist() == [[1, 1, 1, 0, 0, 0]] * 5
    assert not (edges * counted).any()


def test_quality_loss_by_hand():
    """IoU of class 1: 1 of 3 pixels; of class 2: 1 of 2, of two images where the second has none of either."""
    found = torch.tensor([[[1, 1, 0, 2, 2, 0]], [[0, 0, 0, 0, 0, 0]]])
    target = torch.tensor([[[1, 0, 1, 2, 0, IGNORE]], [[0, 0, 0, 0, 0, 0]]], dtype=torch.uint8)
    logits = torch.nn.functional.one_hot(found, 4).movedim(-1, 1).float().requires_grad_(True)
    quality = torch.tensor([[0.9, 0.5, 0.8, 0.7], [0.1, 0.2, 0.3, 0.4]], requires_grad=True)
    loss = quality_loss(quality, logits, target)
    assert loss.item() == pytest.approx((abs(0.5 - 1 / 3) + abs(0.8 - 1 / 2)) / 2, abs=1e-6)
    loss.backward()
    assert logits.grad is None
    assert quality.grad[0].tolist() == pytest.approx([0, 0.5, 0.5, 0]) and not quality.grad[1].any()


def test_quality_loss_counts_structures_that_were_missed_or_made_up():
    logits = torch.tensor([[0.0, 0.0], [9.0, 9.0], [0.0, 0.0]]).view(1, 3, 1, 2)
    target = torch.full((1, 1, 2), 2, dtype=torch.uint8)
    assert quality_loss(torch.tensor([[0.0, 0.2, 0.4]]), logits, target).item() == pytest.approx(0.3)
    nothing = torch.full((1, 1, 2), IGNORE, dtype=torch.uint8)
    assert quality_loss(torch.tensor([[0.0, 0.2, 0.4]]), logits, nothing).item() == 0


def test_edge_loss_by_hand():
    target = torch.tensor([[[0, 0, 0, 1]]], dtype=torch.uint8)
    probability = torch.tensor([0.1, 0.2, 0.6, 0.9])
    entropy = -(math.log(0.9) + math.log(0.8) + math.log(0.6) + math.log(0.9)) / 4
    dice = 1 - (2 * 1.5 + 1) / (1.8 + 2 + 1)
    assert edge_loss(probability.logit().view(1, 1, 1, 4), target).item() == pytest.approx(entropy + dice, abs=1e-6)
