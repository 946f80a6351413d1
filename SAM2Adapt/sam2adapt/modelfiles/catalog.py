"""The models on this machine: those that come with SAM2Adapt, and those that the user has added.

Models of the same name are all listed. A name means the newest model that the user has added, or else a bundled one;
``NAME@VERSION`` or a path means any other.
"""

import contextlib
import difflib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..shared import files, model_cards, paths
from ..shared.errors import InputFileError, ModelFileError, ModelNotFoundError, OutputError, SettingsError, UserError
from ..shared.files import bundled_folder, home, models_folder
from ..shared.model_cards import OWN, full_name
from ..shared.safetensors_header import BASE_KEY, MODEL_KEY, SUFFIX
from .bases import base_file, base_present, download_base, file_sha256, remove_base
from .card import PICKLE_SUFFIXES, check_model_name, read_card, read_header, read_verified
from .case_names import names_in, neutral, read_names, with_card, write_names

__all__ = [
    "ModelEntry", "add_model", "base_file", "base_present", "bundled_folder", "download_base",
    "export_model", "file_sha256", "find_model", "home", "list_models", "models_folder", "remove_base", "remove_model",
]  # fmt: skip

logger = logging.getLogger(__name__)

# A name with one of these suffixes means a file, even if the file does not exist.
_FILE_SUFFIXES = (SUFFIX, *PICKLE_SUFFIXES)
_PATIENCE = 60.0  # seconds that a model is waited for which another process adds


@dataclass(frozen=True)
class ModelEntry:
    """A model file in one of the two folders. If it is broken, ``card`` is None and ``error`` says why."""

    path: Path
    where: str
    card: dict[str, Any] | None
    error: UserError | None = None

    @property
    def name(self) -> str:
        """The name in the card; for a broken file, its file name."""
        return self.card["name"] if self.card else self.path.stem

    @property
    def version(self) -> str:
        """The version in the card; "" for a broken file."""
        return self.card["version"] if self.card else ""

    @property
    def dice(self) -> float | None:
        """Mean Dice (0 to 1) on the validation cases; None if it was not measured."""
        return model_cards.mean_dice(self.card) if self.card else None

    @property
    def base_present(self) -> bool:
        """Whether its base weights are on this machine."""
        return self.card is not None and base_present(self.card["base"]["id"], self.card["base"]["sha256"])


def list_models() -> list[ModelEntry]:
    """List all model files, even broken ones, in the order in which names are looked up: own, newest first; bundled."""
    entries = []
    for folder, where in model_cards.model_folders():
        candidates = [path for path in paths.listing(folder) if path.suffix == SUFFIX]
        here = [entry for path in candidates if (entry := _entry(path, where))]
        entries += sorted(here, key=_created, reverse=True)
    return entries


def find_model(name_or_path: str | Path) -> Path:
    """Find a model by path, ``NAME`` or ``NAME@VERSION`` (upper and lower case are the same).

    :raises ModelNotFoundError: no model has this name; the remedy suggests similar names.
    :raises ModelFileError: the only model with this name is broken.
    :raises InputFileError: it is a path and the file does not exist.
    """
    text = str(name_or_path)
    entries = list_models()
    matches = _matches(entries, text)
    usable = [entry for entry in matches if entry.card]
    # A name in the catalog takes precedence over a file of this name in the current folder.
    if usable and not isinstance(name_or_path, Path):
        return usable[0].path
    path = paths.expand(name_or_path)
    if paths.is_file(path):
        return path
    if matches and matches[0].error:
        raise matches[0].error
    if isinstance(name_or_path, Path) or path.suffix in _FILE_SUFFIXES or {"/", os.sep} & set(text):
        if paths.exists(path):
            paths.check_file(path)  # says what it is instead
        raise InputFileError(f"The model file '{path}' does not exist.", "Check the path.")
    raise _not_found(entries, text)


