"""Add to a remedy the flag or command that does what its sentence says.

The engine's sentences name no flags (``errors.UserError``): "Leave out the base network." becomes "Leave out the base
network (--base)." The flags come from the parser of the command that failed, so they always exist.
"""

import argparse
from collections.abc import Iterator

from ..shared.errors import UserError

# Settings that stand for a command: its words, and the placeholder of its argument.
COMMANDS = {
    "add_model": ("models", "add", "FILE"),
    "download_base": ("models", "download", "BASE"),
    "remove_model": ("models", "remove", "NAME"),
}


def shell_remedy(error: UserError, parser: argparse.ArgumentParser) -> str:
    """The remedy, with flags and commands in brackets; flags that the command does not have are left out.

    :param parser: parser of the command that failed.
    """
    options = {action.dest: _flag(action) for action in _actions(parser)}
    hints = []
    for number, name in enumerate(error.setting):
        value = "" if number or error.value is None else _quoted(error.value)
        if name in COMMANDS:
            *words, placeholder = COMMANDS[name]
            hints.append(" ".join(["sam2adapt", *words, value or placeholder]))
        elif name in options:
            hints.append(f"{options[name]} {value}".rstrip())
    if not hints:
        return error.remedy
    return f"{error.remedy.removesuffix('.')} ({', '.join(hints)})."


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Arguments of a parser and of the sub-commands below it."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _actions(child)
        else:
            yield action


def _flag(action: argparse.Action) -> str:
    """The long flag; for a positional argument, its placeholder in the help."""
    long = [flag for flag in action.option_strings if flag.startswith("--")]
    return long[0] if long else str(action.metavar or action.dest.upper())


def _quoted(text: str) -> str:
    # Double quotes, which both POSIX shells and Windows understand.
    return f'"{text}"' if set(text) & set(" ()&;<>|*?'") else text
