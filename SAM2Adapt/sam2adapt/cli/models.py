"""The sub-commands ``models`` and ``info``. They answer at once: torch is not imported."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from ..modelfiles import catalog
from ..modelfiles.bases import BASES, NANO, base_file, base_present, check_base, file_sha256, official_info
from ..modelfiles.card import BASE_METADATA_KEY, METADATA_KEY, read_base_card, read_header, read_verified_card
from ..modelfiles.summary import describe_base, describe_card, describe_official, parameter_count
from ..shared import paths
from ..shared.files import megabytes
from .progress import Bar

_JSON_HELP = "print JSON instead of text"


def add_models_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``models`` with ``list`` (the default), ``add``, ``remove`` and ``download``."""
    parser = subparsers.add_parser(
        "models",
        help="list, add and remove models; get base weights",
        description="The models on this machine: those that come with SAM2Adapt and your own. Without a command: list.",
    )
    parser.add_argument("--json", action="store_true", help=_JSON_HELP)
    parser.set_defaults(run=_list)
    commands = parser.add_subparsers(metavar="COMMAND")

    def command(name: str, run: Any, help_text: str) -> argparse.ArgumentParser:
        child = commands.add_parser(name, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}.")
        # SUPPRESS: without it the child's default would undo `models --json list`.
        child.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=_JSON_HELP)
        child.set_defaults(run=run)
        return child

    command("list", _list, "list all models and base weights")
    command("add", _add, "check a model file and copy it to your own models").add_argument(
        "file", type=Path, metavar="FILE", help="model file (.safetensors)"
    )
    command("remove", _remove, "delete one of your own models, or downloaded base weights").add_argument(
        "name", metavar="NAME", help=f"NAME or NAME@VERSION of a model, or a base: {', '.join(BASES)}"
    )
    child = command("download", _download, "get official base weights, which some models and trainings need")
    child.add_argument("base", metavar="BASE", help=", ".join(f"{i.id} ({megabytes(i.bytes)})" for i in BASES.values()))
    child.add_argument("--from", dest="source", metavar="FILE", help="take them from a local copy or another address")


def add_info_parser(subparsers: argparse._SubParsersAction) -> None:
    """Add ``info``."""
    parser = subparsers.add_parser(
        "info",
        help="say what a model or weight file is",
        description="Say what a model or weight file is: structures, training, measured Dice, licence. It is checked as"
        " a whole (digest, SHA-256); no code in it is ever run.",
    )
    parser.add_argument("bundle", metavar="BUNDLE", help="name of a model or base, or a file (.safetensors, .pt)")
    parser.add_argument("--json", action="store_true", help=_JSON_HELP)
    parser.set_defaults(run=_info)


def _list(args: argparse.Namespace) -> None:
    models = [_row(entry) for entry in catalog.list_models()]
    bases = [base_row(base_id) for base_id in (NANO, *BASES)]
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


def _row(entry: catalog.ModelEntry) -> dict[str, Any]:
    card = entry.card
    return {
        "name": entry.name,
        "version": entry.version,
        "structures": [item["name"] for item in card["classes"]] if card else [],
        "modality": card["modality"] if card else None,
        "dice": entry.dice,
        "base": card["base"]["id"] if card else None,
        "base_present": entry.base_present,
        "license": card["license"] if card else None,
        "where": entry.where,
        "path": str(entry.path),
        "error": str(entry.error) if entry.error else None,
    }


def base_row(base_id: str) -> dict[str, Any]:
    present = base_present(base_id)
    info = BASES.get(base_id)
    return {
        "id": base_id,
        "present": present,
        "path": str(base_file(base_id)) if present else None,
        "bytes": info.bytes if info else None,
        "url": info.url if info else None,
        "license": info.license if info else None,
    }


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
    """The first names, and how many more there are."""
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def _add(args: argparse.Namespace) -> None:
    path = catalog.add_model(args.file)
    card = read_verified_card(path)
    if args.json:
        _print_json({"name": card["name"], "version": card["version"], "path": str(path)})
    else:
        print(f"'{card['name']}' {card['version']} is now one of your models: {path}")


def _remove(args: argparse.Namespace) -> None:
    if args.name in BASES:
        paths = catalog.remove_base(args.name)
    else:
        paths = [catalog.remove_model(args.name)]
    if args.json:
        _print_json({"removed": [str(path) for path in paths]})
    else:
        print("\n".join(f"Deleted {path}" for path in paths))


def _download(args: argparse.Namespace) -> None:
    bar = None

    def progress(done: int, total: int) -> None:
        nonlocal bar
        bar = bar or Bar(f"Getting '{args.base}'", "%")
        bar.update(100 * done / total, 100, f"{megabytes(done)} of {megabytes(total)}")

    try:
        path = catalog.download_base(args.base, args.source, progress)
    finally:
        if bar is not None:
            bar.close()
    if args.json:
        _print_json({"base": args.base, "path": str(path)})
    else:
        print(f"'{args.base}' is here and checked: {path}")


def _info(args: argparse.Namespace) -> None:
    found, lines = describe_file(args.bundle)
    if args.json:
        _print_json(found)
    else:
        print("\n".join(lines))
        if found["kind"] == "official-base" and not found["path"]:
            print(f"Download it with `sam2adapt models download {found['id']}`.")


def describe_file(name: str) -> tuple[dict[str, Any], list[str]]:
    """Describe a model, base or file, for JSON and for people."""
    if name in BASES and not base_present(name):
        return _official(name, None)
    if name in BASES or name == NANO:
        path = base_file(name)
    else:
        path = catalog.find_model(name)
    if official := official_info(path):
        return _official(official.id, path)
    if path.suffix.lower() != catalog.SUFFIX:
        check_base(path)
    metadata, tensors = read_header(path)
    about = {"path": str(path), "bytes": paths.check_file(path).st_size, "parameters": parameter_count(tensors)}
    if BASE_METADATA_KEY in metadata and METADATA_KEY not in metadata:
        card, digest = read_base_card(path), file_sha256(path)
        found = {"kind": "base", **about, "sha256": digest, "card": card}
        return found, describe_base(card, tensors, about["bytes"], digest)
    card = read_verified_card(path)
    present = base_present(card["base"]["id"], card["base"]["sha256"])
    lines = describe_card(card, tensors, about["bytes"])
    lines += ["", f"Base '{card['base']['id']}' is {_presence(present)} on this machine. File: {path}"]
    return {"kind": "model", **about, "base_present": present, "card": card}, lines


def _official(base_id: str, path: Path | None) -> tuple[dict[str, Any], list[str]]:
    info = BASES[base_id]
    found = {"kind": "official-base", "path": str(path) if path else None, **vars(info)}
    return found, describe_official(info, path)


def _print_json(value: Any) -> None:
    text = json.dumps(value, ensure_ascii=False, indent=2)
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeError:  # the stream's own escapes would not be JSON
        text = json.dumps(value, indent=2)
    print(text)
