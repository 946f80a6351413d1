"""Fields of requests (``actions.py``): type, default, limits and help text of a setting, each written once.

The options of the command line (``cli/options.py``), the JSON schema of the engine server, the validation, and the
defaults in panels are made from them.
"""

import dataclasses
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import SettingsError

SHELL, SERVER = "shell", "server"
_REQUIRED = dataclasses.MISSING
_METADATA = "setting"
_PATH = {"$ref": "#/$defs/path"}
_NAMES = {"$ref": "#/$defs/names"}

# JSON schema of each kind of value.
KINDS: dict[str, dict] = {
    "text": {"type": "string"},
    "word": {"type": "string", "minLength": 1},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "switch": {"type": "boolean"},
    "path": _PATH,
    "paths": {"type": "array", "items": _PATH, "minItems": 1},
    "model": _PATH,  # name or file
    "names": _NAMES,
    "some names": {**_NAMES, "minItems": 1},
    "box": {"type": "array", "items": {"type": "integer"}, "minItems": 6, "maxItems": 6},
    "image": {"$ref": "#/$defs/input"},
    "image or file": {"oneOf": [{"$ref": "#/$defs/input"}, _PATH]},
    "classes": {"type": "array", "items": {"$ref": "#/$defs/class"}},
    "split": {"$ref": "#/$defs/split"},
    "groups": {"type": "object", "additionalProperties": {"type": "string"}},
    "settings": {"type": "object"},
    "slices": {"type": "object", "additionalProperties": {"$ref": "#/$defs/slices"}},  # by structure
    "gestures": {"type": "array", "items": {"$ref": "#/$defs/gesture"}},
    "id": {"type": ["integer", "string"]},
}


@dataclasses.dataclass(frozen=True)
class Setting:
    """Everything about a field except its name and default.

    :ivar kind: a key of ``KINDS``.
    :ivar help: help on the command line; ``about``: description in the schema, if it differs.
    :ivar minimum, maximum: smallest and largest value; ``above``: the value is larger than this; ``below``: smaller.
    :ivar choices: possible values, or possible elements of a list; ``noun``: a word for one of them.
    :ivar only: ``SHELL`` or ``SERVER`` for a field of the command line only, or of the engine server only.
    :ivar flags: on the command line, if they differ from the name; ``positional``: it has no flag.
    :ivar key: name in the protocol, if it differs from the field's name in camel case.
    :ivar group: heading in the help of the command line.
    :ivar reads: of paths, whether files are read from there; else a file is written there. An engine on another
        computer is sent the first and sends back the second.
    """

    kind: str
    help: str | None = None
    about: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    above: float | None = None
    below: float | None = None
    choices: tuple[str, ...] = ()
    noun: str = ""
    only: str = ""
    flags: tuple[str, ...] = ()
    positional: bool = False
    key: str = ""
    metavar: str | None = None
    group: str = ""
    reads: bool = False

    def check(self, name: str, value: Any) -> None:
        """Refuse a value outside the limits.

        :raises SettingsError: with the same sentence for command line, server and panel.
        """
        if value is None:
            return
        if self.choices:
            for one in value if isinstance(value, list) else [value]:
                if one not in self.choices:
                    raise SettingsError(
                        f"There is no {self.noun or in_words(name)} '{one}'.",
                        f"Choose one of: {', '.join(self.choices)}.",
                        setting=name,
                    )
        if self.kind in ("integer", "number") and not self._holds(value):
            rule = self.rule()
            raise SettingsError(
                f"'{in_words(name)}' cannot be {value}: it must be {rule}.",
                f"Choose a number that is {rule}.",
                setting=name,
            )

    def rule(self) -> str:
        """The limits, as the rest of a sentence."""
        parts = [
            f"{word} {limit:g}"
            for word, limit in (
                ("at least", self.minimum),
                ("above", self.above),
                ("at most", self.maximum),
                ("below", self.below),
            )
            if limit is not None
        ]
        return " and ".join(parts) or "finite"

    def _holds(self, value: float) -> bool:
        return (
            math.isfinite(value)
            and (self.minimum is None or value >= self.minimum)
            and (self.above is None or value > self.above)
            and (self.maximum is None or value <= self.maximum)
            and (self.below is None or value < self.below)
        )

    def schema(self, optional: bool, limits: bool) -> dict:
        """JSON schema of the value.

        :param limits: include the limits that ``check`` tests.
        """
        schema = dict(KINDS[self.kind])
        if limits:
            numbers = (
                ("minimum", self.minimum), ("maximum", self.maximum),
                ("exclusiveMinimum", self.above), ("exclusiveMaximum", self.below),
            )  # fmt: skip
            schema |= {word: limit for word, limit in numbers if limit is not None}
            if self.choices and self.kind == "names":
                schema = {"type": "array", "items": {"enum": list(self.choices)}}
            elif self.choices:
                schema["enum"] = [*self.choices, *([None] if optional else [])]
        if optional:
            schema = {"oneOf": [{"type": "null"}, schema]} if "$ref" in schema else _or_null(schema)
        description = self.about or self.help
        return {**schema, "description": description} if description else schema


