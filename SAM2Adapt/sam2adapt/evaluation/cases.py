"""Find pairs of images and labels on disk, and the meaning of label values."""

import functools
import json
import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..imaging.image_files import stem_of
from ..imaging.terminology import Structure, describe, name_key
from ..imaging.volume import Volume, read_labels
from ..shared import paths
from ..shared.errors import ClassesError, InputFileError, TrainingDataError
from ..shared.labels.annotation import IGNORE
from ..shared.labels.drawn_slices import read_drawn_slices
from ..shared.labels.label_entries import LabelEntry, LabelTable
from ..shared.labels.label_names import dataset_table, folder_table, label_table
from ..shared.labels.training_pairs import find_pairs, images_of, layout

_LARGEST_CLASS = 254
_LARGEST_TABLE = 1 << 24  # largest label value for a look-up table; those of FreeSurfer go up to 14175
VALUES_SUFFIX = ".values.json"  # of a file beside a label file that maps its values to classes


@dataclass(frozen=True)
class Case:
    """One image with its label map.

    :ivar values: pairs of a value in the label file and the class that it means, 0 for background and 255 for not
        annotated; None where the values are the classes.
    :ivar overlap: which of two overlapping segments counts, see ``volume.read_labels``.
    :ivar series: SeriesInstanceUID of the image in its folder, "" for files.
    :ivar drawn: by array axis the slices that were drawn, the others being filled; None where nothing was filled.
    """

    id: str
    image: Path
    label: Path
    values: tuple[tuple[int, int], ...] | None = None
    overlap: str = "last"
    series: str = ""
    drawn: dict[str, list[int]] | None = field(default=None, hash=False)


def images_by_name(folder: Path) -> dict[str, Path]:
    """Image files of a folder by name, sorted; the name has no suffix, unless several files share it.

    Segmentations, and labels in the folder of their images, are left out. Reading refuses names that are not UTF-8.
    """
    images = images_of(folder, strict=False)
    return {path.name if len(paths) > 1 else name: path for name, paths in images.items() for path in paths}


def find_cases(
    images: Path, labels: Path, channel: int = 0, say: Callable[[str], None] = lambda text: None, overlap: str = "last"
) -> list[Case]:
    """Pair the files of two folders, or of one, by name; see ``shared.labels.training_pairs.find_pairs``.

    If no names match, DICOM segmentations and structure sets are paired with the series that they refer to.

    :param say: called with sentences about files that are left out or ambiguous.
    :raises InputFileError: a folder is missing. :raises TrainingDataError: no file has a partner, or names clash.
    """
    try:
        pairs = find_pairs(images, labels, channel)
    except TrainingDataError:
        if cases := _dicom_cases(images, labels, say, overlap):
            return cases
        raise
    for _, image, label in pairs.found:
        paths.utf8_name(image)
        paths.utf8_name(label)
    for note in pairs.notes:
        say(note)
    return [
        Case(name, image, label, _stated_values(label), overlap, drawn=read_drawn_slices(label))
        for name, image, label in pairs.found
    ]


def _dicom_cases(images: Path, labels: Path, say: Callable[[str], None], overlap: str) -> list[Case]:
    """Pair segmentations and structure sets with the series in ``images`` that they were drawn on."""
    from ..imaging.dicom import scan
    from ..imaging.dicom.labels import label_files

    drawn = list(label_files(labels))
    if not drawn:
        return []
    series = {headers[0].series_uid: info for info, headers in reversed(scan(images).series)}
    cases, alone, taken = [], [], set()
    for path, uids in drawn:
        uid = next((uid for uid in uids if uid in series), "")
        if uid not in series or uid in taken:
            alone.append(path)
            continue
        taken.add(uid)
        info = series[uid]
        folder = Path(os.path.commonpath([Path(file).parent for file in info.files]))
        cases.append(Case(Path(path).stem, folder, Path(path), overlap=overlap, series=info.uid))
    if alone:
        say(f"{len(alone)} label files without a series in {images} are left out, for example {alone[0]}.")
    if idle := [str(info) for uid, info in series.items() if uid not in taken]:
        say(f"{len(idle)} series without labels in {images} are left out, for example {idle[0]}.")
    names = Counter(case.id for case in cases)  # "RTSTRUCT.dcm" in the folder of each patient is common
    return [case if names[case.id] == 1 else replace(case, id=case.series) for case in cases]


