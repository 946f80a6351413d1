"""Pairs of images and labels on disk: equal file names, or the MSD / nnU-Net layout with its ``dataset.json``."""

import json
from dataclasses import dataclass
from pathlib import Path

from ..imaging.image_files import LABEL_SUFFIXES, PICTURES, stem_of, suffix_of
from ..shared import paths
from ..shared.errors import InputFileError, TrainingDataError

VOLUMES = (".nhdr", ".mhd")  # suffixes that can be read, beside those of image_files


@dataclass(frozen=True)
class Case:
    """One image with its label map."""

    id: str
    image: Path
    label: Path


def images_by_name(folder: Path) -> dict[str, Path]:
    """Image files of a folder by their names without suffix, in the order of the names."""
    known = {*LABEL_SUFFIXES, *PICTURES, *VOLUMES}
    # Archives made on a Mac, the MSD's among them, hold a "._name" beside every file.
    visible = (path for path in paths.listing(folder) if not path.name.startswith("."))
    return {stem_of(path): path for path in visible if suffix_of(path) in known}


def find_cases(images: Path, labels: Path) -> list[Case]:
    """Pair the files of two folders by name.

    nnU-Net's channel suffix ``_0000`` of images is ignored. A label without an image, or the reverse, is left out.

    :raises InputFileError: a folder is missing, or a name is not UTF-8. :raises TrainingDataError: nothing pairs.
    """
    for folder in (images, labels):
        if not paths.is_dir(folder):
            raise InputFileError(
                f"There is no folder '{folder}'.",
                "Check the folders of the images and the labels.",
                setting=("images", "labels"),
            )
    label_files = images_by_name(labels)
    cases = []
    for name, path in images_by_name(images).items():
        case = name if name in label_files else name.removesuffix("_0000")
        if case in label_files:
            cases.append(Case(case, path, label_files[case]))
    for case in cases:
        paths.utf8_name(case.image)
        paths.utf8_name(case.label)
    if not cases:
        raise TrainingDataError(
            f"No file in '{images}' has a label of the same name in '{labels}'.",
            "Name images and labels alike, for example images/a.nii.gz and labels/a.nii.gz.",
        )
    return cases


def dataset_folders(root: Path) -> tuple[Path, Path, dict[int, str]]:
    """Read an MSD or nnU-Net folder: its image and label folders and its classes.

    MSD writes ``{"1": "name"}``, nnU-Net version 2 ``{"name": 1}``.
    """
    try:
        description = json.loads(paths.read_text(root / "dataset.json"))
        entries = description["labels"].items()
        pairs = [(int(k), v) if str(k).isdigit() else (int(v), k) for k, v in entries]
    except (InputFileError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = error.message if isinstance(error, InputFileError) else f"{error}."
        raise TrainingDataError(
            f"'{root / 'dataset.json'}' cannot be read as an MSD or nnU-Net description: {reason}",
            "Correct the file, or give the folders of the images and the labels, and name the classes.",
            setting=("images", "labels", "classes"),
        ) from error
    # nnU-Net's label "ignore" is no class; what it marks must be 255 here.
    names = {value: str(name) for value, name in pairs if value and str(name).lower() != "ignore"}
    return root / "imagesTr", root / "labelsTr", names


def select(cases: list[Case], split: dict[str, list[str]], subset: str) -> list[Case]:
    """Cases of one part of a split; an entry matches every case whose id or image file name starts with it.

    Where entries of several parts match a case, the longest decides: "p1" must not take "p10" out of another part.

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
    own = {case.id: _longest_match(case, split[subset]) for case in cases}
    return [case for case in cases if own[case.id] and own[case.id] == _longest_match(case, entries)]


def _longest_match(case: Case, entries: list[str]) -> int:
    """Length of the longest entry with which the case's id or image file name starts; 0 if none."""
    names = (case.id, case.image.name)
    return max((len(entry) for entry in entries if any(name.startswith(entry) for name in names)), default=0)


def read_split(path: Path) -> dict[str, list[str]]:
    """Read ``{"train": [...], "val": [...]}``; further lists of names are further parts, all else is left out.

    What a card's split holds beside them, ``"val_slices": {case: [slice, ...]}``, is read too.
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
