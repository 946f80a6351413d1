"""The sub-commands ``models`` and ``info``. They answer at once, because they do not import torch."""

import argparse
import json
import sys
from typing import Any

from ..requests import models as carry_out
from ..shared.files import megabytes
from ..shared.known_bases import BASES
from ..shared.requests.model_actions import (
    AddModel,
    DescribeModel,
    DownloadBase,
    ListBases,
    ListModels,
    RemoveBase,
    RemoveModel,
)
from .options import add_options, request_of
from .progress import Bar

_JSON_HELP = "print JSON instead of text"


def add_models_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``models`` with ``list`` (the default), ``add``, ``remove`` and ``download``."""
    parser = subparsers.add_parser(
        "models",
        help="list, add and remove models; download base weights",
        description="Manage the models on this machine: those that come with SAM2Adapt and those that you added."
        " Without a command: list them.",
    )
    parser.add_argument("--json", action="store_true", help=_JSON_HELP)
    parser.set_defaults(run=_list)
    commands = parser.add_subparsers(metavar="COMMAND")

    def command(name: str, run: Any, help_text: str) -> argparse.ArgumentParser:
        child = commands.add_parser(name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.")
        # Without SUPPRESS, the default of the sub-command would undo `models --json list`.
        child.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=_JSON_HELP)
        child.set_defaults(run=run)
        return child

    command("list", _list, "list all models and base weights")
    add_options(command("add", _add, "check a model file and copy it to your models"), AddModel)
    add_options(command("remove", _remove, "delete a model that you added, or downloaded base weights"), RemoveModel)
    text = "download official base weights, which some models and trainings need"
    add_options(command("download", _download, text), DownloadBase)


def add_info_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``info``."""
    parser = subparsers.add_parser(
        "info",
        help="describe a model or weight file",
        description="Describe a model or weight file: structures, training, measured Dice, licence. The whole file is"
        " checked (digest, SHA-256). Code in it never runs.",
    )
    add_options(parser, DescribeModel)
    parser.add_argument("--json", action="store_true", help=_JSON_HELP)
    parser.set_defaults(run=_info)


def _list(args: argparse.Namespace) -> None:
    models, bases = carry_out.list_models(ListModels()), carry_out.list_bases(ListBases())
    if args.json:
        _print_json({"models": models, "bases": bases})
        return
    if models:
        print(_table(models))
    else:
        print("No models yet. Add one with `sam2adapt models add FILE`, or train one with `sam2adapt train`.")
    for row in models:
        if row["error"]:
            print(f"\n{row['error']}")
    print("\nBases: " + ", ".join(f"{row['id']} ({_presence(row['present'])})" for row in bases))


def _presence(present: bool) -> str:
    return "present" if present else "missing"


def _table(models: list[dict[str, Any]]) -> str:
    lines = [("NAME", "VERSION", "STRUCTURES", "MODALITY", "DICE", "BASE", "LICENCE", "WHERE")]
    for row in models:
        if row["error"]:
            lines.append((row["name"], "", "broken, see below", "", "", "", "", row["where"]))
            continue
        dice = "-" if row["dice"] is None else f"{row['dice']:.3f}"
        base = f"{row['base']} ({_presence(row['base_present'])})"
        structures = _some(row["structures"])
        lines.append(
            (row["name"], row["version"], structures, row["modality"], dice, base, row["license"], row["where"])
        )
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(line, widths, strict=True)).rstrip() for line in lines)


def _some(names: list[str], most: int = 3) -> str:
    """The first names, and the number of the others."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _add(args: argparse.Namespace) -> None:
    row = carry_out.add_model(request_of(args, AddModel))
    if args.json:
        _print_json(row)
    else:
        print(f"'{row['name']}' {row['version']} is now one of your models: {row['path']}")


def _remove(args: argparse.Namespace) -> None:
    if args.name in BASES:
        removed = carry_out.remove_base(RemoveBase(base=args.name))
    else:
        removed = carry_out.remove_model(request_of(args, RemoveModel))
    if args.json:
        _print_json({"removed": [str(path) for path in removed]})
    else:
        print("\n".join(f"Deleted {path}" for path in removed))


def _download(args: argparse.Namespace) -> None:
    bar = None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        bar = bar or Bar(f"Downloading '{args.base}'", "%")
        bar.update(100 * done / total, 100, f"{megabytes(done)} of {megabytes(total)}")

    try:
        path = carry_out.download_base(request_of(args, DownloadBase), progress)
    finally:
        if bar is not None:
            bar.close()
    if args.json:
        _print_json({"base": args.base, "path": str(path)})
    else:
        print(f"'{args.base}' is downloaded and checked: {path}")


def _info(args: argparse.Namespace) -> None:
    facts, lines = carry_out.describe_model(request_of(args, DescribeModel))
    if args.json:
        _print_json(facts)
    else:
        print("\n".join(lines))
        if facts["kind"] == "official-base" and not facts["path"]:
            print(f"Download it with `sam2adapt models download {facts['id']}`.")


def _print_json(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeError:  # the escapes that the stream writes are not JSON
        text = json.dumps(value, indent=2)
    print(text)
