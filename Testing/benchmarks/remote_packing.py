"""How small and how fast ways to pack voxels with zlib are: why the stream packs as it does (``shared/stream``).

    python Testing/benchmarks/remote_packing.py        needs SAM2ADAPT_DATA

Every sixth slice of a CT is packed on one core; the seconds are for all slices.
"""

import os
import time
import zlib
from pathlib import Path

import numpy as np
from remote import VOLUME
from sam2adapt.shared.stream import packing

EVERY = 6
USUAL, RUNS = zlib.Z_DEFAULT_STRATEGY, zlib.Z_RLE


def folded(steps: np.ndarray) -> np.ndarray:
    """Small numbers of either sign as small numbers without one."""
    return (steps << 1) ^ (steps >> 15)


def apart(words: np.ndarray) -> bytes:
    """All high bytes, then all low bytes."""
    lanes = np.ascontiguousarray(words).view(np.uint8).reshape(-1, 2)
    return lanes[:, 1].tobytes() + lanes[:, 0].tobytes()


def along_rows(voxels: np.ndarray) -> np.ndarray:
    """Differences to the voxel before."""
    return np.diff(voxels, axis=1, prepend=np.int16(0))


def along_both(voxels: np.ndarray) -> np.ndarray:
    """Differences along rows, and of these along columns."""
    return np.diff(along_rows(voxels), axis=0, prepend=np.int16(0))


WAYS = {
    "voxels as they are": (lambda voxels: voxels.tobytes(), USUAL),
    "high and low bytes apart": (apart, USUAL),
    "differences along rows, bytes apart": (lambda voxels: apart(along_rows(voxels)), USUAL),
    "the same, folded": (lambda voxels: apart(folded(along_rows(voxels))), USUAL),
    "the same, runs only (`Z_RLE`)": (lambda voxels: apart(folded(along_rows(voxels))), RUNS),
    "differences along rows and columns, folded, runs only": (lambda voxels: apart(folded(along_both(voxels))), RUNS),
}


def measured(pack, slices: list[np.ndarray], count: int) -> str:
    """Ratio and seconds of a way, as cells of a table."""
    began = time.perf_counter()
    size = sum(len(pack(voxels)) for voxels in slices)
    seconds = (time.perf_counter() - began) * count / len(slices)
    return f"{size / sum(voxels.nbytes for voxels in slices):.3f} | {seconds:.2f} s"


def main() -> None:
    """Measure and print a table."""
    import SimpleITK as sitk

    image = sitk.ReadImage(str(Path(os.environ["SAM2ADAPT_DATA"]) / VOLUME))
    voxels = sitk.GetArrayFromImage(image).astype(np.int16)
    slices = [np.ascontiguousarray(one) for one in voxels[::EVERY]]
    print("| way | level 1 | | level 6 | |\n| --- | --- | --- | --- | --- |")
    for name, (prepare, strategy) in WAYS.items():
        cells = []
        for level in (1, 6):

            def pack(one: np.ndarray, level=level, prepare=prepare, strategy=strategy) -> bytes:
                packer = zlib.compressobj(level, zlib.DEFLATED, -15, 9, strategy)
                return packer.compress(prepare(one)) + packer.flush()

            cells.append(measured(pack, slices, len(voxels)))
        print(f"| {name} | {' | '.join(cells)} |")
    ours = measured(lambda one: packing.pack(one.tobytes(), packing.WORDS), slices, len(voxels))
    print(f"| **`packing.WORDS`** | {ours} | | |")


if __name__ == "__main__":
    main()
