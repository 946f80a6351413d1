"""Read and check the card of a model file: the description in the header of its ``.safetensors`` file.

This module does not import torch, and lists models without reading their tensors, so that lists appear at once.
"""

import contextlib
import functools
import hashlib
import json
import os
import re
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema
from safetensors import SafetensorError, deserialize

from .. import __version__
from ..shared import known_bases, paths, safetensors_header, strict_json
from ..shared.errors import ModelFileError, OutputError
from ..shared.safetensors_header import BASE_KEY, MODEL_KEY, SCHEMA_VERSION, SUFFIX

FORMAT = "sam2adapt-bundle"
BASE_FORMAT = "sam2adapt-base"
PICKLE_SUFFIXES = (".pt", ".pth", ".ckpt", ".bin", ".pkl")
_PICKLE_STARTS = (b"PK\x03\x04", b"\x80\x02")  # a zip archive, as torch.save writes it, and a bare pickle
_AGAIN = "Get the file again from its source."
_LEAST_CONTRAST = 1e-12  # between the grey levels of black and white: float32 divides by it
_DEEPEST = 32  # lists and dictionaries within each other
_LARGEST_NUMBER = 1 << 63  # of whole numbers, which NumPy and other programs take
_NOT_OURS = "Choose a model file (.safetensors) that SAM2Adapt has written."


