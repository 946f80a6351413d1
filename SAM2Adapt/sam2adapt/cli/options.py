"""The options of a command, made from the fields of a request, and the request that they ask for."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..shared.annotation import LARGEST_CLASS
from ..shared.errors import ClassesError, SettingsError
from ..shared.requests.fields import SHELL, Request, Setting, default_of, is_required, settings_of

_TYPES = {"integer": int, "number": float, "path": Path, "paths": Path, "image": Path, "split": Path, "groups": Path}


def add_options(parser: argparse._ActionsContainer, request: type[Request], *names: str) -> None:
    """Add the arguments of a request: flag, type, default and help come from its fields.

    :param names: only these fields, in this order.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    fields = settings_of(request, SHELL)
    for name in names or fields:
        one = fields[name]
        if one.group and one.group not in groups:
            groups[one.group] = parser.add_argument_group(one.group)
        _add(groups.get(one.group, parser), request, name, one)


def flags_of(name: str, one: Setting) -> tuple[str, ...]:
    """Flags of a field; none for a positional argument."""
    return () if one.positional else one.flags or (f"--{name.replace('_', '-')}",)


def _add(parser: argparse._ActionsContainer, request: type[Request], name: str, one: Setting) -> None:
    flags, default = flags_of(name, one), None if is_required(request, name) else default_of(request, name)
    more: dict[str, Any] = {"help": one.help}
    if one.kind == "switch":
        more |= {"action": argparse.BooleanOptionalAction if default is None else "store_true", "default": default}
    elif one.kind in ("settings", "slices"):
        more |= {"action": "append", "metavar": one.metavar}
    else:
        more |= {"type": _TYPES.get(one.kind, str), "default": default}
        more["metavar"] = one.metavar or _placeholder(name, flags, one)
        if one.kind == "paths":
            more["nargs"] = "+"
    if flags:
        parser.add_argument(*flags, dest=name, required=is_required(request, name), **more)
    else:
        parser.add_argument(name, **more)


def _placeholder(name: str, flags: tuple[str, ...], one: Setting) -> str:
    """What stands for the value in the help. The request refuses other choices, in the same words everywhere."""
    if one.choices and one.kind == "text":
        return "{" + ",".join(one.choices) + "}"
    return flags[-1].lstrip("-").replace("-", "_").upper() if flags else name


def request_of(args: argparse.Namespace, request: type[Request], **given: Any) -> Any:
    """The request that the options ask for.

    :param given: fields that no option has.
    :raises ClassesError, SettingsError: a text that is not of its form, or a value outside its limits.
    """
    fields = settings_of(request, SHELL)
    values = {name: _value(name, one, getattr(args, name)) for name, one in fields.items() if hasattr(args, name)}
    return request(**values | given)


def _value(name: str, one: Setting, text: Any) -> Any:
    if one.kind == "settings":
        return _pairs(text or [])
    if one.kind == "slices":
        return _slices(name, text or [])
    if not isinstance(text, str):
        return text
    if one.kind in ("names", "some names"):
        return _names(text)
    if one.kind == "box":
        return _box(name, text)
    if one.choices:
        return next((choice for choice in one.choices if choice.lower() == text.lower()), text)
    return _classes(text) if one.kind == "classes" else text


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _box(name: str, text: str) -> tuple[int, ...]:
    try:
        numbers = tuple(int(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != 6:
        raise SettingsError(f"'{text}' is no region.", "Write six whole numbers: i0,i1,j0,j1,k0,k1.", setting=name)
    return numbers


def _pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """The settings that ``name=value`` say; values are JSON, or text."""
    settings = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            settings[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            settings[name.replace("-", "_")] = value
    return settings


def _slices(name: str, texts: Iterable[str]) -> dict[str, list[int]]:
    """The slices that each ``structure:0,12`` names.

    :raises SettingsError: not of this form.
    """
    found: dict[str, list[int]] = {}
    for text in texts:
        structure, _, places = text.rpartition(":")
        numbers = [part.strip() for part in places.split(",")]
        if not structure.strip() or not all(number.isdecimal() for number in numbers):
            raise SettingsError(
                f"'{text}' does not name slices of a structure.",
                "Write the structure, a colon and the numbers of slices.",
                setting=name,
                value="liver:0,12",
            )
        found.setdefault(structure.strip(), []).extend(map(int, numbers))
    return found


def _classes(text: str) -> list[dict[str, Any]]:
    """Read ``1=right ventricle,2=myocardium``.

    :raises ClassesError: not of this form.
    """
    classes = []
    for part in text.split(","):
        value, _, name = (piece.strip() for piece in part.partition("="))
        if not value.isdigit() or not name:
            raise ClassesError(
                f"'{part.strip()}' is not a label value with the name of a class.",
                f'Write "1=right ventricle,2=myocardium", with values from 1 to {LARGEST_CLASS}.',
                setting="classes",
            )
        classes.append({"id": int(value), "name": name})
    return classes