def named_by_dicom(cases: list[Case]) -> dict[int, str]:
    """Number all structures in DICOM labels 1, 2, 3, …; names that differ only in case and spaces are one structure."""
    from ..imaging.volume import read_structures

    names: dict[str, str] = {}
    for case in cases:
        for structure in read_structures(case.label) if case.series else ():
            names.setdefault(name_key(structure.name), structure.name.strip())
    return dict(enumerate(names.values(), 1))


def case_labels(case: Case, structures: Sequence[Structure] = (), image: Volume | None = None) -> Volume:
    """Read the labels of a case as classes, 0 for background and 255 for not annotated.

    :param structures: structures to take from DICOM labels, by name. :param image: the image, if it is already read.
    :raises InputFileError: see ``volume.read_labels``. :raises ClassesError: a value in the file has no meaning.
    """
    labels = read_labels(case.label, image or case.image, structures, case.overlap)
    if case.values is None:
        return labels
    known = {IGNORE: IGNORE} | dict(case.values) | {0: 0}
    present = _present(labels.array)
    if unknown := [value for value in present if value not in known]:
        raise ClassesError(
            f"'{case.label}' holds label value {unknown[0]}, which has no name.",
            f"Name it where {', '.join(str(v) for v, _ in case.values[:20])} have their names, or set it to 0.",
        )
    table = np.zeros(max(present, default=0) + 1, np.uint8)
    table[present] = [known[value] for value in present]
    return replace(labels, array=table[labels.array])


def _present(labels: np.ndarray) -> list[int]:
    """Label values that occur."""
    if int(labels.max(initial=0)) < _LARGEST_TABLE:
        # One plane at a time, because NumPy copies indices to 64 bits.
        seen = np.zeros(int(labels.max(initial=0)) + 1, bool)
        for plane in labels.reshape(-1, labels.shape[-1] * labels.shape[-2]):
            seen[plane] = True
        return np.flatnonzero(seen).tolist()
    return np.unique(labels).tolist()


def _stated_values(label: Path) -> tuple[tuple[int, int], ...] | None:
    path = label.with_name(stem_of(label) + VALUES_SUFFIX)
    if not paths.is_file(path):
        return None
    try:
        return tuple((int(value), int(number)) for value, number in json.loads(paths.read_text(path)).items())
    except (ValueError, AttributeError, TypeError) as error:
        raise TrainingDataError(f"'{path}' does not say what label values become: {error}.", "Remove it.") from error


def dataset_folders(root: Path) -> tuple[Path, Path, dict[int, str]]:
    """Read an MSD or nnU-Net dataset folder: its image and label folders and the names of its classes.

    :raises TrainingDataError: ``dataset.json`` cannot be parsed. :raises ClassesError: its regions overlap.
    """
    table = dataset_table(root / "dataset.json")
    return *_dataset_layout(root), {value: entry.name for value, entry in table.entries.items()}


def _dataset_layout(root: Path) -> tuple[Path, Path]:
    images, labels = layout(root)
    return (root / "imagesTr", root / "labelsTr") if images == labels else (images, labels)