@dataclass(frozen=True)
class TensorInfo:
    """Type (as safetensors names it, for example ``F32``) and shape of a stored tensor."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> tuple[dict[str, str], dict[str, TensorInfo]]:
    """Read metadata and the list of tensors of a safetensors file.

    :raises InputFileError: the file is missing or unreadable.
    :raises ModelFileError: it is not a safetensors file, or damaged.
    """
    path = Path(path)
    _check_form(path)
    try:
        metadata, tensors = safetensors_header.read_tensors(path)
    except (ValueError, OSError) as error:
        raise _damaged(path, error) from error
    return metadata, {name: TensorInfo(*info) for name, info in tensors.items()}


def read_card(path: Path) -> dict[str, Any]:
    """Read the card of a bundle from its header, without its tensors.

    :return: the card, see ``schemas/bundle.schema.json``, with its ``digest``.
    :raises InputFileError: the file is missing or unreadable.
    :raises ModelFileError: it is not a bundle, is damaged, or is of a newer version.
    """
    path = Path(path)
    metadata, _ = read_header(path)
    if MODEL_KEY not in metadata:
        what = "holds base weights, not a model" if BASE_KEY in metadata else "was not made by SAM2Adapt"
        raise ModelFileError(f"'{path}' {what}.", _NOT_OURS)
    card = parse_card(metadata[MODEL_KEY], path)
    if isinstance(card, dict):
        _check_version(card, path)
    problem = _problem(card) or (None if "digest" in card else "field 'digest' is missing")
    if problem:
        raise ModelFileError(f"The card of '{path}' is not valid: {problem}.", _AGAIN)
    return card


def read_base_card(path: Path) -> dict[str, Any]:
    """Read the card of a base file of SAM2Adapt (``nano``, for example), with at least ``format`` and ``id``.

    :raises InputFileError: the file is missing or unreadable.
    :raises ModelFileError: it is not a base file.
    """
    path = Path(path)
    metadata, _ = read_header(path)
    if BASE_KEY not in metadata:
        what = "holds a model, not base weights" if MODEL_KEY in metadata else "was not made by SAM2Adapt"
        raise ModelFileError(
            f"'{path}' {what}.", f"Give the name of a base ({', '.join(known_bases.NAMES)}) or a base weight file."
        )
    card = parse_card(metadata[BASE_KEY], path)
    if not isinstance(card, dict) or card.get("format") != BASE_FORMAT or not _is_base_id(card.get("id")):
        raise ModelFileError(f"The card of the base weights '{path}' is not valid.", _AGAIN)
    return card


def validate_card(card: dict[str, Any]) -> None:
    """Check a card before it is written; ``digest`` may be missing.

    :raises ModelFileError: a field is wrong; the message names it.
    """
    if problem := _problem(card):
        raise ModelFileError(f"The model card is not valid: {problem}.", "Correct this field and try again.")


def compute_digest(card: dict[str, Any], data: bytes) -> str:
    """Digest of a card and the tensors in a serialized safetensors file (without its metadata).

    It is the SHA-256 of the card's canonical JSON without ``digest``, followed by the JSON of ``[name, dtype, shape]``
    and the raw little-endian bytes of each tensor, sorted by name. A line feed ends each JSON text.

    :return: ``sha256:`` and 64 hex digits.
    """
    digest = hashlib.sha256(_canonical({key: value for key, value in card.items() if key != "digest"}) + b"\n")
    for name, tensor in sorted(deserialize(data), key=lambda entry: entry[0]):
        digest.update(_canonical([name, tensor["dtype"], list(tensor["shape"])]) + b"\n")
        digest.update(tensor["data"])
    return f"sha256:{digest.hexdigest()}"


def verify_digest(path: Path, card: dict[str, Any], data: bytes) -> None:
    """Check that the tensors of a bundle are those that its card was written with.

    :raises ModelFileError: the file was changed or damaged.
    """
    try:
        same = compute_digest(card, data) == card["digest"]
    except SafetensorError as error:
        raise _damaged(path, error) from error
    if not same:
        raise ModelFileError(f"'{path}' was changed after it was made: its contents do not match its digest.", _AGAIN)


def read_verified_card(path: Path) -> dict[str, Any]:
    """Read the card of a bundle and check the digest of all its tensors, without decoding them.

    :raises ModelFileError: as ``read_card``, or the file was changed after it was made.
    """
    return read_verified(path)[0]


def read_verified(path: Path) -> tuple[dict[str, Any], bytes]:
    """As ``read_verified_card``, and the bytes of the whole file that were checked."""
    card = read_card(path)
    data = read_bytes(path)
    verify_digest(path, card, data)
    return card, data


def read_bytes(path: Path) -> bytes:
    """Read all bytes of a file.

    :raises InputFileError: the file cannot be read.
    """
    return paths.read_bytes(path)


def parse_card(text: str, path: Path) -> Any:
    """Parse a card's JSON text.

    :raises ModelFileError: the text is not JSON, see ``strict_json.loads``.
    """
    try:
        return strict_json.loads(text)
    except ValueError as error:
        raise ModelFileError(f"The card of '{path}' is not readable JSON: {error}.", _AGAIN) from error


@functools.cache
def _validator() -> jsonschema.protocols.Validator:
    schema = json.loads((Path(__file__).parent / "schemas" / "bundle.schema.json").read_text("utf-8"))
    return jsonschema.Draft202012Validator(schema)


def _canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def _is_base_id(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", value) is not None


def _check_form(path: Path) -> None:
    """Refuse a file that is clearly not a complete safetensors file, and say what it is instead."""
    with paths.open_file(path) as file:
        start = file.read(9)
        size = os.fstat(file.fileno()).st_size
    if is_pickle(start):
        raise ModelFileError(
            f"'{path}' is a PyTorch pickle, which can run code and is never read as a model.", _NOT_OURS
        )
    if size < 9 or start[8:9] != b"{":
        raise ModelFileError(f"'{path}' is not a safetensors file.", _NOT_OURS)
    length = safetensors_header.header_length(start)
    if length > safetensors_header.LONGEST:
        raise ModelFileError(f"'{path}' is damaged: its header claims to be {length} bytes long.", _AGAIN)
    if 8 + length > size:
        raise ModelFileError(f"'{path}' is cut off inside its header ({size} of more than {8 + length} bytes).", _AGAIN)


def is_pickle(start: bytes) -> bool:
    """Whether a file with these first bytes is a pickle, which can run code when it is read."""
    return start.startswith(_PICKLE_STARTS)


def check_model_name(path: Path) -> None:
    """Refuse a name that a model file cannot have.

    :raises OutputError: it has another suffix.
    """
    if path.suffix != SUFFIX:
        raise OutputError(f"'{path}' is not a name for a model file.", f"Choose a name that ends in {SUFFIX}.")


def _damaged(path: Path, error: Exception) -> ModelFileError:
    """The error for a file that safetensors refuses; most often, its end is missing."""
    with contextlib.suppress(OSError, ValueError):
        expected = safetensors_header.expected_size(path)
        if (size := paths.check_file(path).st_size) < expected:
            return ModelFileError(f"'{path}' is cut off: it has {size} of {expected} bytes.", _AGAIN)
    return ModelFileError(f"'{path}' is damaged ({str(error)[:200]}).", _AGAIN)


def _check_version(card: dict[str, Any], path: Path) -> None:
    version = card.get("schema_version")
    if not isinstance(version, int) or version <= SCHEMA_VERSION:
        return
    # A newer card may keep the version of its writer in another place.
    writer = None
    with contextlib.suppress(KeyError, TypeError):
        writer = card["training"]["software"]["sam2adapt"]
    needed = f"SAM2Adapt {writer}" if isinstance(writer, str) else "a newer SAM2Adapt"
    raise ModelFileError(
        f"'{path}' was written by {needed} (file version {version}); this is SAM2Adapt {__version__}, which reads"
        f" file versions up to {SCHEMA_VERSION}.",
        f"Update SAM2Adapt{f' to {writer} or later' if isinstance(writer, str) else ''}.",
    )


def _problem(card: Any) -> str | None:
    """What is wrong with a card, as the rest of a sentence; None if nothing is."""
    try:
        if strange := _impossible(card):
            return strange
        plain = json.loads(_canonical(card))
        error = jsonschema.exceptions.best_match(_validator().iter_errors(plain))
    except UnicodeEncodeError:
        return "it holds characters that no text can hold"
    except RecursionError:
        return "it is nested too deeply"
    if error is not None:
        field = error.json_path.removeprefix("$").removeprefix(".")
        return f"{f'field {field!r}' if field else 'the card'}: {_shortened(error.message)}"
    return _contradiction(plain)


def _impossible(card: Any) -> str | None:
    """The first value that no field may have: NaN, infinity, a whole number of more than 64 bits, nesting too deep."""
    waiting = [("", card, 0)]
    while waiting:
        field, value, depth = waiting.pop()
        if isinstance(value, float) and not abs(value) < float("inf"):
            return f"field '{field}' is not a finite number (use null)"
        if isinstance(value, int) and not -_LARGEST_NUMBER <= value < _LARGEST_NUMBER:
            return f"field '{field}' is a whole number of more than 64 bits"
        if isinstance(value, dict):
            inside = [(f"{field}.{key}" if field else str(key), item) for key, item in value.items()]
        elif isinstance(value, list | tuple):
            inside = [(f"{field}[{index}]", item) for index, item in enumerate(value)]
        else:
            continue
        if depth == _DEEPEST:
            return f"field '{field[:100]}…' is nested too deeply"
        waiting += [(name, item, depth + 1) for name, item in inside]
    return None


def _contradiction(card: dict[str, Any]) -> str | None:
    """Fields that contradict each other, which a schema cannot express; None if none do."""
    names = [entry["name"] for entry in card["classes"]]
    ids = [entry["id"] for entry in card["classes"]]
    for name in (card["name"], *names):
        if not name.isprintable() or name != name.strip():
            return f"the name {name!r} has line breaks, control characters or spaces at its ends"
    if len({name.casefold() for name in names}) < len(names):
        return "two of its classes have the same name"
    if len(set(ids)) < len(ids):
        return "two of its classes have the same id"
    for step in ("largest_together", "largest_component", "fill_holes"):
        if strange := sorted(set(card["postprocessing"].get(step, [])) - set(ids)):
            return f"field 'postprocessing.{step}' names class {strange[0]}, which the model does not have"
    slices, normalization = card["slices"], card["slices"]["normalization"]
    if slices["spacing"] is None and slices["size"] is None:
        return "of fields 'slices.spacing' and 'slices.size' one must be given"
    if not normalization["high"] - normalization["low"] > _LEAST_CONTRAST:
        return "field 'slices.normalization.low' is not below 'high'"
    if normalization["kind"] == "percentile" and not 0 <= normalization["low"] < normalization["high"] <= 100:
        return "field 'slices.normalization' has percentiles outside 0..100"
    try:
        datetime.fromisoformat(card["created"])
    except ValueError:
        return f"field 'created' is not a date: '{card['created']}'"
    return None


def _shortened(text: str, length: int = 200) -> str:
    """A sentence without its middle, which is the value that is wrong; its end says why."""
    return text if len(text) <= length else f"{text[: length // 2]}…{text[-length // 2 :]}"
