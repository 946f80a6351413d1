"""Seconds a slice of networks alone, ours beside others, in one run of interleaved rounds."""

import re
import statistics
from dataclasses import asdict, replace
from typing import Any

import torch
from sam2adapt.network.base import CONFIGS
from sam2adapt.shared.errors import SettingsError

from .. import peers
from ..candidates import Candidates, Row, all_rows
from ..context import Context
from ..networks import BARE, CLASSES
from ..rounds import Candidate, interleaved

PRODUCT = 2048  # side of the square matrices whose product is measured
_CHOOSING_ROUNDS = 2


def measure(context: Context) -> dict[str, Any]:
    """Measure all rows that ``--only`` leaves.

    :raises SettingsError: none is left, or a peer is not installed.
    """
    rows = chosen_rows(context)
    compared = [peer for peer in peers.PEERS if any(row.network == peer.name for row in rows)]
    peers.check_installed(compared)
    made = Candidates(context)
    context.say("Choosing batches")
    batches = _choose_batches(rows, made, context)
    rows = [replace(row, batch=batches[_family(row)]["best"] if row.best else 1) for row in rows]
    products = [_product(arithmetic, context.device) for arithmetic in ("bf16", "fp32")]
    candidates = [*map(made.candidate, rows), *products]
    context.say(f"Measuring {len(rows)} rows in {context.rounds} rounds")
    times = interleaved(candidates, context.rounds, context.progress, not context.quick)
    return {
        "slices": made.slices,
        "classes": CLASSES,
        "peers": {peer.name: peer.about for peer in compared},
        "batches": {" ".join(map(str, family)): found for family, found in batches.items()},
        "products": {product.row.split()[-1]: _rate(times[product.row]) for product in products},
        "rows": [asdict(row) | {"name": row.name} | _summary(times[row.name]) | made.sizes(row) for row in rows],
    }


def chosen_rows(context: Context) -> list[Row]:
    """Rows that ``--only`` leaves.

    :raises SettingsError: none.
    """
    found = [row for row in all_rows(context.device) if re.search(context.only, row.name)]
    if not found:
        raise SettingsError(
            f"No row of the benchmark fits --only '{context.only}'.",
            "Give a part of the words of one, for instance 'tiny dual-lw exported' or 'nnU-Net'.",
        )
    return found


def _family(row: Row) -> tuple[str, int, str]:
    """What has a best batch in common: all methods and forms on a base."""
    return row.network, row.side, row.arithmetic


def _choose_batches(rows: list[Row], made: Candidates, context: Context) -> dict[tuple, dict[str, Any]]:
    """For each family the batch that takes the least time a slice; of ours it is measured on the bare base."""
    tried: dict[tuple, dict[int, Candidate]] = {}
    for row in rows:
        if row.best and _family(row) not in tried:
            ours = {"variant": BARE, "form": "exported"} if row.network in CONFIGS else {}
            found = {n: made.candidate(replace(row, batch=n, **ours)) for n in made.batches(row.side)}
            tried[_family(row)] = {n: replace(one, row=f"{one.row} {n}") for n, one in found.items()}
    candidates = [one for found in tried.values() for one in found.values()]
    times = interleaved(candidates, _CHOOSING_ROUNDS, context.progress, not context.quick)
    result = {}
    for family, found in tried.items():
        seconds = {batch: statistics.median(times[one.row]) for batch, one in found.items()}
        result[family] = {"best": min(seconds, key=seconds.get), "seconds": seconds}
    return result


def _product(arithmetic: str, device: torch.device) -> Candidate:
    dtype = torch.bfloat16 if arithmetic == "bf16" else torch.float32
    one, other = (torch.randn(PRODUCT, PRODUCT, device=device).to(dtype) for _ in range(2))

    def call() -> None:
        torch.mm(one, other)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return Candidate(f"matrix product {arithmetic}", "matrix product", 1, call)


def _rate(times: list[float]) -> dict[str, Any]:
    gmac = PRODUCT**3 / 1e9
    return _summary(times) | {"gmac": gmac, "gflops": 2 * gmac / statistics.median(times)}


def _summary(times: list[float]) -> dict[str, Any]:
    return {"seconds": statistics.median(times), "rounds": times}
