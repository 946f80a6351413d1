"""Cases and classes that a request names."""

from collections.abc import Callable
from typing import Any

from ..evaluation.cases import Case, named_cases, occurring
from ..imaging.terminology import Structure, describe
from ..shared.annotation import LARGEST_CLASS
from ..shared.errors import ClassesError
from ..shared.requests.actions import Evaluate, Train


def find_cases_and_classes(
    request: Train | Evaluate,
    classes: list[dict[str, Any]] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[list[Case], list[Structure]]:
    """Cases and structures of two folders, or of a folder with its ``dataset.json``; see ``cases.named_cases``.

    :param classes: ``id`` and ``name`` of each, and where they differ from the table's, ``terminology`` and ``color``;
        those that are ``optional`` are left out if no label shows them.
    :param say: is told what is left out, and what had to be decided.
    :raises InputFileError, TrainingDataError: no cases; ``ClassesError``: classes that are not possible.
    """
    given = _structures(classes or [])
    names = {structure.id: structure.name for structure in given}
    cases, found = named_cases(request.images, request.labels, names, request.channel, say, request.overlap)
    structures = given or found  # colours and codes that were given are kept
    optional = {entry["id"] for entry in classes or () if entry.get("optional")}
    return cases, occurring(structures, optional, cases, say) if optional else structures


def _structures(classes: list[dict[str, Any]]) -> list[Structure]:
    """Structures in the order of their label values; codes and colours that are not given are those of the table."""
    names: dict[int, str] = {}
    structures = []
    for entry in classes:
        _add(names, entry["id"], entry["name"].strip())
        given = {key: value for key, value in entry.items() if key in ("terminology", "color")}
        known = describe(entry["id"], names[entry["id"]])
        structures.append(Structure.from_json({**known.to_json(), **given}))
    return sorted(structures, key=lambda structure: structure.id)


def _add(names: dict[int, str], value: int, name: str) -> None:
    """Add the name of a label value to those known so far.

    :raises ClassesError: a value that no class may have, a name that reports need, or either of them twice.
    """
    if not 1 <= value <= LARGEST_CLASS:
        raise ClassesError(
            f"{value} is not a label value of a class.", f"Use values from 1 to {LARGEST_CLASS}.", setting="classes"
        )
    if name.lower() == "mean":
        raise ClassesError(
            "A class cannot be named 'mean', the word of the reports.", "Choose another name.", setting="classes"
        )
    if value in names or name.lower() in (known.lower() for known in names.values()):
        raise ClassesError(
            f"The classes name '{value}={name}' twice.", "Give each value and each name once.", setting="classes"
        )
    names[value] = name


def ids_of(names: list[str], structures: list[Structure]) -> list[int]:
    """Label values of classes by name.

    :raises ClassesError: a name that is none of theirs.
    """
    known = {structure.name.lower(): structure.id for structure in structures}
    if unknown := [name for name in names if name.lower() not in known]:
        raise ClassesError(f"'{unknown[0]}' is not among the classes.", f"They are: {', '.join(known)}.")
    return [known[name.lower()] for name in names]
