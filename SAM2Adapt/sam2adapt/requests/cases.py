"""Find the cases and classes that a request names."""

from collections.abc import Callable
from typing import Any

from ..evaluation.cases import Case, named_cases, occurring
from ..imaging.terminology import Structure, describe
from ..shared.errors import ClassesError
from ..shared.labels.annotation import LARGEST_CLASS
from ..shared.requests.actions import Evaluate, Train


def find_cases_and_classes(
    request: Train | Evaluate,
    classes: list[dict[str, Any]] | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[list[Case], list[Structure]]:
    """Find cases and classes in two folders, or in a folder with a ``dataset.json``; see ``cases.named_cases``.

    :param classes: ``id`` and ``name`` of each class; ``terminology`` and ``color``, unless those of the terminology
        table are right; ``optional``: leave the class out if no label shows it.
    :param say: called with sentences about what is left out and about decisions.
    :raises InputFileError, TrainingDataError: no cases; ``ClassesError``: impossible classes.
    """
    given = _structures(classes or [])
    names = {structure.id: structure.name for structure in given}
    cases, named = named_cases(request.images, request.labels, names, request.channel, say, request.overlap)
    structures = given or named  # those of the request may have colours and codes
    optional = {entry["id"] for entry in classes or () if entry.get("optional")}
    return cases, occurring(structures, optional, cases, say) if optional else structures


def _structures(classes: list[dict[str, Any]]) -> list[Structure]:
    """Structures, sorted by label value; missing codes and colours come from the terminology table."""
    names: dict[int, str] = {}
    structures = []
    for entry in classes:
        _add(names, entry["id"], entry["name"].strip())
        given = {key: value for key, value in entry.items() if key in ("terminology", "color")}
        known = describe(entry["id"], names[entry["id"]])
        structures.append(Structure.from_json({**known.to_json(), **given}))
    return sorted(structures, key=lambda structure: structure.id)


def _add(names: dict[int, str], value: int, name: str) -> None:
    """Add the name of a label value.

    :raises ClassesError: the value cannot be a class, reports use the name, or one of them is there already.
    """
    if not 1 <= value <= LARGEST_CLASS:
        raise ClassesError(
            f"{value} is not a label value of a class.", f"Use values from 1 to {LARGEST_CLASS}.", setting="classes"
        )
    if name.lower() == "mean":
        raise ClassesError(
            "A class cannot be named 'mean', because reports use this word.", "Choose another name.", setting="classes"
        )
    if value in names or name.lower() in (known.lower() for known in names.values()):
        raise ClassesError(
            f"The classes name '{value}={name}' twice.", "Give each value and each name once.", setting="classes"
        )
    names[value] = name


def ids_of(names: list[str], structures: list[Structure]) -> list[int]:
    """Label values of the classes with these names.

    :raises ClassesError: no class has one of the names.
    """
    known = {structure.name.lower(): structure.id for structure in structures}
    if unknown := [name for name in names if name.lower() not in known]:
        raise ClassesError(f"'{unknown[0]}' is not among the classes.", f"They are: {', '.join(known)}.")
    return [known[name.lower()] for name in names]
