"""What the benchmark segments: a real CT where there is one, else one that is made up, the same each time."""

from pathlib import Path

import numpy as np
import torch
from sam2adapt.imaging.volume import Volume, read_volume
from sam2adapt.segmenting.slices import Normalization, SliceSettings, SliceStack
from sam2adapt.shared.errors import InputFileError
from torch import Tensor

CT = Path("ct_sample/chaos_ct/image.nii.gz")  # 512 x 512 x 78
MR = Path("acdc/images/patient043_frame01.nii.gz")  # 174 x 224 x 12
MR_LABELS = Path("acdc/labels/patient043_frame01.nii.gz")
_WINDOW = (-160.0, 240.0)  # Hounsfield units, soft tissue
CT_SIZE, _CT_SPACING = (512, 512, 78), (0.73, 0.73, 2.0)


def ct_volume(data: Path | None) -> Volume:
    """The abdominal CT of the data folder; without one, a body with organs and noise, of the same 512 x 512 x 78.

    :raises InputFileError: the folder lacks it.
    """
    return made_up(CT_SIZE, _CT_SPACING) if data is None else read_volume(data_file(data, CT))


def data_file(data: Path, name: Path) -> Path:
    """Path of a file of the data folder.

    :raises InputFileError: it is not there.
    """
    if not (data / name).is_file():
        raise InputFileError(
            f"'{data}' lacks '{name}', which the benchmark segments.",
            "Give --data the folder that holds the data sets acdc and ct_sample, or leave it out.",
        )
    return data / name


def made_up(size: tuple[int, int, int], spacing: tuple[float, float, float], seed: int = 0) -> Volume:
    """A volume of (I, J, K) int16 voxels in Hounsfield units: a body, organs in it, and noise."""
    generator = np.random.default_rng(seed)
    k, j, i = np.ogrid[tuple(slice(-1.0, 1.0, n * 1j) for n in size[::-1])]
    array = np.full(size[::-1], -1000.0, np.float32)
    array[np.broadcast_to((i / 0.8) ** 2 + (j / 0.6) ** 2 < 1, array.shape)] = 40.0
    for level in (-800.0, -800.0, 110.0, 150.0, 60.0, 400.0):
        centre, radius = generator.uniform(-0.4, 0.4, 3), generator.uniform(0.1, 0.3, 3)
        inside = sum(((axis - c) / r) ** 2 for axis, c, r in zip((k, j, i), centre, radius, strict=True)) < 1
        array[inside] = level
    array += generator.normal(0.0, 12.0, array.shape).astype(np.float32)
    return Volume(array[np.newaxis].astype(np.int16), np.zeros(3), np.array(spacing), np.eye(3), "made up", "CT")


def repeated(volume: Volume, slices: int) -> Volume:
    """The volume with so many slices: its own, again and again."""
    at = np.arange(slices) % volume.size[2]
    return Volume(
        np.ascontiguousarray(volume.array[:, at]), volume.origin, volume.spacing, volume.direction, volume.name,
        volume.modality,
    )  # fmt: skip


def grey_slices(volume: Volume, side: int, count: int) -> Tensor:
    """Slices from the middle of a CT, with their neighbours as channels: (count, 3, side, side), 0 to 1."""
    stack = SliceStack(volume, SliceSettings(Normalization("window", *_WINDOW), size=side))
    first = max(0, (len(stack) - count) // 2)
    at = torch.arange(first, first + count) % len(stack)
    grey = torch.nn.functional.interpolate(stack.grey(0, len(stack))[at], size=(side, side))
    return torch.cat([grey.roll(shift, dims=0) for shift in (1, 0, -1)], dim=1)
