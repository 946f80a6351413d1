"""Models known on this machine: those that come with SAM2Adapt and the user's own.

Nothing is overridden silently: models of one name are all listed. A name finds the user's own model before a bundled
one, and among the user's own the newest; ``NAME@VERSION`` or a path finds any other.
"""

import difflib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..shared import files, model_cards, paths
from ..shared.errors import InputFileError, ModelFileError, ModelNotFoundError, SettingsError, UserError
from ..shared.files import bundled_folder, home, models_folder
from ..shared.model_cards import OWN, full_name
from ..shared.safetensors_header import BASE_KEY, MODEL_KEY, SUFFIX
from .bases import base_file, base_present, download_base, file_sha256, remove_base
from .card import PICKLE_SUFFIXES, check_model_name, read_bytes, read_card, read_header, read_verified_card

__all__ = [
    "ModelEntry", "add_model", "base_file", "base_present", "bundled_folder", "download_base",
    "export_model", "file_sha256", "find_model", "home", "list_models", "models_folder", "remove_base", "remove_model",
]  # fmt: skip

# What ends like this is meant as a file, also where there is none.
_FILE_SUFFIXES = (SUFFIX, *PICKLE_SUFFIXES)


@dataclass(frozen=True)
class ModelEntry:
    """A model file in one of the two folders; ``card`` is None and ``error`` says why when it is broken."""

    path: Path
    where: str
    card: dict[str, Any] | None
    error: UserError | None = None

    @property
    def name(self) -> str:
        """The name in the card; that of the file when it is broken."""
        return self.card["name"] if self.card else self.path.stem

    @property
    def version(self) -> str:
        """The version in the card; empty when it is broken."""
        return self.card["version"] if self.card else ""

    @property
    def dice(self) -> float | None:
        """Mean Dice (0..1) measured on the cases kept for validation; None when not measured."""
        return model_cards.mean_dice(self.card) if self.card else None

    @property
    def base_present(self) -> bool:
        """Whether the base weights that it needs are on this machine."""
        return self.card is not None and base_present(self.card["base"]["id"], self.card["base"]["sha256"])


def list_models() -> list[ModelEntry]:
    """List every model file, broken ones too, in the order in which names are looked up: own, newest, bundled."""
    entries = []
    for folder, where in model_cards.model_folders():
        candidates = [path for path in paths.listing(folder) if path.suffix == SUFFIX]
        found = [entry for path in candidates if (entry := _entry(path, where))]
        entries += sorted(found, key=_created, reverse=True)
    return entries


def find_model(name_or_path: str | Path) -> Path:
    """Find a model by path, ``NAME`` or ``NAME@VERSION`` (upper and lower case are the same).

    :raises ModelNotFoundError: none of that name; close names are suggested.
    :raises ModelFileError: the only model of that name is broken.
    :raises InputFileError: it is a path and there is no such file.
    """
    text = str(name_or_path)
    entries = list_models()
    matches = _matches(entries, text)
    usable = [entry for entry in matches if entry.card]
    # A name in the catalog goes before a file of that name in the folder where one happens to stand.
    if usable and not isinstance(name_or_path, Path):
        return usable[0].path
    path = paths.expand(name_or_path)
    if paths.is_file(path):
        return path
    if matches and matches[0].error:
        raise matches[0].error
    if isinstance(name_or_path, Path) or path.suffix in _FILE_SUFFIXES or {"/", os.sep} & set(text):
        if paths.exists(path):
            paths.check_file(path)  # which says what else is there
        raise InputFileError(f"The model file '{path}' does not exist.", "Check the path.")
    raise _not_found(entries, text)


def add_model(path: Path) -> Path:
    """Copy a model file into the user's models, after all of it was checked.

    Adding a model that is there already changes nothing.

    :return: the copy.
    :raises InputFileError: the file is missing; ``ModelFileError``: it is not a whole, unchanged model.
    :raises SettingsError: a different model of that name and version is there already.
    :raises OutputError: the folder cannot be written.
    """
    path = paths.expand(path)
    card = read_verified_card(path)
    for entry in _matches([entry for entry in list_models() if entry.where == OWN], _exact(card)):
        if entry.card["digest"] == card["digest"]:
            return entry.path
        raise SettingsError(
            f"Another model '{card['name']}' of version {card['version']} is there already: '{entry.path}'.",
            "Give this one another version, or remove the other one first.",
            setting="remove_model",
            value=_exact(card),
        )
    target = _free_name(files.make_folder(models_folder()), card)
    with files.atomic_write(target) as file:
        file.write(read_bytes(path))
    return target


