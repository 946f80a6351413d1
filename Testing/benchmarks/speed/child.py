"""Measurements in a process of their own, whose memory nothing else has touched.

``python -m speed.child JOB``, in the folder of the benchmarks, with the job as JSON prints its result as JSON.
"""

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from . import memory
from .candidates import Row, build_row
from .peers import as_input
from .server import environment


def network_memory(row: Row, threads: int) -> dict[str, Any]:
    """Bytes that a process holds with the row's network at rest, and its peak beyond that while it segments a slice."""
    job = json.dumps(asdict(row))
    command = [sys.executable, "-m", f"{__package__}.child", job]
    paths = [str(Path(__file__).resolve().parents[1]), *filter(None, sys.path)]  # where this process finds its modules
    variables = environment(threads) | {"PYTHONPATH": os.pathsep.join(paths)}
    output = subprocess.run(command, check=True, env=variables, capture_output=True, encoding="utf-8").stdout
    return json.loads(output.splitlines()[-1])


def _measure(row: Row) -> dict[str, Any]:
    with torch.inference_mode():
        network = build_row(row)
        images = as_input(row.peer, torch.rand(row.batch, 3, row.side, row.side))
        idle = memory.held()

        def call() -> None:
            for _ in range(2):
                network(images)

        with row.autocast(torch.device("cpu")):
            return {"idle": idle, "above": memory.peak_of(call)}


if __name__ == "__main__":
    print(json.dumps(_measure(Row(**json.loads(sys.argv[1])))))
