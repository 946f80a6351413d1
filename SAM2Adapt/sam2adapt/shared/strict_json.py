"""JSON that means the same to every reader: what Python accepts beyond the standard is refused."""

import json
import math
from typing import Any


def loads(text: str | bytes) -> Any:
    """Parse JSON; refuse NaN and infinity, numbers too large for a float, and objects with a repeated key.

    :raises ValueError: the text is not such JSON.
    """
    try:
        return json.loads(text, parse_constant=_refuse, parse_float=_finite, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text} is too large a number")
    return number


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(content := dict(pairs)) < len(pairs):
        raise ValueError("a key occurs twice")
    return content
