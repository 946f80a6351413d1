"""Model files of this computer when the engine is on another one: that one checks them, here they are kept."""

import os
import re
from pathlib import Path

from sam2adapt.shared import files, model_cards, paths
from sam2adapt.shared.errors import ModelNotFoundError, SettingsError
from sam2adapt.shared.safetensors_header import MODEL_KEY, SUFFIX, read_metadata
from sam2adapt.shared.strict_json import loads

from SAM2AdaptLib.Engine.Remote import Outgoing


def add(checked):
    """Put a model that the engine has checked among the user's.

    :param checked: path of the file that the engine wrote.
    :return: the row of the model, as the engine's ``addModel`` gives it.
    :raises SettingsError: another model has its name and version.
    :raises OutputError: it cannot be written.
    """
    card = _card(checked)
    exact = model_cards.full_name(card["name"], card["version"])
    folder = files.make_folder(files.models_folder())
    for path in sorted(paths.listing(folder)):
        known = Outgoing.cardOf(path) if path.suffix == SUFFIX else None
        if known is None or model_cards.full_name(*known).casefold() != exact.casefold():
            continue
        if _card(path)["digest"] == card["digest"]:
            return _row(card, path)
        raise SettingsError(
            f"Another model '{card['name']}' of version {card['version']} exists already: '{path}'.",
            "Give this one another version, or remove the other one first.",
            setting="remove_model",
            value=exact,
        )
    while True:
        target = _freeName(folder, exact)
        try:
            with files.atomic_write(target, replace=False) as file:
                file.write(paths.read_bytes(checked))
        except FileExistsError:
            continue
        return _row(card, target)


def remove(name):
    """Delete one of the user's models, with the slices of its training and the names of its cases.

    :return: path of the deleted file.
    :raises ModelNotFoundError: the user has no such model. :raises SettingsError: several are called so.
    """
    folder = files.models_folder()
    known = {path: card for path in paths.listing(folder)
             if path.suffix == SUFFIX and (card := Outgoing.cardOf(path))}  # fmt: skip
    found = [path for path, card in known.items() if model_cards.is_called(name, *card)]
    found = found or [path for path in paths.listing(folder) if name in (path.name, os.fspath(path))]
    if not found:
        raise ModelNotFoundError(f"'{name}' is not one of your models.", "Remove only models that you added.")
    if len(found) > 1:
        choices = ", ".join(path.name for path in found)
        raise SettingsError(f"{len(found)} models are called '{name}'.", f"Give the file name of one: {choices}.")
    path = found[0]
    digest = _card(path)["digest"] if path in known else None
    try:
        path.unlink()
        if digest and not any(_card(other)["digest"] == digest for other in known if other != path):
            for kept in files.KEPT_WITH_MODELS.values():
                kept(digest).unlink(missing_ok=True)
    except OSError as error:
        raise files.output_error(path, error) from error
    return path


def _card(path):
    return loads(read_metadata(Path(path))[MODEL_KEY])


def _row(card, path):
    dice = card["metrics"]["dice"] if card["metrics"] else None
    texts = {key: card[key] or "" for key in ("description", "modality", "license", "digest")}
    return {
        "name": card["name"], "version": card["version"], "path": os.fspath(path), "where": model_cards.OWN,
        "structures": [entry["name"] for entry in card["classes"]], "dice": dice, "problem": None,
        "base": card["base"]["id"], "method": card["method"]["name"], **texts,
    }  # fmt: skip


def _freeName(folder, exact):
    """An unused file name that every file system accepts."""
    stem = re.sub(r"[^a-z0-9.]+", "-", exact.casefold()).strip("-.") or "model"
    path, number = folder / f"{stem}{SUFFIX}", 2
    while paths.exists(path):
        path, number = folder / f"{stem}-{number}{SUFFIX}", number + 1
    return path
