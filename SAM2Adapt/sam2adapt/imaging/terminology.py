"""What a label value means: name, SNOMED CT codes and colour, from a table of common structures.

The table (``structures.json``) takes codes and recommended colours from the two lists that Slicer ships, "3D Slicer
General Anatomy list" and "DICOM master list"; entries marked ``"list": "snomed"`` (single vertebrae, discs and ribs,
some muscles, the eye) are SNOMED CT concepts of DICOM's context groups that Slicer's lists lack. ``"paired": true``
stands for the structure itself and its right and left one. Structures of microscopy have a name and a colour only.
"""

import colorsys
import functools
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

from ..shared.errors import ClassesError

_CONTEXTS = {
    "general": "Segmentation category and type - 3D Slicer General Anatomy list",
    "dicom": "Segmentation category and type - DICOM master list",
    "snomed": "Segmentation category and type - DICOM master list",
}
_REGIONS = "Anatomic codes - DICOM master list"
_ANATOMICAL = ("123037004", "Anatomical Structure")
# SNOMED CT's root of all structures, normal, altered or of a cell: Slicer calls a segment without code "Tissue"
_UNKNOWN = {"type": _ANATOMICAL, "list": "snomed"}
_SIDES = {"right": ("24028007", "Right"), "left": ("7771000", "Left")}
_SYNONYMS = {
    "r": "right",
    "rt": "right",
    "dexter": "right",
    "l": "left",
    "lt": "left",
    "sinister": "left",
    "vertebrae": "vertebra",
}
_FILLERS = {"of", "the", "and", "in"}
_GOLDEN = 0.61803398875  # steps round the colour circle by this never come close to an earlier hue


@dataclass(frozen=True)
class Structure:
    """The meaning of one label value.

    :ivar id: label value, 1 to 255.
    :ivar name: what users read.
    :ivar terminology: Slicer's serialized terminology entry.
    :ivar color: red, green, blue from 0 to 1.
    """

    id: int
    name: str
    terminology: str = ""
    color: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def to_json(self) -> dict:
        return {"id": self.id, "name": self.name, "terminology": self.terminology, "color": list(self.color)}

    @classmethod
    def from_json(cls, entry: dict) -> "Structure":
        red, green, blue = entry["color"]
        return cls(
            int(entry["id"]), entry["name"], entry.get("terminology", ""), (float(red), float(green), float(blue))
        )


def choose(structures: Sequence[Structure], names: Sequence[str] | None, model: str) -> list[Structure]:
    """The structures of a model that a user names, once each and in the model's order.

    Upper and lower case do not matter, nor how many spaces stand between and around the words.

    :param structures: all of the model.
    :param names: None: all.
    :param model: its name, for messages.
    :raises ClassesError: a name that the model does not know, or no name at all.
    """
    if names is None:
        return list(structures)
    known, requested = {name_key(structure.name) for structure in structures}, [name_key(name) for name in names]
    remedy = f"It segments: {', '.join(structure.name for structure in structures)}."
    if not requested:
        raise ClassesError(f"No structure of model '{model}' was chosen.", remedy)
    for name, spelled in zip(names, requested, strict=True):
        if spelled not in known:
            raise ClassesError(f"Model '{model}' does not segment '{name.strip()}'.", remedy, setting="structures")
    return [structure for structure in structures if name_key(structure.name) in requested]


def name_key(name: str) -> str:
    """What two spellings of a structure's name have in common: case and spaces do not matter.

    >>> name_key(" Left  Lung") == name_key("left lung")
    True
    """
    return " ".join(name.casefold().split())


def describe(id: int, name: str) -> Structure:  # noqa: A002  the label value is called id everywhere
    """Codes and colour for a name, which stays as it was given.

    Order of words, case, plural and separators do not matter: "lung_right", "Right Lung" and "lung R" are one
    structure; common short forms ("RV", "L1", "IVC") are known. A name that is not in the table is coded as a body
    structure without saying which, and gets a colour of its own that depends on the label value only.
    """
    entry = _table().get(_key(name))
    if entry is None:
        return Structure(id, name, _serialize(_UNKNOWN, None), _distinct(id))
    terminology, color = entry
    return Structure(id, name, terminology, color)


def is_organ(structure: Structure) -> bool:
    """Whether the code of a structure is that of a certain anatomical structure, not of a lesion, nor of any tissue."""
    category, kind, *_ = codes_of(structure)
    return category[:2] == ("SCT", _ANATOMICAL[0]) and kind[1] not in ("", _ANATOMICAL[0])


def codes_of(structure: Structure) -> list[tuple[str, str, str]]:
    """Scheme, value and meaning of category, type, modifier of the type, and region; empty where there is no code."""
    parts = [*structure.terminology.split("~"), *[""] * 6]
    return [(*part.split("^"), "", "", "")[:3] for part in (parts[1], parts[2], parts[3], parts[5])]


@functools.cache
def _table() -> dict[tuple[str, ...], tuple[str, tuple[float, float, float]]]:
    entries = json.loads(resources.files(__package__).joinpath("structures.json").read_text("utf-8"))
    table: dict[tuple[str, ...], tuple[str, tuple[float, float, float]]] = {}
    for entry in entries:
        red, green, blue = (part / 255 for part in entry["color"])
        for side in (None, *_SIDES) if entry.get("paired") else (None,):
            described = _serialize(entry, side), (red, green, blue)
            for name in (entry["name"], *entry.get("aliases", ())):
                table.setdefault(_key(f"{side or ''} {name}"), described)
    return table


def _serialize(entry: dict, side: str | None) -> str:
    if "type" not in entry:
        entry = _UNKNOWN
    in_region = side is not None and "region" in entry
    modifier = entry.get("modifier") if side is None or in_region else _SIDES[side]
    return "~".join(
        (
            _CONTEXTS[entry.get("list", "general")],
            _code(entry.get("category", _ANATOMICAL)),
            _code(entry["type"]),
            _code(modifier),
            _REGIONS,
            _code(entry.get("region")),
            _code(_SIDES[side] if side and in_region else None),
        )
    )


def _code(code: tuple[str, str] | None) -> str:
    return f"SCT^{code[0]}^{code[1]}" if code else "^^"


def _key(name: str) -> tuple[str, ...]:
    """Words of a name in a canonical order and form."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower()
    words = (_SYNONYMS.get(word, word) for word in re.findall(r"[^\W_]+", spaced))
    return tuple(sorted(_singular(word) for word in words if word not in _FILLERS))


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")) else word


def _distinct(number: int) -> tuple[float, float, float]:
    return colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.55 + 0.2 * (number % 2), 0.95 - 0.15 * (number // 2 % 2))
