"""Peak memory of the device against the slices at once."""

from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

import torch
from speed import peers
from speed.context import Context
from speed.report import table

from .typed import TypedCandidates, TypedRow, free, in_words, out_of_memory, peak, rows, usable

TITLE = "Memory against the batch"
_OUT = "out of memory"


def measure(context: Context, left: Callable[[], float], entry: dict[str, Any]) -> None:
    """Climb batches of every network, until memory runs out; only one network is on the device."""
    free()
    held = torch.cuda.memory_allocated(context.device) if context.device.type == "cuda" else None
    made = TypedCandidates(context)
    entry |= {"gpu": held is not None, "held": held, "rows": [], "batches": made.batches(0)}
    names = list(dict.fromkeys(row.network for row in rows(context)))
    for row in sorted(rows(context), key=lambda row: names.index(row.network)):
        context.say(f"Memory of {row.name}")
        entry["rows"].append(asdict(row) | {"peaks": _climb(row, made, context, left)})
        made.forget()


def _climb(row: TypedRow, made: TypedCandidates, context: Context, left: Callable[[], float]) -> dict[str, Any]:
    """Bytes by batch, or in words why there is none; after the first such batch no larger one is tried."""
    found: dict[str, Any] = {}
    for batch in made.batches(row.side) if row.peer is None or row.peer.batched else [1]:
        if left() < 0:
            return found | {str(batch): "no time"}
        try:
            if row.peer:
                peers.check_installed([row.peer])
            call = made.candidate(replace(row, batch=batch)).call
            call()  # prepares what stays
            found[str(batch)] = peak(call, context.device)
        except Exception as error:
            if not usable(context.device):
                raise
            free()
            return found | {str(batch): _OUT if out_of_memory(error) else in_words(error)}
    return found


def lines(entry: dict[str, Any]) -> Iterator[str]:
    """A line for each network, side and arithmetic."""
    if entry["gpu"]:
        yield (
            "MB of the GPU that PyTorch holds at most (`max_memory_allocated`) with the network's weights, one network"
            f" at a time; {entry['held'] / 1e6:.0f} MB were held before. `{_OUT}`: no larger batch was tried."
        )
    else:
        yield "MB of the process beyond what it held before the call: there is no GPU."
    yield ""
    yield from table(
        ["network", "side", "arithmetic", *map(str, entry["batches"])],
        (
            [row["network"], str(row["side"]), row["arithmetic"],
             *(_cell(row["peaks"].get(str(batch), "-")) for batch in entry["batches"])]
            for row in entry["rows"]
        ),
    )  # fmt: skip


def _cell(found: Any) -> str:
    return found if isinstance(found, str) else "not known" if found is None else f"{found / 1e6:.0f}"
