"""How long a DICOM series takes to open, against an earlier commit of this repository, in pairs that take turns.

python Testing/benchmarks/open_dicom.py [--baseline 9979816] [--pairs 5] [--slices 300] [--compressed] [--limit 1.1]

Prints the times and the median of the pairs' ratios; ends with status 1 where it is above the limit. On a busy machine
the processor's seconds say more than the clock's.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset

ROOT = Path(__file__).resolve().parents[2]
SIZE = 512
TIMED = """
import sys, time
try:
    from sam2adapt.imaging.volume import read_volume
except ImportError:  # before the engine had rooms
    from sam2adapt.volume import read_volume
start, used = time.perf_counter(), time.process_time()
volume = read_volume(sys.argv[1])
print(time.perf_counter() - start, time.process_time() - used, "x".join(map(str, volume.size)), volume.array.dtype)
"""


def write_series(folder: Path, slices: int, compressed: bool) -> None:
    """A CT of noise on a ramp, with the elements that a scanner writes, 0.6 MB a slice."""
    noise = np.random.default_rng(0)
    ramp = np.add.outer(np.arange(SIZE), np.arange(SIZE))
    series = uid.generate_uid()
    for index in range(slices):
        dataset, dataset.file_meta = Dataset(), FileMetaDataset()
        dataset.SOPClassUID, dataset.SOPInstanceUID = uid.CTImageStorage, uid.generate_uid()
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.SeriesInstanceUID, dataset.StudyInstanceUID, dataset.Modality = series, series, "CT"
        dataset.PatientName, dataset.PatientID, dataset.SeriesDescription = "Speed", "1", "Speed"
        for number in range(60):  # what a scanner writes about dose, kernel and table, as elements of its own group
            dataset.private_block(0x0019, "SPEED", create=True).add_new(number, "LO", f"value of element {number}")
        dataset.Rows = dataset.Columns = SIZE
        dataset.ImagePositionPatient, dataset.ImageOrientationPatient = [0, 0, index], [1, 0, 0, 0, 1, 0]
        dataset.PixelSpacing, dataset.SliceThickness = [0.7, 0.7], 1
        dataset.RescaleSlope, dataset.RescaleIntercept = 1, -1024
        dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
        dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 16, 12, 11, 0
        dataset.PixelData = (ramp + noise.integers(0, 50, (SIZE, SIZE))).astype("<u2").tobytes()
        if compressed:
            dataset.compress(uid.JPEGLSLossless, generate_instance_uid=False)
        dataset.save_as(folder / f"{index * 7919 % 10007:05}.dcm", enforce_file_format=True)


def opening(code: Path, series: Path) -> tuple[float, float, str]:
    """Seconds, seconds of the processor, and what was read, in a process of its own with the engine of ``code``."""
    environment = os.environ | {"PYTHONPATH": str(code / "SAM2Adapt")}
    text = subprocess.run([sys.executable, "-c", TIMED, str(series)], env=environment, check=True,
                          capture_output=True, text=True).stdout  # fmt: skip
    seconds, used, what = text.strip().split(" ", 2)
    return float(seconds), float(used), what


def main() -> None:
    """Run the pairs and print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--baseline", default="9979816", help="commit to compare with")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--slices", type=int, default=300)
    parser.add_argument("--compressed", action="store_true", help="as JPEG-LS")
    parser.add_argument("--limit", type=float, default=1.1)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        series, before = Path(folder) / "series", Path(folder) / "before"
        series.mkdir()
        write_series(series, args.slices, args.compressed)
        archive = Path(folder) / "before.tar"
        subprocess.run(["git", "-C", str(ROOT), "archive", "-o", str(archive), args.baseline, "SAM2Adapt"], check=True)
        with tarfile.open(archive) as packed:
            packed.extractall(before, filter="data")
        ratios, used = [], []
        for _ in range(args.pairs):
            (then, used_then, what_then), (now, used_now, what_now) = opening(before, series), opening(ROOT, series)
            if what_then != what_now:
                sys.exit(f"Read {what_then} before and {what_now} now.")
            ratios.append(now / then)
            used.append(used_now / used_then)
            print(f"{what_now}: {args.baseline} {then:.2f} s, now {now:.2f} s, ratio {now / then:.2f}; of the processor"
                  f" {used_then:.2f} and {used_now:.2f} s, ratio {used_now / used_then:.2f}", flush=True)  # fmt: skip
    ratio, of_processor = statistics.median(ratios), statistics.median(used)
    print(f"median of {args.pairs} ratios: {ratio:.2f} (limit {args.limit}), of the processor {of_processor:.2f}")
    sys.exit(ratio > args.limit)


if __name__ == "__main__":
    main()
