"""Tries with files: model files with odd cards or bytes, image headers, and the same volume stored in other ways."""

import copy
import io
import json
import os
import random
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
from children import tried, verdict, worst
from model_files import digest_of, nested, read_parts, write_parts
from outcomes import HUNG, LOST
from world import World

_NASTY: list[Any] = [
    None, True, 0, -1, 1, 255, 256, 1 << 31, 1 << 63, 10**400, 1e-320, 1e308, -1e308, 1e-6, 1000, 0.5, "", " ",
    "x" * 300, "../../etc/passwd", "a\n\x1b[31mb", "\u202etxt", "\x00", "\ud800", [], {}, [[]], [0], {"a": {}},
    "keeper", "case 1",
]  # fmt: skip
_SETTINGS: list[Any] = [
    {"rank": 1 << 18}, {"rank": -1}, {"rank": 2.5}, {"rank": "2"}, {"alpha": 1e300}, {"encoder": ["qkv", "mlp"]},
    {"dropout": 2}, {"quality": 1}, {"prompts": 0.5}, {"no": 1}, {"placement": "none"},
]  # fmt: skip


def model_file(rng: random.Random, world: World, folder: Path) -> tuple[str, str]:
    """A model file that is changed, with a right digest or byte by byte: described, added, and used to segment."""
    path = folder / "changed.safetensors"
    header, body = read_parts(world.model)
    if rng.random() < 0.75:
        _change_card(rng, header, body, path)
    else:
        _change_bytes(rng, header, body, path)
    home = world.copy(folder / "world")
    before = home.model.read_bytes()
    image = home.images / "0.nrrd"
    found = worst(
        verdict(tried(home.command("info", path), folder)),
        verdict(tried(home.command("models", "add", path), folder)),
        verdict(tried(home.command("models", "--json"), folder)),
        verdict(tried(home.command("segment", image, "--model", path, "-o", folder / "l.nrrd"), folder)),
    )
    if home.model.read_bytes() != before:
        return LOST, "another model was changed"
    return found


def _change_card(rng: random.Random, header: dict, body: bytes, path: Path) -> None:
    card = json.loads(header["__metadata__"]["sam2adapt"])
    for _ in range(rng.choice((1, 1, 2, 4))):
        places = list(_places(card))
        holder, key = rng.choice(places)
        kind = rng.random()
        if kind < 0.1 and isinstance(holder, dict):
            del holder[key]
        elif kind < 0.2:
            holder[key] = nested(rng.choice((5, 40, 490)))
        elif kind < 0.3 and isinstance(holder, dict):
            holder[rng.choice(("more", "__proto__", "", "x" * 1000))] = copy.deepcopy(rng.choice(_NASTY))
        elif kind < 0.45:
            card["method"] = {"name": "lora", "settings": rng.choice(_SETTINGS)}
        elif kind < 0.55:
            card["slices"] = {**GRID_SLICES, "spacing": [rng.choice((1e-7, 1e-4, 1e-2, 50, 99, 1000))] * 2}
        else:
            holder[key] = copy.deepcopy(rng.choice(_NASTY))
    try:
        card["digest"] = digest_of(card, header, body) if rng.random() < 0.95 else card["digest"]
    except (UnicodeError, KeyError, TypeError):
        pass
    sys.set_int_max_str_digits(0)
    header["__metadata__"]["sam2adapt"] = json.dumps(card)
    sys.set_int_max_str_digits(4300)
    write_parts(path, header, body)


GRID_SLICES = {
    "orientation": "LPS", "axis": "axial", "size": None, "context": 1,
    "normalization": {"kind": "percentile", "low": 0.5, "high": 99.5},
}  # fmt: skip


