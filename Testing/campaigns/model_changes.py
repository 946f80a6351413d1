"""Tries with model files: allowed changes of the card, odd tensors, other forms of the file, and what is not allowed.

Most files stay valid, with the right digest, so that what comes after reading is tried: segmenting, training, adding.
"""

import copy
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from children import tried_in_turn, verdict
from model_files import Parts, nested, read_parts, write_parts
from outcomes import LOST, SURVIVED, Found
from world import World

FILES = 25  # of a try, in one child
_NASTY: list[Any] = [
    None, True, 0, -1, 1, 255, 256, 1 << 31, 1 << 63, 10**400, 1e-320, 1e308, -1e308, 1e-6, 1000, 0.5, "", " ",
    "x" * 300, "../../etc/passwd", "a\n\x1b[31mb", "\u202etxt", "\x00", "\ud800", [], {}, [[]], [0], {"a": {}},
    "keeper", "case 1",
]  # fmt: skip
_SETTINGS: list[Any] = [
    {"rank": 1 << 17}, {"rank": -1}, {"rank": 2.5}, {"rank": "2"}, {"alpha": 1e300}, {"encoder": ["qkv", "mlp"]},
    {"dropout": 2}, {"quality": 1}, {"prompts": 0.5}, {"no": 1}, {"placement": "none"},
]  # fmt: skip
_TEXTS = (
    "", "a", "Herz \u00e4\u00f6\u00fc", "\u809d\u81d3", "\u0643\u0628\u062f", "e\u0301", "\U0001fac0",
    "%s {0} $(ls) `id`", "<b>&amp;</b>",
    "~^~^~", "a\tb\nc", "-o", "NUL", "x" * 1500, "\u200b", "\x1b[2J\u202e",
)  # fmt: skip
_NUMBERS = (0, 1, -1, 0.5, 1e-300, 1e300, 1 << 62, -(1 << 62), 3.0, 1e-9)


def model_file(rng: random.Random, world: World, folder: Path) -> Found:
    """Model files that are changed, each described, added, used to segment, or continued by a training."""
    home = world.copy(folder / "world")
    before = home.model.read_bytes()
    names = [rng.choices(list(_USES), [use[0] for use in _USES.values()])[0] for _ in range(FILES)]
    works = []
    for number, name in enumerate(names):
        path = folder / f"changed-{number}.safetensors"
        change_file(rng, world.model, path, f"1.{number}")
        works.append(home.command(*_USES[name][1](home, path, folder / f"out-{number}")))
    found = [verdict(ended) for ended in tried_in_turn(works, folder)]
    if home.model.read_bytes() != before:
        found.append((LOST, "another model was changed"))
    reached = Counter(name for name, one in zip(names, found, strict=False) if one[0] == SURVIVED)
    return Found(found, len(names), reached, Counter(names))


#: What is done with a file, how often of a hundred, and the command for it.
_USES: dict[str, tuple[int, Callable[[World, Path, Path], tuple]]] = {
    "segment": (60, lambda world, path, out: (
        "segment", world.tiny, "--model", path, "-o", out.with_suffix(".nrrd"), "--device", "cpu", "--any-modality")),
    "models add": (25, lambda world, path, out: ("models", "add", path)),
    "info": (10, lambda world, path, out: ("info", path)),
    "train --init": (5, lambda world, path, out: (
        "train", "--images", world.images, "--labels", world.labels, "--classes", "1=ball,2=shell", "--init", path,
        "--crop", 32, "--batch-size", 2, "--steps", 1, "--modality", "MR", "--device", "cpu",
        "--allow-forgetting", "-o", out.with_suffix(".safetensors"))),
}  # fmt: skip


