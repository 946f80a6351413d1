"""Model files with changed cards that have the right digest all the same, as a careful attacker makes them."""

import hashlib
import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def read_parts(path: Path) -> tuple[dict[str, Any], bytes]:
    """The header of a safetensors file, metadata and all, and the bytes of its tensors."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + length]), data[8 + length :]


def write_parts(path: Path, header: dict[str, Any], body: bytes) -> None:
    """Write a safetensors file."""
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def digest_of(card: dict[str, Any], header: dict[str, Any], body: bytes) -> str:
    """The digest that a card must have; see ``card.compute_digest``, of which this is an independent writing."""
    found = hashlib.sha256(_canonical({key: value for key, value in card.items() if key != "digest"}) + b"\n")
    for name, tensor in sorted(header.items()):
        if name != "__metadata__":
            start, stop = tensor["data_offsets"]
            found.update(_canonical([name, tensor["dtype"], tensor["shape"]]) + b"\n" + body[start:stop])
    return f"sha256:{found.hexdigest()}"


def rewritten(source: Path, target: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write a model file with a changed card and its right digest."""
    header, body = read_parts(source)
    card = json.loads(header["__metadata__"]["sam2adapt"])
    change(card)
    card["digest"] = digest_of(card, header, body)
    header["__metadata__"]["sam2adapt"] = _text(card)
    write_parts(target, header, body)


def nested(depth: int) -> list:
    """A list in a list in a list."""
    value: list = []
    for _ in range(depth):
        value = [value]
    return value


def _canonical(value: Any) -> bytes:
    return _text(value, sort_keys=True, separators=(",", ":")).encode("utf-8", "surrogatepass")


def _text(value: Any, **options) -> str:
    most = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)  # a number may have thousands of digits
    try:
        return json.dumps(value, ensure_ascii=False, **options)
    finally:
        sys.set_int_max_str_digits(most)