def _places(value: Any):
    """Each place in lists and dictionaries, as the holder and the key in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in list(items):
        yield value, key
        yield from _places(inside)


def _change_bytes(rng: random.Random, header: dict, body: bytes, path: Path) -> None:
    kind = rng.randrange(5)
    if kind == 0:  # what tensors say of themselves
        name = rng.choice([name for name in header if name != "__metadata__"])
        field = rng.choice(("dtype", "shape", "data_offsets"))
        header[name][field] = rng.choice(("F64", "BOOL", [1 << 40], [-1, 2], [0, 0], [], [0, 1 << 60], None))
    elif kind == 1:
        body = np.frombuffer(body, np.uint8).copy()
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(8)
        body = body.tobytes()
    write_parts(path, header, body)
    data = bytearray(path.read_bytes())
    if kind == 2:
        data = data[: rng.randrange(len(data))]
    elif kind == 3:
        data[:8] = rng.choice((b"\xff" * 8, b"\0" * 8, (1 << 26).to_bytes(8, "little"), rng.randbytes(8)))
    elif kind == 4:
        for _ in range(rng.randrange(1, 20)):
            data[rng.randrange(min(len(data), 3000))] = rng.randrange(256)
    path.write_bytes(data)


def image_header(rng: random.Random, world: World, folder: Path) -> tuple[str, str]:
    """An image whose header has other bytes, is cut short, or is a pipe: read, and segmented if it can be."""
    source = sitk.ReadImage(str(world.images / "0.nrrd"))
    suffix = rng.choice((".nii", ".nii.gz", ".nrrd", ".mha", ".dcm", "series"))
    path = folder / f"image{suffix}" if suffix != "series" else folder / "series" / "0.dcm"
    path.parent.mkdir(exist_ok=True)
    sitk.WriteImage(source[:, :, 0] if path.suffix == ".dcm" else source, str(path))
    data = bytearray(path.read_bytes())
    limit = min(len(data), 1200 if path.suffix == ".dcm" else 400)
    kind = rng.random()
    if kind < 0.05:
        path.unlink()
        os.mkfifo(path)
    elif kind < 0.15:
        path.write_bytes(data[: rng.randrange(len(data))])
    else:
        for _ in range(rng.choice((1, 1, 2, 8))):
            place = rng.randrange(limit)
            data[place] = rng.choice((0, 255, 127, 128, 48, 57, rng.randrange(256)))
        path.write_bytes(data)
    image = path.parent if suffix == "series" else path
    return verdict(tried(world.command("segment", image, "--model", "keeper", "-o", folder / "l.nrrd"), folder))


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


def jumping_clock(rng: random.Random, world: World, folder: Path) -> tuple[str, str]:
    """A clock that jumps by years while the engine works, in the place of the machine's: the result is the same."""
    import time

    seed, outputs = rng.randrange(1000), []
    for jumps in (False, True):
        output = folder / f"out-{jumps}"
        output.mkdir()
        name, (command, path) = random.Random(seed).choice(sorted(world.actions(random.Random(seed), output).items()))
        real, state = time.time, random.Random(seed)

        def jump(real=real, state=state) -> None:
            time.time = lambda: real() + state.choice((-1e9, -3600, 0, 3600, 1e9))
            time.time_ns = lambda: int(1e9 * time.time())

        limit = ("--max-minutes", 60) if name == "train" else ()
        found = verdict(tried(world.command(*command, *limit, before=jump if jumps else None), folder))
        outputs.append(content(path))
    if outputs[0] != outputs[1] and found[0] != HUNG:
        return LOST, f"{name} came to another result: {found[1]}"
    return found


def content(path: Path) -> object:
    """What of an output must be the same each time: tensors of a model, labels of images, of all files of a folder."""
    if not path.exists():
        return None
    if path.is_dir():
        return {part.name: content(part) for part in path.iterdir() if part.suffix == ".nrrd"}
    if path.suffix == ".safetensors":
        header, body = read_parts(path)
        return body, {name: value for name, value in header.items() if name != "__metadata__"}
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path))).tobytes()