def change_file(rng: random.Random, source: Path, path: Path, version: str) -> None:
    """Write a changed copy of a model file, as another version, so that it can be added beside it."""
    parts = read_parts(source)
    card = parts.card | {"version": version}
    kind = rng.random()
    if kind < 0.80:  # allowed, or nearly
        if kind < 0.60:
            for _ in range(rng.choice((1, 1, 2, 3, 6))):
                rng.choice(_ALLOWED)(rng, card)
        if 0.45 < kind < 0.75:
            for _ in range(rng.choice((1, 1, 2))):
                rng.choices(_TENSORS, (8, 3, 1, 1))[0](rng, parts)
        if kind > 0.55:
            rng.choice(_FORMS)(rng, parts)
        _finish(parts, card)
        write_parts(path, parts)
    elif kind < 0.92:
        _forbid(rng, card)
        _finish(parts, card, rng.random() < 0.95)
        write_parts(path, parts)
    else:
        _change_bytes(rng, parts, path)


def _finish(parts: Parts, card: dict, right_digest: bool = True) -> None:
    try:
        card["digest"] = parts.digest(card) if right_digest else card["digest"]
    except (UnicodeError, KeyError, TypeError, ValueError):
        pass  # a card that has none
    parts.put_card(card)


# Allowed changes of the card


def _text(rng: random.Random, least: int = 0) -> str:
    text = rng.choice(_TEXTS) + rng.choice(("", " ", "b"))
    return text if len(text) >= least else "a"


def _name(rng: random.Random) -> str:
    text = "".join(c for c in _text(rng) if c.isprintable() and c not in "./\\@").strip()
    return text[: rng.choice((1, 30, 100))].strip() or "n"


def _names(rng: random.Random, card: dict) -> None:
    card["name"] = _name(rng)
    card["version"] = rng.choice(("0", "1.0", "2.0+b_c-d", "9" * 50, "V"))
    card["description"], card["license"] = _text(rng) * rng.choice((1, 10)), _text(rng, 1)
    card["parent"] = rng.choice((None, "sha256:" + 64 * rng.choice("0f")))
    card["created"] = rng.choice(
        ("0001-01-01T00:00:00Z", "9999-12-31T23:59:59+00:00", "2024-02-29T12:00:00.123456Z", "1970-01-01T00:00:00Z")
    )
    card["modality"] = rng.choice(("CT", "MR", "MR", "RGB", "OTHER"))


def _classes(rng: random.Random, card: dict) -> None:
    ids = rng.sample(range(1, 256), len(card["classes"]))
    for number, entry in zip(ids, card["classes"], strict=True):
        if rng.random() < 0.5:
            entry["id"] = number
        entry["name"] = f"{_name(rng)[:100]} {number}"
        entry["color"] = [rng.choice((0, 1, 0.5, 1e-300, rng.random())) for _ in range(3)]
        entry["terminology"] = rng.choice(("", "~", "a~b~c", "~".join(["SCT^1^x"] * 7), _text(rng)))

    _cleaning(rng, card)


def _slices(rng: random.Random, card: dict) -> None:
    letters = rng.sample(("LR", "AP", "SI"), 3)
    slices = card["slices"]
    slices["orientation"] = "".join(rng.choice(pair) for pair in letters)
    slices["axis"] = rng.choice(("axial", "coronal", "sagittal", "acquisition"))
    if rng.random() < 0.5:
        slices["size"], slices["spacing"] = rng.choice((16, 17, 32, 33, 48, 100, None)), None
    if slices["size"] is None or rng.random() < 0.4:
        slices["spacing"] = [rng.choice((0.3, 0.5, 1, 1.7, 3, 30, 100, 0.05)) for _ in range(2)]


def _grey_levels(rng: random.Random, card: dict) -> None:
    low, high = sorted(rng.choice((-1e12, -1000, -1e-6, 0, 1e-6, 1, 50, 99.5, 400, 1e12)) for _ in range(2))
    kind = rng.choice(("window", "percentile", "range"))
    if kind == "percentile":
        low, high = rng.choice(((0, 100), (0, 1e-6), (99.999, 100), (49, 51)))
    card["slices"]["normalization"] = {"kind": kind, "low": low, "high": high}


