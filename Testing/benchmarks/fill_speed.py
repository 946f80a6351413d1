"""How long filling takes, and again after one more slice: ``python Testing/benchmarks/fill_speed.py``

A cardiac MR with every 3rd slice drawn, and an abdominal CT with ten: the liver, and liver, body and bone. The engine
is warm, as it is after the first filling of any volume. Writes ``results/fill_speed.md``.
"""

import argparse
import os
import time
from pathlib import Path

import numpy as np
import torch
from fill_cases import FillCase, cases_of
from fill_peers import sparse
from sam2adapt.filling.drawings import Drawings, drawings_from_labels
from sam2adapt.filling.filler import Filler

RESULT = Path(__file__).parent / "results" / "fill_speed.md"


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SAM2ADAPT_DATA", "")))
    parser.add_argument("--sets", nargs="+", default=["acdc", "chaos_ct", "chaos_ct parts"])
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    heart = next(cases_of("acdc", args.data, "val", 1))
    _fill(Filler(heart.volume), heart, heart.drawn("3"))  # warm
    lines = [
        "# How long filling takes", "",
        f"{args.threads} threads on a shared machine with a load of {os.getloadavg()[0]:.0f}: compare CPU seconds.",
        "The slice that is drawn next is the one proposed. Made by `Testing/benchmarks/fill_speed.py`.", "",
        "| case | drawn | first labels, s | whole, s | CPU s | again, s | CPU s | share of the CPU s |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    for name in args.sets:
        count = None if name == "acdc" else 10
        case = next(cases_of(name, args.data, "val", 1))
        used = np.flatnonzero(np.moveaxis(case.truth, case.axis, 0).any((1, 2)))
        drawn = case.drawn("3") if count is None else [int(k) for k in np.linspace(used[0], used[-1], count).round()]
        filler = Filler(case.volume)
        first, seconds, cpu, following = _fill(filler, case, drawn)
        _, again, cpu_again, _ = _fill(filler, case, sorted({*drawn, following}))
        lines.append(
            f"| {name}, {'first volume' if count is None else '512 x 512 x 78'} | {len(drawn)} | {first:.2f} | "
            f"{seconds:.1f} | {cpu:.1f} | {again:.1f} | {cpu_again:.1f} | {cpu_again / cpu:.2f} |"
        )
        print(lines[-1], flush=True)
    RESULT.write_text("\n".join(lines) + "\n")


def _fill(filler: Filler, case: FillCase, drawn: list[int]) -> tuple[float, float, float, int | None]:
    """Seconds to the first labels, of all, CPU seconds, and the slice to draw next."""
    drawings: Drawings = drawings_from_labels(sparse(case, drawn), {value: str(value) for value in case.values})
    shown: list[float] = []
    started, cpu = time.perf_counter(), time.process_time()
    filling = filler.fill(drawings, preview=lambda masks: shown.append(time.perf_counter() - started))
    return shown[0], time.perf_counter() - started, time.process_time() - cpu, filling.next_slice


if __name__ == "__main__":
    main()
