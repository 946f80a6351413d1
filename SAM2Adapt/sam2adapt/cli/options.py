"""Make the options of a command from the fields of a request, and the request from the options."""

import argparse
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..shared.errors import ClassesError, SettingsError
from ..shared.labels.annotation import LARGEST_CLASS
from ..shared.requests.fields import SHELL, Request, Setting, default_of, is_required, settings_of

# What stands for a value in the help, by the kind of the setting; else the name of the option.
_PLACEHOLDERS = {
    "path": "PATH", "paths": "PATH", "image": "PATH", "split": "FILE", "groups": "FILE", "integer": "N",
    "number": "NUMBER", "names": "NAMES", "some names": "NAMES", "box": "I0,I1,J0,J1,K0,K1",
}  # fmt: skip
_TYPES = {"integer": int, "number": float, "path": Path, "paths": Path, "image": Path, "split": Path, "groups": Path}


def add_options(parser: argparse._ActionsContainer, request: type[Request], *names: str) -> None:
    """Add the arguments of a request; flag, type, default and help come from its fields.

    :param names: add only these fields, in this order.
    """
    groups: dict[str, argparse._ArgumentGroup] = {}
    fields = settings_of(request, SHELL)
    for name in names or fields:
        one = fields[name]
        if one.group and one.group not in groups:
            groups[one.group] = parser.add_argument_group(one.group)
        _add(groups.get(one.group, parser), request, name, one)


def flags_of(name: str, one: Setting) -> tuple[str, ...]:
    """Flags of a field; () for a positional argument."""
    return () if one.positional else one.flags or (f"--{name.replace('_', '-')}",)


def _add(parser: argparse._ActionsContainer, request: type[Request], name: str, one: Setting) -> None:
    flags, default = flags_of(name, one), None if is_required(request, name) else default_of(request, name)
    more: dict[str, Any] = {"help": _help(one, default)}
    if one.kind == "switch":
        more |= {"action": argparse.BooleanOptionalAction if default is None else "store_true", "default": default}
    elif one.kind in ("settings", "slices"):
        more |= {"action": "append", "metavar": one.metavar}
    else:
        more |= {"type": _TYPES.get(one.kind, str), "default": default}
        more["metavar"] = one.metavar or _placeholder(name, one)
        if one.kind == "paths":
            more["nargs"] = "+"
    if flags:
        parser.add_argument(*flags, dest=name, required=is_required(request, name), **more)
    else:
        parser.add_argument(name, **more)


def _help(one: Setting, default: Any) -> str | None:
    """The help text of a setting, with its default."""
    if one.help is None or default in (None, False, "", [], {}):
        return one.help
    return f"{one.help} (default: {default:g})" if one.kind == "number" else f"{one.help} (default: {default})"


def _placeholder(name: str, one: Setting) -> str:
    """What stands for the value in the help: the choices, if there are some. Others are refused by the request."""
    if one.choices and one.kind == "text":
        return "{" + ",".join(one.choices) + "}"
    return _PLACEHOLDERS.get(one.kind, name.upper())


def request_of(args: argparse.Namespace, request: type[Request], **given: Any) -> Any:
    """Make the request from parsed options.

    :param given: values of fields that have no option.
    :raises ClassesError, SettingsError: a text cannot be parsed, or a value is outside its limits.
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
        raise SettingsError(f"'{text}' is not a region.", "Write six whole numbers: i0,i1,j0,j1,k0,k1.", setting=name)
    return numbers


def _pairs(pairs: Iterable[str]) -> dict[str, Any]:
    """Parse ``name=value``; values are JSON, or else text."""
    settings = {}
    for pair in pairs:
        name, _, value = pair.partition("=")
        try:
            settings[name.replace("-", "_")] = json.loads(value)
        except ValueError:
            settings[name.replace("-", "_")] = value
    return settings


def _slices(name: str, texts: Iterable[str]) -> dict[str, list[int]]:
    """Parse ``structure:0,12``.

    :raises SettingsError: a text has another form.
    """
    slices: dict[str, list[int]] = {}
    for text in texts:
        structure, _, places = text.rpartition(":")
        numbers = [part.strip() for part in places.split(",")]
        if not structure.strip() or not all(number.isdecimal() for number in numbers):
            raise SettingsError(
                f"'{text}' does not name slices of a structure.",
                "Write the structure, a colon and slice numbers.",
                setting=name,
                value="liver:0,12",
            )
        slices.setdefault(structure.strip(), []).extend(map(int, numbers))
    return slices


def _classes(text: str) -> list[dict[str, Any]]:
    """Parse ``1=right ventricle,2=myocardium``.

    :raises ClassesError: the text has another form.
    """
    classes = []
    for part in text.split(","):
        value, _, name = (piece.strip() for piece in part.partition("="))
        if not value.isdigit() or not name:
            raise ClassesError(
                f"'{part.strip()}' is not a label value with a class name.",
                f'Write "1=right ventricle,2=myocardium", with values from 1 to {LARGEST_CLASS}.',
                setting="classes",
            )
        classes.append({"id": int(value), "name": name})
    return classes