def add_model(path: Path) -> Path:
    """Check a model file and copy it to the user's models.

    To add a model again changes nothing. If an older version wrote the names of the cases into the model, the copy has
    numbers instead, and therefore another digest.

    :return: the copy.
    :raises InputFileError: the file is missing; ``ModelFileError``: it is not a complete, unchanged model.
    :raises SettingsError: a different model with this name and version exists.
    :raises OutputError: the folder cannot be written.
    """
    path = paths.expand(path)
    card, data = read_verified(path)
    for entry in list_models():
        if entry.where == OWN and entry.card and entry.card["digest"] == card["digest"]:
            return entry.path
    card, data = _without_names(card, data, path)
    folder = files.make_folder(models_folder())
    # One process at a time, so that two that add the same model do not both find that it is missing.
    with _one_at_a_time(folder):
        for entry in _matches([entry for entry in list_models() if entry.where == OWN], _exact(card)):
            if entry.card and entry.card["digest"] == card["digest"]:
                return entry.path
            raise SettingsError(
                f"Another model '{card['name']}' of version {card['version']} exists already: '{entry.path}'.",
                "Give this one another version, or remove the other one first.",
                setting="remove_model",
                value=_exact(card),
            )
        return _write_new(folder, card, data)


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Wait until no other process changes a folder of models.

    :raises OutputError: another process does not end.
    """
    lock = FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=_PATIENCE)
    except Timeout as error:
        raise OutputError(
            f"Another process has been changing the models in '{folder}' for {_PATIENCE:.0f} seconds.",
            "Wait until it has ended, then try again.",
        ) from error
    except (OSError, NotImplementedError):  # no locks here; even so, a new file never replaces another
        yield
        return
    try:
        yield
    finally:
        lock.release()


def _write_new(folder: Path, card: dict[str, Any], data: bytes) -> Path:
    """Write a model under a name that no other file has."""
    while True:
        target = _free_name(folder, card)
        try:
            with files.atomic_write(target, replace=False) as file:
                file.write(data)
        except FileExistsError:
            continue
        return target


def export_model(name: str, target: Path, names: bool = False) -> Path:
    """Check a model and copy it to a file, without the names of its cases.

    :param name: see ``find_model``.
    :param names: also write the names of its cases, if this machine knows them, to ``NAME.cases.json`` beside the copy.
    :return: ``target``.
    :raises ModelNotFoundError: the model is unknown; ``ModelFileError``: it is damaged.
    :raises OutputError: the file cannot be written, or its name is not one of a model file.
    """
    target = paths.expand(target)
    check_model_name(target)
    files.check_output(target)
    source = find_model(name)
    original, data = read_verified(source)
    card, data = _without_names(original, data, source)
    table = neutral(original)[1] or read_names(original["digest"])
    beside = target.with_name(f"{target.stem}.cases.json")
    if names and table:
        files.check_output(beside)
    with files.atomic_write(target) as file:
        file.write(data)
    if names and table:
        write_names(card["digest"], table, beside)
    return target


def _without_names(card: dict[str, Any], data: bytes, path: Path) -> tuple[dict[str, Any], bytes]:
    """Replace the names of the cases in a model file by numbers; return card and bytes.

    Models that come with SAM2Adapt stay as they are, because they were trained on public images.
    """
    count = len(names_in(card))
    if not count or any(e.card and e.card["digest"] == card["digest"] for e in list_models() if e.where != OWN):
        return card, data
    card, data = with_card(data, neutral(card)[0])
    logger.warning(
        "'%s' names the %d cases on which it was trained; the copy calls them case 1, case 2 … instead, and has another"
        " digest.", path, count,
    )  # fmt: skip
    return card, data


def remove_model(name: str) -> Path:
    """Delete a model that the user has added, by ``NAME``, ``NAME@VERSION`` or its file name.

    The slices kept of its training and the names of its cases are deleted, too.

    :return: the deleted file.
    :raises ModelNotFoundError: no model has this name.
    :raises SettingsError: the model came with SAM2Adapt, or several versions have this name.
    :raises OutputError: the file cannot be deleted.
    """
    entries = list_models()
    matches = _matches(entries, name) or [entry for entry in entries if entry.path.name == name]
    added = [entry for entry in matches if entry.where == OWN]
    if not matches:
        raise _not_found(entries, name)
    if not added:
        raise SettingsError(
            f"The model '{name}' comes with SAM2Adapt and cannot be removed.", "Remove only models that you added."
        )
    if len(added) > 1:
        exact = [_exact(entry.card) if entry.card else entry.path.stem for entry in added]
        # Copies of one name and version, made by hand, differ only in their files.
        choices = exact if len(set(exact)) == len(exact) else [entry.path.name for entry in added]
        raise SettingsError(
            f"{len(added)} models are called '{name}'.",
            f"Give the full name of one: {', '.join(map(_quoted, choices))}.",
        )
    (model,) = added
    try:
        model.path.unlink()
        if model.card and not any(_same_model(entry, model) for entry in entries):
            for kept in (files.replay_file, files.case_names_file):
                kept(model.card["digest"]).unlink(missing_ok=True)
    except OSError as error:
        raise files.output_error(model.path, error) from error
    return model.path


def _same_model(entry: ModelEntry, other: ModelEntry) -> bool:
    return entry is not other and entry.card is not None and entry.card["digest"] == other.card["digest"]


def _entry(path: Path, where: str) -> ModelEntry | None:
    """The entry of a file in a model folder; None for base weights, which are in the same folder."""
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
    """An unused file name, made from name and version, that every file system accepts."""
    stem = re.sub(r"[^a-z0-9.]+", "-", _exact(card).casefold()).strip("-.") or "model"
    path, number = folder / f"{stem}{SUFFIX}", 2
    while paths.exists(path):
        path, number = folder / f"{stem}-{number}{SUFFIX}", number + 1
    return path
