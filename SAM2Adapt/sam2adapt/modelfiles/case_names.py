"""Names of cases: often those of patients, so a model file calls its cases by numbers, ``case 1``, ``case 2`` …

Which case is which is kept on the machine that trained the model, in ``home()/cases``, for its user alone. A model that
an older version wrote holds the names; it is read as it is, and a copy that is made of it has numbers.
"""

import copy
import json
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..shared import paths
from ..shared.errors import UserError
from ..shared.files import atomic_write, case_names_file
from ..shared.safetensors_header import MODEL_KEY, header_length
from ..shared.safety.private import FILE_MODE, private_folder
from .card import compute_digest

_NEUTRAL = re.compile(r"case \d+")


def names_in(card: dict[str, Any]) -> list[str]:
    """The cases of a card that have names, in the order in which they first occur."""
    return [name for name in dict.fromkeys(_cases(card)) if not _NEUTRAL.fullmatch(name)]


def neutral(card: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """A card whose cases have numbers, and what each number stands for; the numbers are those of the card's order."""
    taken = {name for name in _cases(card) if _NEUTRAL.fullmatch(name)}
    numbers = (f"case {number}" for number in range(1, len(list(_cases(card))) + len(taken) + 2))
    free = (name for name in numbers if name not in taken)
    table = {name: next(free) for name in names_in(card)}
    return _renamed(card, table), {number: name for name, number in table.items()}


def with_names(card: dict[str, Any]) -> dict[str, Any]:
    """A card with the names of its cases, where this machine knows them."""
    return _renamed(card, read_names(card["digest"]))


def read_names(digest: str) -> dict[str, str]:
    """What the numbers of a model's cases stand for; {} where this machine does not know."""
    try:
        table = json.loads(paths.read_text(case_names_file(digest)))
    except (UserError, ValueError):
        return {}
    return table if isinstance(table, dict) and all(isinstance(name, str) for name in table.values()) else {}


def write_names(digest: str, table: dict[str, str], path: Path | None = None) -> None:
    """Keep what the numbers of a model's cases stand for, for this user alone.

    :param path: write it here, beside a model that is given to others for instance.
    :raises OutputError: it cannot be written.
    """
    if path is None:
        path = case_names_file(digest)
        private_folder(path.parent)
    with atomic_write(path, FILE_MODE) as file:
        file.write(json.dumps(table, indent=1).encode())


def with_card(data: bytes, card: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Another card with its digest, and the bytes of a model file with it; the tensors stay as they are."""
    card = {**card, "digest": compute_digest(card, data)}
    length = header_length(data)
    header = json.loads(data[8 : 8 + length])
    header["__metadata__"] = {MODEL_KEY: json.dumps(card, ensure_ascii=False, allow_nan=False)}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format aligns tensors to eight bytes
    return card, struct.pack("<Q", len(text)) + text + data[8 + length :]


def _cases(card: dict[str, Any]) -> Iterator[str]:
    split = card["training"]["split"]
    for part in split.values():
        yield from part  # a list of cases, or a dictionary by case
    for entry in (card["metrics"] or {}).get("cases", ()):
        yield entry["id"]


def _renamed(card: dict[str, Any], table: dict[str, str]) -> dict[str, Any]:
    """A copy of a card in which each case that the table has is called by another name."""
    card = copy.deepcopy(card)
    split = card["training"]["split"]
    for part, cases in split.items():
        if isinstance(cases, dict):
            split[part] = {table.get(name, name): slices for name, slices in cases.items()}
        else:
            split[part] = [table.get(name, name) for name in cases]
    for entry in (card["metrics"] or {}).get("cases", ()):
        entry["id"] = table.get(entry["id"], entry["id"])
    return card
