"""Labels on the native grid: those of interpolated logits, pixel by pixel."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sam2adapt.segmenting import label_maps as labelling
from sam2adapt.segmenting.label_maps import label_maps
from torch.nn import functional as F


def interpolated(logits: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)


def smooth(shape: tuple[int, int, int, int], seed: int) -> torch.Tensor:
    """Logits with regions of one class, as networks give them, and single pixels."""
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    return F.avg_pool2d(logits, 3, 1, 1) * 3 + 0.2 * logits


def require_labels_of(logits: torch.Tensor, found: torch.Tensor, size: tuple[int, int], values: torch.Tensor) -> None:
    """Each label is that of the largest interpolated logit; where two differ by rounding alone, it may be either."""
    whole = interpolated(logits, size)
    assert found.shape == whole[:, 0].shape and found.dtype == torch.uint8
    classes = (found[:, None] == values.view(1, -1, 1, 1)).int().argmax(1, keepdim=True)
    assert torch.equal(values[classes.squeeze(1)], found)
    assert (whole.amax(1) - whole.gather(1, classes).squeeze(1)).max() < 1e-5


@settings(max_examples=60, deadline=None)
@given(
    st.tuples(st.integers(1, 3), st.integers(2, 6), st.integers(1, 12), st.integers(1, 12)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.integers(0, 999),
)
def test_labels_of_interpolated_logits(shape, size, seed):
    logits, values = smooth(shape, seed), torch.arange(shape[1], dtype=torch.uint8) * 51
    require_labels_of(logits, label_maps(logits, values, size), size, values)


@pytest.mark.parametrize("size", [(64, 64), (161, 150), (40, 30)])
def test_border_pixels_in_portions(monkeypatch, size):
    monkeypatch.setattr(labelling, "_LOGITS_AT_ONCE", 100)
    logits, values = smooth((2, 5, 40, 30), 3), torch.tensor([0, 9, 200, 255, 1], dtype=torch.uint8)
    found = label_maps(logits, values, size)
    require_labels_of(logits, found, size, values)
    assert len(found.unique()) == 5


def test_of_equal_logits_the_first_class_wins():
    logits = smooth((2, 1, 9, 7), 1).repeat(1, 4, 1, 1)
    assert not label_maps(logits, torch.tensor([0, 1, 2, 3], dtype=torch.uint8), (20, 31)).any()


def test_layout_of_the_logits_does_not_matter():
    logits, values = smooth((2, 4, 9, 7), 5), torch.arange(4, dtype=torch.uint8)
    expected = label_maps(logits, values, (20, 31))
    channels_last = logits.contiguous(memory_format=torch.channels_last)
    assert torch.equal(label_maps(channels_last, values, (20, 31)), expected)
