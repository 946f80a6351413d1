r"""How long filling takes in a warm engine: first labels, result, and once more after a further slice.

    python Testing/benchmarks/fill_speed.py --data DATA [--threads 2] [--rounds 3]

Through the engine's server, as Slicer asks it, with the arrays in files; the first labels are those of the message
``preview``. Beside them stand *Grow from seeds* on the same drawings and the processor's seconds, which count where a
machine does other things too. The median of the rounds goes to ``results/fill_speed.md``, with the targets.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from fill_cases import FillCase, cases_of, ct_case
from fill_peers import grow_from_seeds
from speed import memory

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))
from serve_client import Client, described

RESULTS = Path(__file__).resolve().parent / "results"
LIMITS = {"cardiac MR": (1.0, 5.0), "abdominal CT": (1.0, 20.0)}  # s: first labels, result
MEMORY = 1000  # MB beside voxels, labels and the idle engine
SHARE = 1 / 3  # of the first time, when a slice was added


def cases(data: Path) -> dict[str, tuple[FillCase, list[int], int]]:
    """The cases, the slices that are drawn, and the one that is drawn later."""
    cardiac = max(cases_of("acdc", data, "val", 10), key=lambda case: len(case.truth) if len(case.truth) <= 12 else 0)
    liver = ct_case("chaos_ct", data)
    grey = liver.volume.array[0]
    truth = np.where(liver.truth > 0, 1, np.where(grey > 200, 3, np.where(grey > -300, 2, 0))).astype(np.uint8)
    abdomen = FillCase(liver.set, "chaos_ct", liver.volume, truth)
    ten = np.linspace(0, len(truth) - 1, 10).round().astype(int).tolist()
    return {"cardiac MR": (cardiac, cardiac.drawn("3"), 1), "abdominal CT": (abdomen, ten, ten[0] + 4)}


def drawings(case: FillCase, drawn: list[int]) -> np.ndarray:
    """One mask a structure (S, K, J, I)."""
    masks = np.zeros((len(case.values), *case.truth.shape), np.uint8)
    for mask, value in zip(masks, case.values, strict=True):
        mask[drawn] = case.truth[drawn] == value
    return masks


class Timer:
    """A server, and what its requests take."""

    def __init__(self, threads: int):
        self.client = Client(OMP_NUM_THREADS=str(threads))
        self.client.receive()
        self.process = self.client.process.pid

    def fill(self, case: FillCase, drawn: list[int], folder: Path) -> dict[str, float]:
        """Seconds to the first labels and to the result, the processor's seconds, and the peak of memory in MB."""
        np.save(folder / "drawn.npy", drawings(case, drawn))
        params = {
            "input": described(case.volume, folder), "drawings": str(folder / "drawn.npy"),
            "structures": [str(value) for value in case.values], "masks": str(folder / "masks.npy"),
            "preview": str(folder / "preview.npy"), "axis": "K",
        }  # fmt: skip
        memory.forget_peak(self.process)
        before, started = self._processor(), time.perf_counter()
        request, first = self.client.send("fill", **params), None
        while (message := self.client.receive()).get("id", "none") != request:
            if message.get("method") == "preview":
                first = time.perf_counter() - started
        assert "result" in message, message
        seconds = time.perf_counter() - started
        cpu = self._processor() - before
        return {"first": first, "result": seconds, "cpu": cpu, "memory": memory.peak(self.process) / 1e6}

    def _processor(self) -> float:
        """Seconds of the processor so far."""
        fields = Path(f"/proc/{self.process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def warm(self) -> float:
        """Prepare the engine as the effect does when it is opened; its memory then, in MB."""
        self.client.result("warmUp")
        return memory.held(self.process) / 1e6


def measure(threads: int, rounds: int, data: Path, names: list[str]) -> list[dict]:
    """One row a case, medians over the rounds; each round has an engine of its own."""
    rows, known = [], cases(data)
    for name in names:
        case, drawn, later = known[name]
        runs = {"first": [], "again": []}
        grown = []
        for _ in range(rounds):
            timer = Timer(threads)
            with timer.client, tempfile.TemporaryDirectory() as folder:
                idle = timer.warm()
                for run, slices in (("first", drawn), ("again", sorted({*drawn, later}))):
                    numbers = timer.fill(case, slices, Path(folder))
                    given = case.volume.array.nbytes + len(case.values) * case.truth.size
                    numbers["memory"] -= idle + given / 1e6
                    runs[run].append(numbers)
            started = time.perf_counter()
            grow_from_seeds(case, drawn)
            grown.append(time.perf_counter() - started)
        medians = {run: {key: statistics.median(one[key] for one in found) for key in found[0]}
                   for run, found in runs.items()}  # fmt: skip
        rows.append({"case": name, "size": "x".join(map(str, case.truth.shape[::-1])), "drawn": len(drawn),
                     "grow": statistics.median(grown), **medians})  # fmt: skip
    return rows


def table(rows: list[dict], threads: int, rounds: int) -> str:
    """Numbers and verdicts."""
    columns = ("case", "drawn slices", "first labels", "result", "processor", "after one slice more", "its share",
               "processor", "memory beside voxels and labels", "*Grow from seeds*", "ratio")  # fmt: skip
    lines = [
        f"Median of {rounds}, {threads} threads, engine warm; load of the machine {os.getloadavg()[0]:.1f}.",
        "",
        f"| {' | '.join(columns)} |",
        f"| {' | '.join(['---'] * len(columns))} |",
    ]
    verdicts = []
    for row in rows:
        first, again = row["first"], row["again"]
        share, cpu = again["result"] / first["result"], again["cpu"] / first["cpu"]
        lines.append(
            f"| {row['case']}, {row['size']} | {row['drawn']} | {first['first']:.2f} s | {first['result']:.1f} s"
            f" | {first['cpu']:.1f} s | {again['result']:.1f} s | {share:.2f} | {again['cpu']:.1f} s ({cpu:.2f})"
            f" | {first['memory']:.0f} MB | {row['grow']:.2f} s | {first['result'] / row['grow']:.1f} |"
        )
        for what, value, limit in (
            ("first labels", first["first"], LIMITS[row["case"]][0]),
            ("result", first["result"], LIMITS[row["case"]][1]),
            ("share of a further filling", share, SHARE), ("memory", first["memory"], MEMORY),
        ):  # fmt: skip
            verdicts.append(f"- {row['case']}, {what}: {value:.2f}, target {limit:.2f}, "
                            + ("holds" if value <= limit else "falls short"))  # fmt: skip
    return "\n".join([*lines, "", *verdicts, ""])


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("SAM2ADAPT_DATA", "")))
    parser.add_argument("--threads", type=int, default=2, help="(default: %(default)s)")
    parser.add_argument("--cases", nargs="+", default=list(LIMITS), choices=list(LIMITS))
    parser.add_argument("--rounds", type=int, default=3, help="(default: %(default)s)")
    parser.add_argument("--output", type=Path, default=RESULTS / "fill_speed.md")
    args = parser.parse_args()
    text = table(measure(args.threads, args.rounds, args.data, args.cases), args.threads, args.rounds)
    args.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
