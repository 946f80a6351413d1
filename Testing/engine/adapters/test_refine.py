"""The refinement: class maps at half or all of the image's resolution, where a quarter is too coarse."""

import pytest
import torch
from adapted import images, moved, tiny_network, trained
from sam2adapt.adapters import create
from sam2adapt.adapters.refine import FullRefinement, Refinement
from sam2adapt.network.prompts import Prompts
from sam2adapt.shared.errors import SettingsError
from sam2adapt.training.losses import SegmentationLoss


def test_counts_by_hand():
    width, dim = 32, 16
    separable = 9 * width + width * width + 2 * width
    stem = 3 * width * 9 + 2 * width + separable
    count = stem + (dim * width + width) + 2 * separable + (width * dim + dim)
    assert trained(Refinement(width, dim)) == count


def test_counts_of_full_resolution_by_hand():
    def dense(inside, out):
        return 9 * inside * out + 2 * out

    stem = dense(3, 16) + dense(16, 16)
    lower = dense(16, 32) + dense(32, 32) + (16 * 32 + 32) + dense(64, 32) + dense(32, 32)
    assert trained(FullRefinement(32, dim=16)) == stem + lower + dense(48, 16) + dense(16, 16) + (16 * 16 + 16)


def stripes(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy images (B, 3, 64, 64) of vertical lines 2 pixels wide, 5 to 7 apart, and their masks (B, 64, 64)."""
    generator = torch.Generator().manual_seed(seed)
    gap = torch.randint(5, 8, (count, 1), generator=generator)
    first = torch.randint(0, 5, (count, 1), generator=generator)
    line = ((torch.arange(64) + first) % gap < 2).long()
    targets = line.unsqueeze(1).expand(-1, 64, -1)
    x = targets.unsqueeze(1).float().expand(-1, 3, -1, -1)
    return x + 0.1 * torch.randn(x.shape, generator=generator), targets


def test_lines_of_two_pixels_are_found():
    """With the same steps from the same start; a map at a quarter has one value for a line and its neighbours."""
    found = {}
    methods = {"detail": create("detail"), "half": create("refine"), "full": create("refine", {"stride": 1})}
    for name, method in methods.items():
        torch.manual_seed(0)
        network, loss_of = tiny_network(method, classes=2).train(), SegmentationLoss(method.loss_weights())
        optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=5e-3)
        x, targets = stripes(8, seed=0)
        for _ in range(40):
            optimizer.zero_grad()
            loss_of(network(x), targets).backward()
            optimizer.step()
        x, targets = stripes(16, seed=1000)
        with torch.no_grad():
            labels = network.eval()(x).argmax(dim=1)
        found[name] = (2 * (labels & targets).sum() / (labels.sum() + targets.sum())).item()
    assert min(found["half"], found["full"]) > max(0.9, found["detail"] + 0.1), found


@pytest.mark.parametrize("stride", [1, 2])
def test_prompted_images_are_refined_too(stride):
    refine = {"name": "refine", "settings": {"stride": stride}}
    method = create("combined", {"parts": [{"name": "lora", "settings": {"prompts": 0.5}}, refine]})
    network, x = moved(tiny_network(method)), images(64, 96, batch=2)
    prompts = [Prompts(points=((10, 20, 1),)), Prompts()]
    with torch.no_grad():
        refined = network(x, prompts)
        torch.testing.assert_close(refined[1:], network(x[1:]))
        torch.testing.assert_close(refined[:1], network(x[:1], prompts[:1]))
        network.refinement.out.bias += 1
        assert (network(x, prompts) - refined).abs().flatten(1).max(dim=1).values.min() > 1e-3


def test_refused():
    with pytest.raises(SettingsError, match="0 wide"):
        tiny_network(create("refine", {"width": 0}))
    with pytest.raises(SettingsError, match="stride of 4"):
        tiny_network(create("refine", {"stride": 4}))
    with pytest.raises(SettingsError, match="31 wide"):
        tiny_network(create("refine", {"stride": 1, "width": 31}))
    with pytest.raises(SettingsError, match="two refinements"):
        tiny_network(create("combined", {"parts": ["refine", "refine"]}))
