"""Model files taken apart and put together, with the right digest all the same, as a careful attacker makes them."""

import hashlib
import json
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CARD = "sam2adapt"


@dataclass
class Parts:
    """A safetensors file in parts.

    :ivar tensors: type, shape and bytes of each tensor, in the order of the bytes.
    :ivar listed: names in the order of the header, if it is another; ``padding``: its length is a multiple of this;
        ``indent``: of its JSON.
    """

    tensors: dict[str, tuple[str, list[int], bytes]]
    metadata: dict[str, str]
    listed: list[str] = field(default_factory=list)
    padding: int = 8
    indent: int | None = None

    @property
    def card(self) -> dict[str, Any]:
        """The model's card."""
        return json.loads(self.metadata[_CARD])

    def put_card(self, card: dict[str, Any]) -> None:
        """Give the model another card."""
        self.metadata = {**self.metadata, _CARD: _text(card)}

    def body(self) -> bytes:
        """The bytes of all tensors."""
        return b"".join(data for _, _, data in self.tensors.values())

    def header(self) -> dict[str, Any]:
        """What the file says of its tensors, and its metadata."""
        entries, start = {}, 0
        for name, (kind, shape, data) in self.tensors.items():
            entries[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, start + len(data)]}
            start += len(data)
        return {"__metadata__": self.metadata} | {name: entries[name] for name in self.listed or entries}

    def digest(self, card: dict[str, Any]) -> str:
        """The digest that a card must have; see ``card.compute_digest``, of which this is an independent writing."""
        found = hashlib.sha256(_canonical({key: value for key, value in card.items() if key != "digest"}) + b"\n")
        for name, (kind, shape, data) in sorted(self.tensors.items()):
            found.update(_canonical([name, kind, shape]) + b"\n" + data)
        return f"sha256:{found.hexdigest()}"


def read_parts(path: Path) -> Parts:
    """Take a safetensors file apart."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header, body = json.loads(data[8 : 8 + length]), data[8 + length :]
    metadata = header.pop("__metadata__", {})
    rows = sorted(header.items(), key=lambda row: row[1]["data_offsets"])
    return Parts(
        {name: (row["dtype"], row["shape"], body[slice(*row["data_offsets"])]) for name, row in rows}, metadata
    )


def write_parts(path: Path, parts: Parts, header: dict[str, Any] | None = None, body: bytes | None = None) -> None:
    """Write a safetensors file, perhaps with another header or body."""
    text = json.dumps(parts.header() if header is None else header, indent=parts.indent).encode()
    text += b" " * (-len(text) % parts.padding)
    path.write_bytes(struct.pack("<Q", len(text)) + text + (parts.body() if body is None else body))


def rewritten(source: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write a model file with a changed card and its right digest."""
    parts = read_parts(source)
    card = parts.card
    change(card)
    card["digest"] = parts.digest(card)
    parts.put_card(card)
    write_parts(target, parts)


def nested(depth: int) -> list:
    """A list in a list in a list."""
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def _canonical(value: Any) -> bytes:
    return _text(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode("utf-8", "surrogatepass")


def _text(value: Any, **options) -> str:
    most = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)  # a number may have thousands of digits
    try:
        return json.dumps(value, **options)
    finally:
        sys.set_int_max_str_digits(most)
