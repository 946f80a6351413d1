"""What the engine's sources say to users, found without running them: sentences, and the settings of remedies.

A sentence is followed through names, f-strings and the functions of its file that return it.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ENGINE = Path(__file__).resolve().parents[2] / "SAM2Adapt" / "sam2adapt"
# What only a reader at the command line can use: a flag, a command, or its name.
SHELL_WORDS = re.compile(
    r"(?<![\w-])--[a-z]|\bsam2adapt (segment|fill|train|evaluate|rank|models|info|serve|benchmark)\b|command line"
)
TELLING = {"warn", "warning", "say", "info", "log"}


def engine_files() -> list[Path]:
    """The engine's sources."""
    return sorted(ENGINE.rglob("*.py"))


def in_engine(path: Path) -> str:
    """Path of a source below the engine's folder, with "/"."""
    return path.relative_to(ENGINE).as_posix()


def error_names() -> set[str]:
    """Names of the classes of ``errors.py``."""
    tree = ast.parse((ENGINE / "shared" / "errors.py").read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.ClassDef)}


def error_calls(tree: ast.AST) -> Iterator[ast.Call]:
    """Calls that make a ``UserError``."""
    names = error_names()
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) in names)


def sentences(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each piece of a sentence that a source file says in an error, a warning or a report."""
    tree = ast.parse(source)
    sayings = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and _called(node) in TELLING]
    for call in [*error_calls(tree), *sayings]:
        for argument in call.args:
            yield from ((call.lineno, text) for text in _texts(argument, tree, set()))


def settings(source: str) -> Iterator[tuple[int, str]]:
    """Line and name of each setting that an error of a source file names."""
    for call in error_calls(ast.parse(source)):
        for keyword in call.keywords:
            if keyword.arg == "setting":
                yield from ((call.lineno, text) for text in _constants(keyword.value))


def _called(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def _constants(node: ast.AST) -> list[str]:
    return [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]


def _texts(node: ast.AST, tree: ast.AST, seen: set[str]) -> Iterator[str]:
    yield from _constants(node)
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and part.id not in seen:
            seen.add(part.id)
            for value in _values(part.id, tree):
                yield from _texts(value, tree, seen)


def _values(name: str, tree: ast.AST) -> Iterator[ast.AST]:
    """What a name of the file stands for: values given to it, and what a function of that name returns."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == name for target in node.targets):
            if not isinstance(node.value, ast.Call):  # what a function was given is not what it returns
                yield node.value
        elif isinstance(node, ast.FunctionDef) and node.name == name:
            yield from (part.value for part in ast.walk(node) if isinstance(part, ast.Return) and part.value)