def export_model(name: str, target: Path) -> Path:
    """Copy a model to a file, after all of it was checked.

    :param name: as for ``find_model``.
    :return: ``target``.
    :raises ModelNotFoundError: no such model; ``ModelFileError``: it is damaged.
    :raises OutputError: the file cannot be written, or is not named as a model file.
    """
    target = paths.expand(target)
    check_model_name(target)
    files.check_output(target)
    source = find_model(name)
    read_verified_card(source)
    with files.atomic_write(target) as file:
        file.write(read_bytes(source))
    return target


def remove_model(name: str) -> Path:
    """Delete one of the user's own models, by ``NAME``, ``NAME@VERSION`` or, for a broken one, its file's name.

    What was kept of its training slices goes with it.

    :return: the file deleted.
    :raises ModelNotFoundError: none of that name.
    :raises SettingsError: it came with SAM2Adapt, or several versions have that name.
    :raises OutputError: it cannot be deleted.
    """
    entries = list_models()
    matches = _matches(entries, name)
    own = [entry for entry in matches if entry.where == OWN]
    if not matches:
        raise _not_found(entries, name)
    if not own:
        raise SettingsError(
            f"The model '{name}' comes with SAM2Adapt and cannot be removed.", "Remove only models that you added."
        )
    if len(own) > 1:
        choices = ", ".join(_quoted(_exact(entry.card) if entry.card else entry.path.stem) for entry in own)
        raise SettingsError(f"{len(own)} models are called '{name}'.", f"Say which one: {choices}.")
    try:
        own[0].path.unlink()
        if own[0].card:
            files.replay_file(own[0].card["digest"]).unlink(missing_ok=True)
    except OSError as error:
        raise files.output_error(own[0].path, error) from error
    return own[0].path


def _entry(path: Path, where: str) -> ModelEntry | None:
    """Describe a file of a model folder; None for base weights, which lie beside the bundled models."""
    try:
        metadata, _ = read_header(path)
        if BASE_KEY in metadata and MODEL_KEY not in metadata:
            return None
        return ModelEntry(path, where, read_card(path))
    except (ModelFileError, InputFileError) as error:
        return ModelEntry(path, where, None, error)


def _created(entry: ModelEntry) -> float:
    return model_cards.created(entry.card) if entry.card else 0.0


def _exact(card: dict[str, Any]) -> str:
    return full_name(card["name"], card["version"])


def _matches(entries: list[ModelEntry], text: str) -> list[ModelEntry]:
    return [entry for entry in entries if model_cards.is_called(text, entry.name, entry.version)]


def _not_found(entries: list[ModelEntry], text: str) -> ModelNotFoundError:
    message = f"No model '{text}' is known on this machine."
    names = {entry.name.casefold(): entry.name for entry in entries if entry.card}
    close = difflib.get_close_matches(text.casefold(), names, n=3, cutoff=0.5)
    if close:
        return ModelNotFoundError(message, f"Did you mean {' or '.join(repr(names[name]) for name in close)}?")
    if names:
        known = ", ".join(sorted(names.values()))
        return ModelNotFoundError(message, f"Choose one of {known}, or give the path of a model file.")
    return ModelNotFoundError(message, "Give the path of a model file, or add a model.", setting="add_model")


def _quoted(text: str) -> str:
    return f'"{text}"' if " " in text else text


def _free_name(folder: Path, card: dict[str, Any]) -> Path:
    """A file name that every file system takes, made from name and version, and not in use."""
    stem = re.sub(r"[^a-z0-9.]+", "-", _exact(card).casefold()).strip("-.") or "model"
    path, number = folder / f"{stem}{SUFFIX}", 2
    while paths.exists(path):
        path, number = folder / f"{stem}-{number}{SUFFIX}", number + 1
    return path
