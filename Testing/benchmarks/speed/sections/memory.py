"""Peak memory: of networks, each in a process of its own, and of the engine against the number of slices."""

import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import material, memory, peers
from ..candidates import Row
from ..child import network_memory
from ..context import Context
from ..models import BUNDLED
from ..server import Server, request
from .network import chosen_rows

SLICES = (78, 200, 500, 1000)
_SIDE, _WARM_UP = 512, 4


def measure(context: Context) -> dict[str, Any]:
    """Measure networks on one slice of 512 x 512 (SAM2's predictor sees it at 1024), and the engine on long volumes."""
    rows = _rows(context)
    peers.check_installed([row.peer for row in rows if row.peer])
    networks = []
    for number, row in enumerate(rows):
        networks.append({"name": row.name} | network_memory(row, context.threads))
        context.progress(number + 1, len(rows))
    volume = material.ct_volume(context.data)
    counts = SLICES[:1] if context.quick else SLICES
    engine = []
    for number, slices in enumerate(counts):
        engine.append(_engine(volume, 8 if context.quick else slices, context))
        context.progress(number + 1, len(counts))
    return {"networks": networks, "engine": engine, "plane": volume.size[:2], "model": BUNDLED}


def _rows(context: Context) -> list[Row]:
    """Exported forms and peers that ``--only`` leaves, slice by slice, each once."""
    rows = [row for row in chosen_rows(context) if not row.best and row.form != "training"]
    return list(dict.fromkeys(replace(row, side=_SIDE) for row in rows if row.side in (_SIDE, 256)))


def _engine(volume: material.Volume, slices: int, context: Context) -> dict[str, Any]:
    """Peak of a new engine above what it held after a request for a few slices, and the seconds of the request."""
    with tempfile.TemporaryDirectory() as folder:
        short = request(material.repeated(volume, _WARM_UP), Path(folder), BUNDLED, str(context.device))
        with Server(context.threads) as server:
            server.result("segment", **short)
            long = material.repeated(volume, slices)
            params = request(long, Path(folder), BUNDLED, str(context.device))
            sizes = {"input": long.array.nbytes, "labels": long.array[0].size}
            del long
            idle = memory.held(server.process.pid)
            memory.forget_peak(server.process.pid)
            started = time.perf_counter()
            answer = server.result("segment", **params)
            wall = time.perf_counter() - started
            peak = memory.peak(server.process.pid)
    above = None if peak is None else peak - idle
    return {"slices": slices, "idle": idle, "above": above, **sizes, "wall": wall, "seconds": answer["seconds"]}
