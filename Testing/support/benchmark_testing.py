"""What the tests of the benchmarks' scripts share: small packs of pictures."""

import json
from pathlib import Path

import numpy as np
import SimpleITK as sitk

BENCHMARKS = Path(__file__).resolve().parents[1] / "benchmarks"


def write_picture(path: Path, array: np.ndarray) -> None:
    """Write (H, W) or (H, W, 3) as PNG, with its folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(sitk.GetImageFromArray(array.astype(np.uint8), isVector=array.ndim == 3), str(path))


def write_pack(root: Path, count: int = 4, side: int = 64, fields: bool = True, tested: str = "val") -> None:
    """Photographs with a bright vessel in a round field of view, and a bright rim on its right half outside of it.

    The last one is in the part ``tested`` of the split.
    """
    generator, middle = np.random.default_rng(0), side // 2
    rows, columns = np.mgrid[:side, :side]
    field = (rows - middle) ** 2 + (columns - middle) ** 2 < (middle - 4) ** 2
    rim = ~field & (columns > middle)
    for number in range(count):
        vessel = abs(rows - columns + generator.integers(-15, 15)) < 4
        grey = np.where(field, generator.normal(90, 10, (side, side)) + 120 * vessel, 0)
        photograph = np.stack([grey, grey + 200 * rim, grey], axis=-1).clip(0, 255)
        write_picture(root / "images" / f"{number}.png", photograph)
        write_picture(root / "labels" / f"{number}.png", vessel | rim)
        if fields:
            write_picture(root / "fov" / f"{number}.png", field)
    names = [str(number) for number in range(count)]
    split = {"train": names[:-1], "val": names[-1:]} | ({tested: names[-1:]} if tested != "val" else {})
    (root / "split.json").write_text(json.dumps(split))
