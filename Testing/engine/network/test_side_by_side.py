"""Independent parts of a network that train at the same time: gradients as in turn, the same each time."""

import threading

import pytest
import torch
from adapted import images, tiny_network
from sam2adapt import adapters
from sam2adapt.network import network as network_module
from sam2adapt.network.side_by_side import at_once, side_by_side


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def gradients(method: str, settings: dict, half: bool) -> dict[str, torch.Tensor]:
    """Outputs and gradients of a step."""
    network = tiny_network(adapters.create(method, settings), train_upscaling=True).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=half):
        logits, extras = network.forward_with_extras(images(64, 96, batch=2))
    outputs = extras | {"logits": logits}
    sum(output.float().square().mean() for output in outputs.values()).backward()
    return outputs | {name: p.grad for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("method", "settings"),
    [("combined", {"parts": ["dual-lw", "detail", "refine"]}), ("detail", {}), ("refine", {"stride": 1})],
)
def test_gradients_are_those_of_parts_in_turn(two_threads, monkeypatch, method, settings, half):
    calls = []
    monkeypatch.setattr(network_module, "side_by_side", lambda parts: calls.append(1) or side_by_side(parts))
    found = gradients(method, settings, half)
    again = gradients(method, settings, half)
    assert len(calls) == 2
    torch.set_num_threads(1)
    expected = gradients(method, settings, half)
    assert len(calls) == 2
    assert found.keys() == expected.keys() == again.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], again[name]), name
        largest = float(value.detach().abs().max())
        near = 1e-5 + 1e-2 * half * largest
        torch.testing.assert_close(found[name], value, rtol=1e-3, atol=near)


def test_an_error_of_one_part_is_raised_when_all_have_ended(two_threads):
    started, ended = threading.Event(), []

    def failing() -> None:
        started.wait(10)
        raise ValueError("memory")

    def working() -> None:
        started.set()
        ended.append(torch.get_num_threads())

    for parts in ([failing, working], [working, failing]):
        with pytest.raises(ValueError, match="memory"):
            at_once(parts)
        assert torch.get_num_threads() == 2
    assert ended == [1, 1]


def test_parts_without_gradients_are_left_out():
    weight = torch.ones(3, requires_grad=True)
    (first, plain), (second,) = side_by_side([lambda: [2 * weight, torch.ones(2)], lambda: [torch.ones(1)]])
    (first.sum() + plain.sum() + second.sum()).backward()
    assert weight.grad.tolist() == [2, 2, 2]