def named_cases(
    images: Path,
    labels: Path | None,
    names: dict[int, str] | None = None,
    channel: int = 0,
    say: Callable[[str], None] = lambda text: None,
    overlap: str = "last",
) -> tuple[list[Case], list[Structure]]:
    """Find the cases in two folders, or in an MSD or nnU-Net dataset folder, and their classes.

    Names, colours and codes come from ``names``, or else from ``shared.labels.label_names.label_table``. If files
    number structures differently, or use values above 254, the classes get new numbers, by name.

    :param labels: None: ``images`` is a folder with ``dataset.json``, or with folders of images and labels.
    :param names: names of the values in the label files.
    :return: cases and classes; no classes if nothing names them.
    :raises UserError: no file has a partner, or the classes remain unclear.
    """
    described = None
    if labels is None:
        root, (images, labels) = images, layout(images)
        described = root / "dataset.json"
        if paths.is_file(described):
            images, labels = _dataset_layout(root)
        elif images == labels:
            raise InputFileError(
                f"The labels are missing: '{root}' has no dataset.json and no folders of images and labels.",
                "Give the folder of the label maps.",
                setting="labels",
            )
    cases = find_cases(images, labels, channel, say, overlap)
    if not names and any(case.series for case in cases):
        names = named_by_dicom(cases)
    elif not names:
        return _with_tables(cases, say)
    if ignored := _ignored(described, names):
        pairs = tuple((value, value) for value in names) + tuple((value, IGNORE) for value in ignored)
        cases = [replace(case, values=case.values or pairs) for case in cases]
    return cases, [describe(value, name) for value, name in sorted(names.items())]


def occurring(
    structures: list[Structure], optional: set[int], cases: list[Case], say: Callable[[str], None]
) -> list[Structure]:
    """Leave out structures that are optional and that no case shows, for example those of a table with hundreds."""
    seen = set().union(*(_present(case_labels(case, structures).array) for case in cases))
    absent = [structure for structure in structures if structure.id in optional and structure.id not in seen]
    if absent:
        say(f"{len(absent)} structures that no label shows are left out, for example '{absent[0].name}'.")
    return [structure for structure in structures if structure not in absent]


def as_classes_of(structures: list[Structure], cases: list[Case], named: list[Structure]) -> list[Case]:
    """Give cases the label values of a model's classes, if all their classes have names of the model.

    :param structures: those of the model. :param cases: with ``named``, the result of ``named_cases``.
    """
    numbers = {structure.name.strip().lower(): structure.id for structure in structures}
    known = {structure.id: numbers.get(structure.name.strip().lower()) for structure in named}
    if not named or None in known.values() or all(old == new for old, new in known.items()):
        return cases

    def translated(case: Case) -> tuple[tuple[int, int], ...]:
        values = case.values or tuple((number, number) for number in known)
        return tuple((value, known.get(number, number)) for value, number in values)

    return [replace(case, values=translated(case)) for case in cases]


def _ignored(described: Path | None, names: dict[int, str]) -> set[int]:
    """Values that are not annotated according to a ``dataset.json``, unless ``names`` has them."""
    try:
        ignored = dataset_table(described).ignored if described and paths.is_file(described) else set()
    except ClassesError:  # it has regions, but the values are named instead
        return set()
    return ignored - names.keys() - {IGNORE}


def _with_tables(cases: list[Case], say: Callable[[str], None]) -> tuple[list[Case], list[Structure]]:
    """Find the classes of all cases by name, and map the values of each case to them."""
    of_folder = functools.cache(folder_table)
    tables = [label_table(case.label, of_folder) for case in cases]
    known = [table for table in tables if table]
    if not known:
        return cases, []
    if len(known) < len(cases):
        unnamed = next(case for case, table in zip(cases, tables, strict=True) if table is None)
        raise ClassesError(
            f"The label values in '{unnamed.label}' have no names, while '{known[0].source}' names those of another"
            " case.", "Name the label values of all.", setting="classes",
        )  # fmt: skip
    entries = [_occurring(case, table) for case, table in zip(cases, tables, strict=True)]
    numbers = _numbers(entries, cases[0].label.parent)
    kept = all(numbers[_key(entry)] == value for named in entries for value, entry in named.items())
    if not kept or any(table.ignored - {IGNORE} for table in known):
        cases = [
            replace(case, values=_values(named, table, numbers))
            for case, table, named in zip(cases, tables, entries, strict=True)
        ]
    merged = {_key(entry): entry for named in reversed(entries) for entry in named.values()}
    if not kept:
        shown = ", ".join(f"{number} = {merged[key].name}" for key, number in list(numbers.items())[:20])
        say(f"The label values were renumbered by the names of the structures: {shown}.")
    return cases, [_structure(number, merged[key]) for key, number in sorted(numbers.items(), key=lambda one: one[1])]


def _key(entry: LabelEntry) -> str:
    return entry.name.strip().lower()