def _cleaning(rng: random.Random, card: dict) -> None:
    ids = [entry["id"] for entry in card["classes"]]
    steps = ("largest_together", "largest_component", "fill_holes")
    card["postprocessing"] |= {step: rng.sample(ids, rng.randrange(len(ids) + 1)) for step in steps}
    card["postprocessing"]["minimum_ml"] = rng.choice((0, 1e-300, 0.01, 1, 1e6))


def _training(rng: random.Random, card: dict) -> None:
    training = card["training"]
    for part in ("data", "settings", "software"):
        training[part] = {_text(rng): rng.choice((*_NUMBERS, None, [], {"a": [1, {}]}, nested(20), _text(rng)))}
    training["seed"] = rng.choice((0, -1, 1 << 40, 12345))
    training["minutes"] = rng.choice((None, 0, 1e-300, 1e300))
    names = [_text(rng)[:1000] for _ in range(rng.choice((0, 1, 300)))]
    training["split"] = {"train": names, "val": rng.choice(([], names[:3])), "slices": {"case 1": [1, "x", None]}}
    if rng.random() < 0.5:
        training["parameters"] = {"total": 1 << 50, "trained": 0}


def _metrics(rng: random.Random, card: dict) -> None:
    case = {"id": _text(rng), "dice": rng.choice((None, 0.5, "x", [], {"ball": 0.3}, {"ball": None, "": 1}))}
    dice = {"mean": rng.choice((None, 0, 1, 0.5)), "ball": rng.choice((None, 0.2)), _text(rng): 0.1}
    card["metrics"] = rng.choice((None, {"subset": _text(rng), "dice": dice, "cases": [case] * rng.choice((0, 1, 9))}))


def _method(rng: random.Random, card: dict) -> None:
    settings = card["method"]["settings"]
    settings |= rng.choice(({"alpha": 1e-30}, {"alpha": 512}, {"alpha": None}, {"dropout": 0.9}, {"rslora": True},
                            {"quality": 0.1}, {"prompts": 0.5}, {"placement": "decoder"}, {"rank": 3}))  # fmt: skip
    card["network"]["peg"] = rng.choice(("add", "add", "replace", "none"))


_ALLOWED = (_names, _classes, _slices, _grey_levels, _cleaning, _training, _metrics, _method)


# Tensors


def _values(rng: random.Random, parts: Parts) -> None:
    """Odd values, in some places or all."""
    name = rng.choice(list(parts.tensors))
    kind, shape, data = parts.tensors[name]
    if kind != "F32":
        return
    array = np.frombuffer(data, np.float32).copy()
    odd = rng.choice((np.nan, np.inf, -np.inf, 1e-40, -1e-44, 3e38, -3e38, -0.0, 0.0, 1e20, 1e4, 65504.0))
    places = slice(None) if rng.random() < 0.5 else rng.randrange(array.size)
    if rng.random() < 0.2:
        array = np.frombuffer(rng.randbytes(len(data)), np.float32)
    else:
        array[places] = odd
    parts.tensors[name] = kind, shape, array.tobytes()


def _types(rng: random.Random, parts: Parts) -> None:
    """Another type of numbers, in one tensor or all."""
    kind, dtype = rng.choice((("F16", np.float16), ("F64", np.float64), ("I32", np.int32), ("I64", np.int64),
                              ("U8", np.uint8), ("BOOL", np.bool_), ("BF16", None), ("F8_E4M3", np.uint8)))  # fmt: skip
    names = list(parts.tensors)
    for name in names if rng.random() < 0.3 else [rng.choice(names)]:
        former, shape, data = parts.tensors[name]
        if former == "F32":
            array = np.frombuffer(data, np.float32)
            with np.errstate(all="ignore"):
                new = (array.view(np.uint32) >> 16).astype(np.uint16) if dtype is None else array.astype(dtype)
            parts.tensors[name] = kind, shape, new.tobytes()


