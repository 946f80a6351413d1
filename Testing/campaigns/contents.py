"""Tries with the same volume stored in other ways, and with printing."""

import io
import os
import random
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from children import tried, verdict, worst
from model_files import read_parts
from outcomes import LOST
from world import World


def stored_in_other_ways(rng: random.Random, world: World, folder: Path) -> tuple[str, str]:
    """The same patient with axes in another order and direction: the labels lie at the same places."""
    image = sitk.ReadImage(str(world.images / "0.nrrd"))
    order = rng.sample(range(3), 3)
    flips = [rng.random() < 0.5 for _ in range(3)]
    other = sitk.Flip(sitk.PermuteAxes(image, order), flips)
    sitk.WriteImage(other, str(folder / "other.nrrd"))
    paths = {"first": world.images / "0.nrrd", "other": folder / "other.nrrd"}
    found = worst(*(
        verdict(tried(world.command("segment", path, "--model", "keeper", "-o", folder / f"{name}-l.nrrd"), folder))
        for name, path in paths.items()
    ))  # fmt: skip
    labels = {name: folder / f"{name}-l.nrrd" for name in paths}
    if not all(path.exists() for path in labels.values()):
        return found
    first = sitk.ReadImage(str(labels["first"]))
    back = sitk.Resample(sitk.ReadImage(str(labels["other"])), first, sitk.Transform(), sitk.sitkNearestNeighbor)
    different = int((sitk.GetArrayFromImage(first) != sitk.GetArrayFromImage(back)).sum())
    return (LOST, f"order {order}, flips {flips}: {different} voxels lie elsewhere") if different else found


def shrinking(rng: random.Random, world: World, folder: Path) -> tuple[str, str]:
    """An image that its owner cuts short while it is read."""
    path, later = folder / f"large{rng.choice(('.tif', '.tif', '.nrrd', '.mha', '.nii', '.dcm'))}", rng.random() * 0.25
    noise = np.random.default_rng(0).integers(0, 250, (1 if path.suffix == ".dcm" else 3, 2400, 2400), np.uint8)
    sitk.WriteImage(sitk.GetImageFromArray(noise), str(path))

    def cut_later() -> None:
        if os.fork() == 0:
            time.sleep(later)
            os.truncate(path, 3000)
            os._exit(0)

    command = ("segment", path, "--model", "keeper", "-o", folder / "l.nrrd", "--device", "cpu", "--any-modality")
    return verdict(tried(world.command(*command, before=cut_later), folder))


def printed(rng: random.Random, world: World, folder: Path) -> tuple[str, str]:
    """Names that an encoding lacks or that are no text at all, printed as a list, as JSON and in errors."""
    home = world.copy(folder / "world")
    encoding = rng.choice(("ascii", "latin-1", "cp1252", "utf-8", "cp437"))
    letters = rng.choice((b"\xff\xfe", "Müller Ω".encode(), "\u202e".encode(), b"\x1b[2J", "肝臓".encode()))
    name = os.fsdecode(b"a" + letters)
    shutil.copy(home.images / "0.nrrd", home.folder / f"{name}.nrrd")
    (home.model.parent / f"{name}.safetensors").write_bytes(rng.randbytes(rng.choice((0, 30))))

    def narrow() -> None:
        sys.stdout = io.TextIOWrapper(os.fdopen(1, "wb", closefd=False), encoding=encoding)
        sys.stderr = io.TextIOWrapper(os.fdopen(2, "wb", closefd=False), encoding=encoding)

    commands = (
        ("models",), ("models", "--json"), ("info", home.model.parent / f"{name}.safetensors"),
        ("segment", home.folder / f"{name}.nrrd", "--model", "keeper", "-o", folder / "l.nrrd"),
        ("segment", home.images / "0.nrrd", "--model", "keeper", "-o", folder / f"{name}.nrrd"),
    )  # fmt: skip
    return worst(*(verdict(tried(home.command(*command, before=narrow), folder)) for command in commands))


def content(path: Path) -> object:
    """What of an output must be the same each time: tensors of a model, labels of images, of all files of a folder."""
    if not path.exists():
        return None
    if path.is_dir():
        return {part.name: content(part) for part in path.iterdir() if part.suffix == ".nrrd"}
    if path.suffix == ".safetensors":
        try:
            return read_parts(path).tensors
        except ValueError:
            return "cut short"
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).tobytes()