def _occurring(case: Case, table: LabelTable) -> dict[int, LabelEntry]:
    if table.complete:
        return table.entries
    present = set(_present(read_labels(case.label, overlap=case.overlap).array))
    return {value: entry for value, entry in table.entries.items() if value in present}


def _numbers(entries: list[dict[int, LabelEntry]], folder: Path) -> dict[str, int]:
    """Class of each name: its value in the files, if all agree and it is possible, else a free number.

    :raises ClassesError: more classes than a model can have.
    """
    values: dict[str, int] = {}
    names: dict[int, set[str]] = {}
    for named in entries:
        for value, entry in named.items():
            values.setdefault(_key(entry), value)
            names.setdefault(value, set()).add(_key(entry))
    if len(values) > _LARGEST_CLASS:
        raise ClassesError(
            f"The labels in '{folder}' show {len(values)} structures, and a model can have {_LARGEST_CLASS}.",
            "Name those to train, and set the others to 0.",
            setting="classes",
        )
    if any(len(named) > 1 for named in names.values()):
        return {name: number for number, name in enumerate(values, start=1)}
    taken = {value for value in values.values() if value <= _LARGEST_CLASS}
    free = (number for number in range(1, _LARGEST_CLASS + 1) if number not in taken)
    return {name: value if value <= _LARGEST_CLASS else next(free) for name, value in values.items()}


def _values(named: dict[int, LabelEntry], table: LabelTable, numbers: dict[str, int]) -> tuple[tuple[int, int], ...]:
    classes = tuple((value, numbers[_key(entry)]) for value, entry in named.items())
    return classes + tuple((value, IGNORE) for value in table.ignored)


def _structure(number: int, entry: LabelEntry) -> Structure:
    known = describe(number, entry.name.strip())
    return replace(known, terminology=entry.terminology or known.terminology, color=entry.color or known.color)


def select(cases: list[Case], split: dict[str, list[str]], subset: str) -> list[Case]:
    """The cases of one part of a split; an entry matches every case whose id or image file name starts with it.

    If entries of several parts match a case, the longest entry decides, so that "p1" does not match "p10".

    :raises TrainingDataError: the split lacks the part, or an entry matches nothing.
    """
    if subset not in split:
        raise TrainingDataError(f"The split has no part '{subset}'.", f"It has: {', '.join(split)}.")
    idle = [entry for entry in split[subset] if not any(_longest_match(case, [entry]) for case in cases)]
    if idle:
        raise TrainingDataError(
            f"Entry '{idle[0]}' of the split's '{subset}' matches no case ({len(idle)} such entries).",
            "Check that the split belongs to these images.",
            setting="split",
        )
    entries = [entry for part in split.values() if isinstance(part, list) for entry in part]
    matches = {case.id: _longest_match(case, split[subset]) for case in cases}
    return [case for case in cases if matches[case.id] and matches[case.id] == _longest_match(case, entries)]


def _longest_match(case: Case, entries: list[str]) -> int:
    """Length of the longest entry that the case's id or image file name starts with; 0 if there is none."""
    names = (case.id, case.image.name)
    return max((len(entry) for entry in entries if any(name.startswith(entry) for name in names)), default=0)


def read_split(path: Path) -> dict[str, list[str]]:
    """Read ``{"train": [...], "val": [...]}``; other lists of names are other parts, everything else is left out.

    ``"val_slices": {case: [slice, ...]}``, which the split of a card may hold, is read, too.
    """
    try:
        split = json.loads(paths.read_text(path))
    except ValueError as error:
        raise TrainingDataError(f"The split '{path}' is not JSON: {error}.", "Correct the file.") from error
    parts = split.items() if isinstance(split, dict) else ()
    lists = {n: part for n, part in parts if isinstance(part, list) and all(isinstance(entry, str) for entry in part)}
    if not lists.keys() >= {"train", "val"}:
        raise TrainingDataError(
            f"The split '{path}' does not hold two lists of names.",
            'It must look like {"train": ["a", "b"], "val": ["c"]}.',
        )
    if isinstance(slices := split.get("val_slices"), dict):
        lists["val_slices"] = slices
    return lists
