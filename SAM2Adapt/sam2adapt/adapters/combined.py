"""``combined``: several methods in one network, for example low-rank adapters and the detail enhancement network."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from ..network.network import Prompts, SegmentationNetwork
from ..shared.errors import SettingsError
from .method import KeepOn, Method, always, create


@dataclass(frozen=True)
class Combined(Method):
    """Methods applied one after the other and exported in the reverse order.

    :param parts: for each part, its name and the settings that differ from its defaults: ``{"name": "lora",
        "settings": {"rank": 8}}``, or only the name. Parts that need the same place in the network are refused.
    """

    name = "combined"
    summary = "several methods together (setting: parts)"
    parts: tuple[dict | str, ...] = ("lora", "detail")

    def __post_init__(self):
        if isinstance(self.parts, str | dict) or len(self.parts) < 2:
            raise SettingsError("A combination needs several parts.", 'Give a list, for example ["lora", "detail"].')
        # Store all settings, so that the bundle does not depend on defaults, which may change.
        parts = tuple({"name": method.name, "settings": method.settings()} for method in self._methods)
        object.__setattr__(self, "parts", parts)

    @cached_property
    def _methods(self) -> tuple[Method, ...]:
        methods = []
        for part in self.parts:
            entry = {"name": part} if isinstance(part, str) else part
            if not isinstance(entry, dict) or not {"name"} <= entry.keys() <= {"name", "settings"}:
                raise SettingsError(
                    f"'{part}' is not a part of a combination.", 'Give {"name": "lora", "settings": {"rank": 8}}.'
                )
            if entry["name"] == self.name:
                raise SettingsError("A combination cannot contain another one.", "List all parts in one combination.")
            methods.append(create(entry["name"], entry.get("settings")))
        return tuple(methods)

    def settings(self) -> dict:
        """Each part with all its settings, as plain data."""
        return {"parts": list(self.parts)}

    def apply(self, network: SegmentationNetwork) -> None:
        """Apply the parts in their order."""
        for method in self._methods:
            method.apply(network)

    def export(self, network: SegmentationNetwork) -> None:
        """Export the parts in reverse order."""
        for method in reversed(self._methods):
            method.export(network)

    def loss_weights(self) -> dict[str, float]:
        """The terms of all parts, each with its largest weight."""
        weights: dict[str, float] = {}
        for method in self._methods:
            for term, weight in method.loss_weights().items():
                weights[term] = max(weight, weights.get(term, 0.0))
        return weights

    def draw_prompts(self, targets: Tensor) -> list[Prompts] | None:
        """Prompts of the part that trains with them."""
        drawn = (method.draw_prompts(targets) for method in self._methods)
        return next((prompts for prompts in drawn if prompts is not None), None)

    def auxiliary_loss(self, extras: dict[str, Tensor], targets: Tensor, fraction: float) -> Tensor | float:
        """Sum of the parts' losses."""
        return sum(method.auxiliary_loss(extras, targets, fraction) for method in self._methods)

    def initialise(self, network: SegmentationNetwork, batches: Iterable[Tensor], keep_on: KeepOn = always) -> None:
        """Prepare the parts in their order, all with the same images."""
        kept: list[Tensor] = []
        source = iter(batches)
        for method in self._methods:
            method.initialise(network, _remembered(source, kept), keep_on)


def _remembered(source: Iterator[Tensor], kept: list[Tensor]) -> Iterator[Tensor]:
    yield from kept
    for batch in source:
        kept.append(batch)
        yield batch
