"""The rows of the networks' table, and each of them as something that runs."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from methods.multiplications import count
from sam2adapt.machine.device import autocast, autocast_dtype
from sam2adapt.network.base import CONFIGS
from torch import nn

from . import peers
from .context import Context
from .material import ct_volume, grey_slices
from .networks import CLASSES, build, fitting_side, variants
from .rounds import Candidate

BASES = ("nano", "tiny")
SIDES = (224, 256, 512)
BATCHES = (1, 2, 4, 8, 16)
_MOST_PIXELS = {"cpu": 16 * 256**2, "mps": 16 * 256**2, "cuda": 128 * 256**2}  # of a batch


@dataclass(frozen=True)
class Row:
    """What one row is about.

    :param network: a base of ours, or a peer; ``variant`` and ``form``: of ours.
    :param best: it is measured with the batch that was found to be the fastest, else slice by slice.
    """

    network: str
    side: int
    arithmetic: str
    variant: str = ""
    form: str = ""
    best: bool = False
    batch: int = field(default=1, compare=False)

    @property
    def name(self) -> str:
        """Its words, for ``--only`` and as a key."""
        words = (self.network, self.variant, self.form, self.arithmetic, str(self.side))
        return " ".join([*filter(None, words), "best batch" if self.best else "batch 1"])

    @property
    def peer(self) -> peers.Peer | None:
        """The network of others that it is about."""
        return next((peer for peer in peers.PEERS if peer.name == self.network), None)

    def autocast(self, device: torch.device) -> torch.autocast:
        """The context in which it runs."""
        return autocast(device) if self.arithmetic != "fp32" else torch.autocast(device.type, enabled=False)


def all_rows(device: torch.device) -> Iterator[Row]:
    """Every row there is."""
    half = "bf16" if autocast_dtype(device) else "fp32"
    for base in BASES:
        for side in (n for n in SIDES if fitting_side(CONFIGS[base], n)):
            for variant, form in variants():
                yield from (Row(base, side, half, variant, form, best) for best in (False, True))
    for peer in peers.PEERS:
        for arithmetic in dict.fromkeys(half if a == "bf16" else a for a in peer.arithmetics):
            for side in peer.sides:
                yield from (Row(peer.name, side, arithmetic, best=best) for best in {False, peer.batched})


class Candidates:
    """Networks and slices of a run, each made when it is first asked for."""

    def __init__(self, context: Context):
        volume, self._context = ct_volume(context.data), context
        self.slices = f"slices of {'a CT' if context.data else 'a CT that is made up'}"
        self._grey = cache(lambda side: grey_slices(volume, side, self.batches(side)[-1]))
        self._networks: dict[tuple, nn.Module] = {}
        self._sizes: dict[tuple, dict[str, Any]] = {}

    def batches(self, side: int) -> list[int]:
        """Batches of slices of this side that are tried."""
        pixels = max(_MOST_PIXELS[self._context.device.type], side**2)
        return [n for n in BATCHES if n * side**2 <= pixels]

    def candidate(self, row: Row) -> Candidate:
        """The row for the rounds; one call segments as many slices as its batch has."""
        network, images, device = self.network(row), self._input(row), self._context.device

        def call() -> None:
            with torch.inference_mode(), row.autocast(device):
                network(images)
            if device.type == "cuda":
                torch.cuda.synchronize(device)

        return Candidate(row.name, f"{row.network} {row.side}", row.batch, call)

    def network(self, row: Row) -> nn.Module:
        """The row's network; one for all sides and batches of ours."""
        key = (row.network, row.variant, row.form, row.side if row.peer else 0)
        if key not in self._networks:
            self._networks[key] = build_row(row).to(self._context.device)
        return self._networks[key]

    def sizes(self, row: Row) -> dict[str, Any]:
        """Parameters of the row's network, and the thousand million multiplications of a slice.

        Of ours they are those of the network as it is defined, whatever the form that predicts leaves out.
        """
        key = (row.network, row.variant, row.form, row.side)
        if key not in self._sizes:
            network, images = self.network(row), self._input(replace(row, batch=1))
            network = getattr(network, "plain", network)
            parameters = sum(parameter.numel() for parameter in network.parameters())
            self._sizes[key] = {"parameters": parameters, "gmac": count(lambda: network(images)).gmac}
        return self._sizes[key]

    def _input(self, row: Row) -> Any:
        return peers.as_input(row.peer, self._grey(row.side)[: row.batch].to(self._context.device))


def build_row(row: Row) -> nn.Module:
    """Make the network of a row, on the processor."""
    return peers.seeded(row.peer, row.side, CLASSES) if row.peer else build(row.network, row.variant, row.form)
