"""What the time of a network goes into, by operator."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from torch.profiler import ProfilerActivity, profile

from ..candidates import Candidates, Row, all_rows
from ..context import Context
from ..networks import FORMS
from ..targets import OUR_BEST

_SHOWN, _CALLS, _BATCH = 8, 5, 4


def measure(context: Context) -> dict[str, Any]:
    """Profile each base with the method that the targets are about, exported, at all sides."""
    made, (_, method) = Candidates(context), OUR_BEST
    rows = [
        row for row in all_rows(context.device)
        if row.peer is None and (row.variant, row.form, row.best) == (method, FORMS[1], False)
    ]  # fmt: skip
    return {"rows": [_row(row, made, context) for row in rows]}


def _row(row: Row, made: Candidates, context: Context) -> dict[str, Any]:
    batch = min(_BATCH, made.batches(row.side)[-1])
    call = made.candidate(replace(row, batch=batch)).call
    name = f"{row.network} {row.variant} {row.form} {row.arithmetic}"
    return {"name": name, "side": row.side, "batch": batch, "operators": _operators(call, context)}


def _operators(call: Callable[[], object], context: Context) -> dict[str, float]:
    """Shares of the time, the largest first, of the operators themselves without those that they call."""
    call()
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (context.device.type == "cuda")
    with profile(activities=kinds) as profiled:
        for _ in range(1 if context.quick else _CALLS):
            call()
    events = profiled.key_averages()
    kind = "self_device_time_total" if context.device.type == "cuda" else "self_cpu_time_total"
    times = sorted(((getattr(event, kind), event.key) for event in events), reverse=True)
    total = sum(time for time, _ in times)
    shares = {name: time / total for time, name in times[:_SHOWN]}
    return shares | {"all others": 1 - sum(shares.values())}