def _shapes(rng: random.Random, parts: Parts) -> None:
    """Another shape of the same number of values."""
    name = rng.choice(list(parts.tensors))
    kind, shape, data = parts.tensors[name]
    parts.tensors[name] = kind, rng.choice((shape[::-1], [*shape, 1], [1, *shape], [int(np.prod(shape))])), data


def _more_or_less(rng: random.Random, parts: Parts) -> None:
    """A tensor too many or too few, or one without values."""
    names = list(parts.tensors)
    if rng.random() < 0.5:
        del parts.tensors[rng.choice(names)]
    else:
        empty = ("F32", [0, 4], b"") if rng.random() < 0.5 else ("F32", [], b"\0\0\0\0")
        parts.tensors[rng.choice(("more", "", "base.more", "head.\u00e4"))] = empty


_TENSORS = (_values, _types, _shapes, _more_or_less)


# Forms of the file that say the same


def _order(rng: random.Random, parts: Parts) -> None:
    names = list(parts.tensors)
    rng.shuffle(names)
    parts.tensors = {name: parts.tensors[name] for name in names}
    parts.listed = rng.sample(names, len(names))


def _metadata(rng: random.Random, parts: Parts) -> None:
    parts.metadata |= {rng.choice(("format", "", "x" * 300, "\u809d")): _text(rng) * rng.choice((1, 50))}


def _spaces(rng: random.Random, parts: Parts) -> None:
    parts.padding = rng.choice((8, 64, 4096, 100_000))
    parts.indent = rng.choice((None, 0, 3))


_FORMS = (_order, _metadata, _spaces)


# What is not allowed


def _forbid(rng: random.Random, card: dict) -> None:
    for _ in range(rng.choice((1, 1, 2, 4))):
        holder, key = rng.choice(list(_places(card)))
        kind = rng.random()
        if kind < 0.1 and isinstance(holder, dict):
            del holder[key]
        elif kind < 0.2:
            holder[key] = nested(rng.choice((5, 40, 490)))
        elif kind < 0.3 and isinstance(holder, dict):
            holder[rng.choice(("more", "__proto__", "", "x" * 1000))] = copy.deepcopy(rng.choice(_NASTY))
        elif kind < 0.45:
            card["method"] = {"name": "lora", "settings": rng.choice(_SETTINGS)}
        elif kind < 0.55 and isinstance(card.get("slices"), dict):
            card["slices"] |= {"size": None, "spacing": [rng.choice((1e-7, 1e-4, 0.04, 50, 99, 1000))] * 2}
        else:
            holder[key] = copy.deepcopy(rng.choice(_NASTY))


def _places(value: Any):
    """Each place in lists and dictionaries, as the holder and the key in it."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in list(items):
        yield value, key
        yield from _places(inside)


def _change_bytes(rng: random.Random, parts: Parts, path: Path) -> None:
    kind = rng.randrange(5)
    header = parts.header()
    body = parts.body()
    if kind == 0:  # what tensors say of themselves
        name = rng.choice(list(parts.tensors))
        field = rng.choice(("dtype", "shape", "data_offsets"))
        header[name][field] = rng.choice(("F64", "BOOL", [1 << 40], [-1, 2], [0, 0], [], [0, 1 << 60], None))
    elif kind == 1:
        place, bit = rng.randrange(len(body)), 1 << rng.randrange(8)
        body = body[:place] + bytes([body[place] ^ bit]) + body[place + 1 :]
    write_parts(path, parts, header, body)
    data = bytearray(path.read_bytes())
    if kind == 2:
        data = data[: rng.randrange(len(data))]
    elif kind == 3:
        data[:8] = rng.choice((b"\xff" * 8, b"\0" * 8, (1 << 26).to_bytes(8, "little"), rng.randbytes(8)))
    elif kind == 4:
        for _ in range(rng.randrange(1, 20)):
            data[rng.randrange(min(len(data), 3000))] = rng.randrange(256)
    path.write_bytes(data)