def _or_null(schema: dict) -> dict:
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return {**schema, "type": [*types, "null"]}


def setting(kind: str, help: str | None = None, default: Any = _REQUIRED, **more: Any) -> Any:  # noqa: A002
    """Make a field of a request; without ``default``, it is required. For other parameters, see ``Setting``."""
    metadata = {_METADATA: Setting(kind, help, **more)}
    if isinstance(default, list | dict):
        return dataclasses.field(default_factory=default.copy, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


class Request:
    """An action as plain data; base class of the dataclasses in ``actions.py``. Creation checks all limits."""

    def __post_init__(self) -> None:
        for name, one in settings_of(type(self)).items():
            one.check(name, getattr(self, name))

    @classmethod
    def from_params(cls, params: dict[str, Any]) -> "Request":
        """Make a request from parameters that fit the schema.

        :raises SettingsError: a value is outside its limits.
        """
        given = {}
        for name, one in settings_of(cls, SERVER).items():
            if (key := key_of(name, one)) in params:
                given[name] = _value(one, params[key])
        return cls(**given)


def _value(one: Setting, value: Any) -> Any:
    if value is None:
        return None
    if one.kind == "path":
        return Path(value)
    if one.kind == "image or file":
        return Path(value) if isinstance(value, str) else value
    if one.kind == "paths":
        return [Path(path) for path in value]
    if one.kind == "integer":  # JSON schema takes 2.0 for one
        return int(value)
    return tuple(map(int, value)) if one.kind == "box" else value


def settings_of(request: type[Request], side: str = "") -> dict[str, Setting]:
    """The settings of a request by field, in their order.

    :param side: only those of the command line (``SHELL``) or the engine server (``SERVER``).
    """
    settings = {field.name: field.metadata[_METADATA] for field in dataclasses.fields(request)}
    return {name: one for name, one in settings.items() if not side or one.only in ("", side)}


def default_of(request: type[Request], name: str) -> Any:
    """The default of a field; ``dataclasses.MISSING`` if the field is required."""
    field = request.__dataclass_fields__[name]
    return field.default if field.default_factory is _REQUIRED else field.default_factory()


def is_required(request: type[Request], name: str) -> bool:
    """Whether a field has no default."""
    return default_of(request, name) is _REQUIRED


def in_words(name: str) -> str:
    """The name of a field in a sentence."""
    return name.replace("_", " ")


def camel_case(name: str) -> str:
    """A name of the engine in the form of the protocol: ``batch_size`` becomes ``batchSize``."""
    return re.sub("_([a-z])", lambda letter: letter[1].upper(), name)


def key_of(name: str, one: Setting) -> str:
    """The name of a field in the protocol."""
    return one.key or camel_case(name)


def definition(request: type[Request], limits: bool = True) -> dict:
    """JSON schema of the parameters of a request.

    :param limits: include the limits of numbers and choices; without them, only the form of the request is checked.
    """
    fields = settings_of(request, SERVER)
    properties = {
        key_of(name, one): one.schema(optional=default_of(request, name) is None, limits=limits)
        for name, one in fields.items()
    }
    required = [key_of(name, one) for name, one in fields.items() if is_required(request, name)]
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    return {**schema, "required": required} if required else schema


def subclasses(request: type[Request] = Request) -> Iterator[type[Request]]:
    """All requests that are dataclasses."""
    for child in request.__subclasses__():
        if dataclasses.is_dataclass(child):
            yield child
        yield from subclasses(child)
