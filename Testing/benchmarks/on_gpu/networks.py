"""Slices a second of networks alone, ours beside others, in every arithmetic that the device has."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from typing import Any

from speed import peers
from speed.context import Context
from speed.report import table
from speed.rounds import Candidate, ratio

from .typed import OTHERS, TypedCandidates, TypedRow, free, in_rounds, in_words, out_of_memory, rows, usable

TITLE = "Networks alone"
_LONG = 2.0  # s of a call: larger batches are not tried


def measure(context: Context, left: Callable[[], float], entry: dict[str, Any]) -> None:
    """Choose the batch of every row by a few calls, then let all take turns, with one slice and with this batch."""
    made = TypedCandidates(context)
    entry |= {"slices": made.slices, "rows": [], "failed": {}, "asked": context.rounds, "about": _about()}
    chosen = []
    for row in rows(context):
        if chosen and left() < 0:
            entry["failed"][row.name] = "There was no time to measure it."
            continue
        context.say(f"Choosing the batch of {row.name}")
        try:
            chosen += _chosen(row, made, context, entry["failed"])
        except Exception as error:
            if not usable(context.device):
                raise
            entry["failed"][row.name] = in_words(error)
            free()
    context.say(f"Measuring {len(chosen)} rows in {context.rounds} rounds")
    for times in in_rounds([made.candidate(row) for row in chosen], context.rounds, left, not context.quick):
        entry["rows"] = [asdict(row) | {"rounds": list(times[row.name])} for row in chosen]


def _about() -> dict[str, str]:
    return {peer.name: peer.about for peer in peers.PEERS if peer.name in OTHERS}


def _chosen(row: TypedRow, made: TypedCandidates, context: Context, failed: dict[str, str]) -> list[TypedRow]:
    """The row with one slice and, if the network takes several, with the batch that takes the least time a slice.

    :param failed: is told why a larger batch was not possible, if not for want of memory.
    """
    if row.peer:
        peers.check_installed([row.peer])
    batched = row.peer is None or row.peer.batched
    seconds: dict[int, float] = {}
    for batch in made.batches(row.side) if batched else [1]:
        candidate = made.candidate(replace(row, batch=batch))
        try:
            taken = _warm(candidate, context.quick)
        except (RuntimeError, MemoryError) as error:
            if batch == 1 or not usable(context.device):
                raise
            if not out_of_memory(error):
                failed[f"{row.name}, with batch {batch},"] = in_words(error)
            free()
            break
        seconds[batch] = taken / batch
        if taken > _LONG:
            break
    best = min(seconds, key=seconds.get)
    return [row, *([replace(row, best=True, batch=best)] if batched else [])]


def _warm(candidate: Candidate, quick: bool) -> float:
    """Seconds of a call after those in which the device chooses and prepares its operations."""
    for _ in range(0 if quick else 2):
        candidate.call()
    started = time.perf_counter()
    candidate.call()
    return time.perf_counter() - started


def lines(entry: dict[str, Any]) -> Iterator[str]:
    """A line for each network, side and arithmetic."""
    found = {_key(row): row for row in entry["rows"]}
    count = min((len(row["rounds"]) for row in entry["rows"]), default=0)
    yield (
        f"{entry['slices']}, medians of {count} of {entry['asked']} rounds. Weights are random: of `base_plus` none are"
        " at hand, and speed does not depend on them. Times: how many times as fast with the best batch, as"
        " SAM2ImagePredictor one slice at a time and as nnU-Net 2-D with its best batch, in the same arithmetic; of the"
        " ratio of medians and the median of the rounds' ratios the smaller. Slices are on the device already, but for"
        " SAM2ImagePredictor, which takes a picture from the processor."
    )
    yield ""
    yield from table(
        [
            "network",
            "side",
            "arithmetic",
            "batch 1, slices/s",
            "best batch",
            "slices/s",
            *(f"times {n}" for n in OTHERS),
        ],
        [_line(row, found) for row in entry["rows"] if not row["best"]],
    )
    yield ""
    yield from (f"- {name}: {about}." for name, about in entry["about"].items())
    yield from (f"- **{name} has no number.** {reason}" for name, reason in entry["failed"].items())


def _key(row: dict[str, Any]) -> tuple[str, int, str, bool]:
    return row["network"], row["side"], row["arithmetic"], row["best"]


def _line(row: dict[str, Any], found: dict[tuple, dict[str, Any]]) -> list[str]:
    best = found.get((*_key(row)[:3], True))
    name = " ".join(filter(None, (row["network"], row["variant"], row["form"])))
    cells = [name, str(row["side"]), row["arithmetic"], _rate(row)]
    cells += [str(best["batch"]), _rate(best)] if best else ["-", "-"]
    for other in OTHERS:
        theirs = found.get((other, *_key(row)[1:3], True)) or found.get((other, *_key(row)[1:3], False))
        own = best or row
        cells.append(f"{ratio(theirs['rounds'], own['rounds']).smaller:.2f}" if theirs else "-")
    return cells


def _rate(row: dict[str, Any]) -> str:
    return f"{1 / statistics.median(row['rounds']):.1f}"
