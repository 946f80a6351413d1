"""A batch with broken inputs: alone, by two processes, killed and continued; studies a minute; what 10,000 CTs cost.

python Testing/benchmarks/batch.py --data DATA [--work FOLDER] [--pairs 2]

The validation cases of `hippocampus` (MR), the volumes of `ct_sample` and five broken files, made on the fly, go
through the bundled `torso-ct` with --any-modality: what it finds in MR means nothing, the machinery is looked at here.
Writes results/batch.md.
"""

import argparse
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "SAM2Adapt"))
os.environ["PYTHONPATH"] = sys.path[0]  # for the commands that are run
from sam2adapt.batch.segment_folder import find_studies
from sam2adapt.batch.studies import hidden_folder

RESULT = Path(__file__).parent / "results" / "batch.md"
MODEL = "torso-ct"
ARCHIVE, SLICES = 10_000, 500
NETWORK = ("prepare", "network", "post-process")
SHARE = 1e9 / 8  # bytes a second of an archive behind 1 Gbit/s


def main() -> None:
    """Run all and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with hippocampus and ct_sample")
    parser.add_argument("--work", type=Path, help="where outputs go (default: a temporary folder)")
    parser.add_argument("--pairs", type=int, default=2, help="runs of one and of two processes, taking turns")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = args.work or Path(folder)
        source = work / "in"
        stage(args.data, source)
        runs = {1: [], 2: []}
        for number in range(args.pairs):
            for processes, some in runs.items():
                some.append(Run(source, work / f"out-{processes}-{number}", processes))
                print(f"{processes} process(es): {some[-1].text.strip()}", flush=True)
        lines = [*manifest_lines(source, runs), *killed_lines(source, work / "killed", runs[1][0])]
        lines += [*speed_lines(runs), *cost_lines(source, runs[1][0])]
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def stage(data: Path, source: Path) -> None:
    """Copy the images into one folder and put five broken files beside them."""
    shutil.rmtree(source, ignore_errors=True)
    for folder in ("mr", "ct", "broken"):
        (source / folder).mkdir(parents=True)
    for case in json.loads((data / "hippocampus" / "split.json").read_text("utf-8"))["val"]:
        shutil.copy(data / "hippocampus" / "images" / f"{case}.nii.gz", source / "mr")
    for path in sorted((data / "ct_sample").glob("*/image*.nii.gz")):
        shutil.copy(path, source / "ct" / f"{path.parent.name}-{path.name}")
    shutil.copytree(data / "ct_sample" / "ts_dicom" / "series", source / "dicom")
    whole = (source / "ct" / "chaos_ct-image.nii.gz").read_bytes()
    broken, rng = source / "broken", np.random.default_rng(0)
    (broken / "truncated.nii.gz").write_bytes(whole[: len(whole) // 2])
    (broken / "empty.nii.gz").write_bytes(b"")
    (broken / "text.nrrd").write_text("This is no image.\n")
    series = sitk.GetImageFromArray(rng.normal(size=(3, 4, 32, 32)), isVector=False)
    sitk.WriteImage(series, str(broken / "time.nii.gz"))
    holes = rng.normal(size=(4, 32, 32)).astype(np.float32)
    holes[1, 2, 3] = np.nan
    sitk.WriteImage(sitk.GetImageFromArray(holes), str(broken / "nan.nii.gz"))


def command(source: Path, output: Path, processes: int) -> list[str]:
    """The command line, under torchrun for several processes."""
    run = [sys.executable, "-m"]
    if processes > 1:
        run += ["torch.distributed.run", "--standalone", "--nproc-per-node", str(processes), "-m"]
    options = ["--model", MODEL, "--any-modality", "--device", "cpu"]
    return [*run, "sam2adapt", "segment", str(source), "-o", str(output), *options]


class Run:
    """A whole batch.

    :ivar seconds: of the command; ``working``: from the first study to the last, without start-up.
    :ivar manifest: content of manifest.json.
    """

    def __init__(self, source: Path, output: Path, processes: int):
        started = time.perf_counter()
        ended = subprocess.run(command(source, output, processes), capture_output=True, encoding="utf-8", check=False)
        self.seconds, self.text = time.perf_counter() - started, ended.stdout
        found = re.search(r"in ([\d.]+) s$", self.text, re.MULTILINE)
        if not found:
            sys.exit(ended.stderr)
        self.working, self.manifest = float(found[1]), json.loads((output / "manifest.json").read_text("utf-8"))

    def untimed(self) -> dict:
        """The manifest but for seconds."""
        rows = [{k: row[k] for k in row if k != "seconds"} for row in self.manifest["studies"]]
        return self.manifest | {"studies": rows}


def manifest_lines(source: Path, runs: dict[int, list[Run]]) -> list[str]:
    """What the manifest says, and whether that of two processes says the same."""
    manifest = runs[1][0].manifest
    same = all(run.untimed() == runs[1][0].untimed() for some in runs.values() for run in some)
    text = (
        f"{len(manifest['studies'])} inputs (hippocampus validation cases, `ct_sample`, five broken files), model "
        f"`{MODEL}` with `--any-modality` on the CPU: {manifest['counts']['done']} done, "
        f"{manifest['counts']['failed']} failed."
    )
    lines = ["# A batch, measured by `Testing/benchmarks/batch.py`", "", text, "", "| failed input | message |"]
    lines.append("| --- | --- |")
    for row in manifest["studies"]:
        if row["status"] == "failed":
            message = row["message"].replace(f"{source}/", "")
            lines.append(f"| {Path(row['input']).relative_to(source)} | {message} |")
    text = f"Manifests of one and of two processes equal but for the seconds: **{_yes(same)}**."
    return [*lines, "", text]


def killed_lines(source: Path, output: Path, whole: Run) -> list[str]:
    """A run that is killed (SIGKILL) after a third of the studies, and the same command again."""
    process = subprocess.Popen(command(source, output, 1), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    count = len(whole.manifest["studies"])
    while len(list(hidden_folder(output).glob("*.json"))) < count // 3 and process.poll() is None:
        time.sleep(0.01)
    process.kill()
    process.wait()
    done = _times(output)
    again = Run(source, output, 1)
    now = int(re.search(r"(\d+) done by this process", again.text)[1])
    kept = done.items() <= _times(output).items()
    same = again.untimed() == whole.untimed()
    text = (
        f"Killed (SIGKILL) when {len(done)} of {count} outputs were written, then the same command again: {now} "
        f"studies were worked on, outputs that were there were left as they are: **{_yes(kept)}**; the manifest equals "
        f"that of the run that was not killed: **{_yes(same)}**."
    )
    return ["", text]


def speed_lines(runs: dict[int, list[Run]]) -> list[str]:
    """Studies a minute with one process on all cores and with two that share them, taking turns."""
    count = len(runs[1][0].manifest["studies"])
    lines = ["", "| processes | studies a minute | with start-up | seconds of each run |", "| --- | --- | --- | --- |"]
    for processes, some in runs.items():
        working = statistics.median(run.working for run in some)
        seconds = statistics.median(run.seconds for run in some)
        each = ", ".join(f"{run.working:.1f}" for run in some)
        lines.append(f"| {processes} | {60 * count / working:.0f} | {60 * count / seconds:.0f} | {each} |")
    parts = _split(runs[1][0].manifest["studies"])
    text = ", ".join(f"{name} {seconds:.1f}" for name, seconds in parts.items())
    return [*lines, "", f"Seconds by part, one process, summed over studies (the parts overlap): {text}."]


def cost_lines(source: Path, run: Run) -> list[str]:
    """What an archive would cost, computed from the seconds of the largest CT and of the DICOM series."""
    rows = {Path(row["input"]).name: row for row in run.manifest["studies"] if row["status"] == "done"}
    ct, dicom = rows["chaos_ct-image.nii.gz"], rows["dicom"]
    slice_of = {name: seconds / ct["slices"] for name, seconds in _split([ct]).items()}
    slice_of["read DICOM"] = dicom["seconds"]["read"] / dicom["slices"]
    started = time.perf_counter()
    find_studies([source / "dicom"], source.parent / "none")
    slice_of["search DICOM"] = (time.perf_counter() - started) / dicom["slices"]
    size = (source / "ct" / "chaos_ct-image.nii.gz").stat().st_size / ct["slices"]
    hours = {name: seconds * ARCHIVE * SLICES / 3600 for name, seconds in slice_of.items()}
    lines = [
        "", f"## {ARCHIVE:,} CTs of {SLICES} slices: computed, not measured", "",
        "From the seconds a slice of 512 x 512 that were measured above, on this machine's CPU.", "",
        "| part | seconds a slice | hours |", "| --- | --- | --- |",
        *(f"| {name} | {slice_of[name]:.4f} | {hours[name]:,.1f} |" for name in slice_of),
    ]  # fmt: skip
    stages = {"reading": hours["read"], "the network": hours["network"], "writing": hours["write"]}
    limit = max(stages, key=stages.get)
    rate = size * ARCHIVE * SLICES / 3600 / max(stages.values())
    text = (
        f"Reading the next and writing the last study overlap with the network, so the longest counts: **{limit}**. "
        f"Files are read as .nii.gz; a DICOM archive is searched first, by one process, before the others begin."
    )
    lines += [
        "", text, "",
        "| processes, each with cores of its own | hours | read from the archive (MB/s) |", "| --- | --- | --- |",
        *(f"| {n} | {stages[limit] / n:,.1f} | {n * rate / 1e6:.1f} |" for n in (1, 8, 64)), "",
        f"An archive behind 1 Gbit/s ({SHARE / 1e6:.0f} MB/s) gives enough for {SHARE / rate:,.0f} such processes.",
    ]  # fmt: skip
    return lines


def _split(rows: list[dict]) -> dict[str, float]:
    parts = {"read": ("read",), "network": NETWORK, "write": ("write",)}
    return {name: sum(row["seconds"].get(key, 0) for row in rows for key in keys) for name, keys in parts.items()}


def _times(output: Path) -> dict[str, int]:
    """Times of the outputs whose record was written."""
    names = (json.loads(path.read_text("utf-8"))["output"] for path in hidden_folder(output).glob("*.json"))
    return {name: (output / name).stat().st_mtime_ns for name in names if name}


def _yes(value: bool) -> str:
    return "yes" if value else "NO"


if __name__ == "__main__":
    main()
