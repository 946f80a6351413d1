"""How a step of the training is computed: which attention, and that it makes no difference to the gradients."""

import pytest
import torch
from adapted import images, tiny_network
from sam2adapt import adapters
from sam2adapt.training.step import attention_of
from torch.profiler import ProfilerActivity, profile
from trained import CPU, short_epochs, small_trainer

__all__ = ["short_epochs"]


def test_small_crops_are_trained_with_plain_attention_on_a_cpu(tmp_path):
    trainer = small_trainer(tmp_path / "a", adapters.create("dual-lw"), settings={"steps": 1})
    with profile(activities=[ProfilerActivity.CPU]) as seen:
        trainer.run()
    called = {event.key for event in seen.key_averages() if "scaled_dot_product" in event.key}
    assert called == {"aten::scaled_dot_product_attention", "aten::_scaled_dot_product_attention_math"}


@pytest.mark.parametrize(("device", "crop"), [("cpu", (512, 512)), ("cuda", (192, 192))])
def test_elsewhere_the_choice_is_pytorchs(device, crop):
    with attention_of(torch.device(device), crop):
        assert torch.backends.cuda.flash_sdp_enabled()
        assert torch.backends.cuda.mem_efficient_sdp_enabled()


@pytest.mark.parametrize("method", ["lora", "balr", "dual-hp"])
def test_both_attentions_give_the_same_gradients(method):
    found = []
    for crop in ((64, 64), (512, 512)):
        network = tiny_network(adapters.create(method))
        with attention_of(CPU, crop):
            network(images(64, 64, batch=2)).square().mean().backward()
        found.append({n: p.grad for n, p in network.named_parameters() if p.grad is not None})
    plain, fused = found
    assert plain.keys() == fused.keys() and plain
    for name, gradient in plain.items():
        torch.testing.assert_close(gradient, fused[name], rtol=1e-3, atol=1e-6)
