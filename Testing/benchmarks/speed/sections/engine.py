"""How long the engine takes to start, to the first result and to the next ones; and what a click adds to that."""

import importlib.util
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from .. import material
from ..context import Context
from ..models import BUNDLED
from ..server import Server, environment, request

_STARTS, _WARM, _CLICKS = 3, 3, 3
_CLICKER = Path(__file__).resolve().parents[2] / "click_to_segmentation.py"


def measure(context: Context) -> dict[str, Any]:
    """Start engines one after the other and let each segment the CT several times."""
    volume = material.ct_volume(context.data)
    starts = []
    with tempfile.TemporaryDirectory() as folder:
        params = request(volume, Path(folder), BUNDLED, str(context.device))
        for number in range(1 if context.quick else _STARTS):
            starts.append(_start(params, context))
            context.progress(number + 1, 1 if context.quick else _STARTS)
    warm = [one for start in starts for one in start.pop("requests")]
    return {
        "volume": volume.size,
        "model": BUNDLED,
        "ready": statistics.median(start["ready"] for start in starts),
        "first": statistics.median(start["first"] for start in starts),
        "warm": statistics.median(one["wall"] for one in warm),
        "warm_parts": {name: statistics.median(one["seconds"][name] for one in warm) for name in warm[0]["seconds"]},
        "starts": starts,
        "requests": warm,
        "clicks": _clicks(context),
    }


def _start(params: dict[str, Any], context: Context) -> dict[str, Any]:
    """Seconds of one engine's life: to its greeting, to the first result, and of each request after that."""
    with Server(context.threads) as server:
        server.result("segment", **params)
        first = time.perf_counter() - server.started
        requests = []
        for _ in range(1 if context.quick else _WARM):
            asked = time.perf_counter()
            seconds = server.result("segment", **params)["seconds"]
            requests.append({"wall": time.perf_counter() - asked, "seconds": seconds})
        return {"ready": server.ready, "first": first, "requests": requests}


def _clicks(context: Context) -> dict[str, Any] | None:
    """The warm click on Auto-segment and its parts, as the repository's own script measures it.

    None where that is not possible: without the repository, Slicer's libraries, or a real CT.
    """
    if context.data is None or not _CLICKER.is_file() or not _can_click():
        return None
    context.say("Clicking on Auto-segment")
    ct = material.data_file(context.data, material.CT)
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "clicks.json"
        command = [sys.executable, _CLICKER, "--volume", ct, "--clicks", 1 if context.quick else _CLICKS]
        subprocess.run(
            [str(part) for part in [*command, "--model", BUNDLED, "--json", report]],
            check=True, env=environment(context.threads), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        return json.loads(report.read_text("utf-8"))[-1]


def _can_click() -> bool:
    return all(importlib.util.find_spec(name) for name in ("slicer", "PySide6", "Qt"))
