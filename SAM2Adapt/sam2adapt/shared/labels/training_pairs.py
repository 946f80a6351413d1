"""Pair images with label files: one rule for shell, server, panel and console.

Every file that is left out is reported: files without a partner, other channels, names that two files share.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from .. import paths as look
from ..errors import InputFileError, TrainingDataError
from .image_names import FILE_SUFFIXES, SEGMENTATION, stem_of, suffix_of

SUBFOLDERS = (("imagesTr", "labelsTr"), ("images", "labels"))
_CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net ends the name of an image with the number of its channel
_LABEL_ENDS = ("_seg", "-seg", "_label", "-label", "_labels", "_mask", "_gt", "_segmentation", "_dseg")
_SHOWN = 3


@dataclass
class Pairs:
    """Images with their labels, sorted by name.

    :ivar found: (name, image, label). :ivar notes: sentences about files that are left out or are ambiguous.
    :ivar channels: nnU-Net's channels of the images, the chosen one among them; none for other images.
    """

    found: list[tuple[str, Path, Path]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    channels: tuple[int, ...] = ()


def files_by_name(folder: Path, strict: bool = True) -> dict[str, list[Path]]:
    """Image and label files of a folder by their names without suffix, sorted.

    :param strict: refuse names that are not UTF-8.
    :raises InputFileError: a name is not UTF-8.
    """
    files: dict[str, list[Path]] = {}
    for path in look.listing(folder):
        # Archives made on a Mac (those of the MSD, too) hold a "._name" beside every file.
        if suffix_of(path) in FILE_SUFFIXES and not path.name.startswith("."):
            if strict:
                look.utf8_name(path)
            files.setdefault(stem_of(path), []).append(path)
    return files


def images_of(folder: Path, strict: bool = True) -> dict[str, list[Path]]:
    """As ``files_by_name``, without segmentations and without labels in the folder of their images."""
    files = files_by_name(folder, strict)
    kept = {}
    for name, paths in files.items():
        images = [path for path in paths if suffix_of(path) != SEGMENTATION]
        base = next((name.removesuffix(end) for end in _LABEL_ENDS if name.endswith(end)), name)
        is_label = base != name and (base in files or f"{base}_0000" in files)
        if images and not is_label:
            kept[name] = images
    return kept


def layout(root: Path) -> tuple[Path, Path]:
    """The folders of images and labels in a folder; if it has none, the folder itself, twice."""
    for images, labels in SUBFOLDERS:
        if look.is_dir(root / images) and look.is_dir(root / labels):
            return root / images, root / labels
    return root, root


def find_pairs(images: Path, labels: Path, channel: int = 0) -> Pairs:
    """Pair the files of two folders, or of one, by name.

    ``a.nii.gz`` belongs to the label file with the same name and suffix, else to the only one with the same name, else
    to the only one with an ending that is common for labels (``a_seg``). If images and labels share a folder, only
    segmentations (.seg.nrrd) and files with such an ending are labels. nnU-Net's channel suffix ``_0000`` does not
    belong to the name of an image.

    :param channel: the channel of nnU-Net images to use.
    :raises InputFileError: a folder is missing. :raises TrainingDataError: no file has a partner, or names clash.
    """
    _check_folders(images, labels)
    image_files = images_of(images)
    label_files = _labels_of(labels, image_files if images.samefile(labels) else None)
    pairs, used, channels, left = Pairs(), set(), {}, []
    for name, paths in image_files.items():
        case, number = name, None
        if not _label_names(name, label_files) and (match := _CHANNEL.fullmatch(name)):
            case, number = match[1], int(match[2])
        names = _label_names(case, label_files)
        if not names:
            left += paths
            continue
        used.update(path for label in names for path in label_files[label])
        if number is not None:
            pairs.channels = tuple(sorted({*pairs.channels, number}))
        if number is not None and number != channel:
            channels.setdefault(number, []).append(case)
            continue
        pairs.found += _paired(case, paths, names, label_files, pairs.notes)
    _check_found(pairs, images, labels, channel, channels)
    _check_own_labels(pairs)
    _note_left_out(
        pairs, left, [p for paths in label_files.values() for p in paths if p not in used], channel, channels
    )
    return pairs


def _check_folders(*folders: Path) -> None:
    for folder in folders:
        if not look.is_dir(folder):
            raise InputFileError(
                f"There is no folder '{folder}'.",
                "Check the folders of the images and the labels.",
                setting=("images", "labels"),
            )


def _labels_of(folder: Path, images: dict[str, list[Path]] | None) -> dict[str, list[Path]]:
    """Label files by name; ``images``: the image files, if they are in the same folder."""
    files = files_by_name(folder)
    if images is None:
        return files
    taken = {path for paths in images.values() for path in paths}
    left = {name: [path for path in paths if path not in taken] for name, paths in files.items()}
    return {name: paths for name, paths in left.items() if paths}


def _label_names(case: str, labels: dict[str, list[Path]]) -> list[str]:
    """Names of the label files of a case: the name of the case, or else those with an ending."""
    if case in labels:
        return [case]
    return [case + end for end in _LABEL_ENDS if case + end in labels]


def _paired(case: str, images: list[Path], names: list[str], labels: dict, notes: list[str]) -> list[tuple]:
    candidates = [path for name in names for path in labels[name]]
    exact = [(image, label) for image in images for label in candidates if image.name == label.name]
    if not exact and len(images) == len(candidates) == 1:
        exact = [(images[0], candidates[0])]
    if not exact:
        shown = " and ".join(path.name for path in (images if len(images) > 1 else candidates))
        kind = "images" if len(images) > 1 else "label files"
        raise TrainingDataError(
            f"Case '{case}' has several {kind}, {shown}, in '{(images if len(images) > 1 else candidates)[0].parent}'.",
            "Move all but one of them to another folder.",
        )
    idle = [path for path in images + candidates if path not in [p for pair in exact for p in pair]]
    notes += [f"'{path}' is left out: '{exact[0][0].name}' has a partner of exactly the same name." for path in idle]
    if len(exact) == 1:
        return [(case, *exact[0])]
    return [(image.name, image, label) for image, label in exact]


def _check_found(pairs: Pairs, images: Path, labels: Path, channel: int, channels: dict[int, list[str]]) -> None:
    if pairs.found:
        return
    if channels:
        have = ", ".join(map(str, sorted(channels)))
        raise TrainingDataError(
            f"No case in '{images}' has channel {channel} (_{channel:04}); there are channels {have}.",
            "Choose one of them.",
            setting="channel",
            value=str(min(channels)),
        )
    raise TrainingDataError(
        f"No file in '{images}' has a label of the same name in '{labels}'.",
        "Name images and labels alike, for example images/a.nii.gz and labels/a.nii.gz, or a.nrrd and a.seg.nrrd in one"
        " folder.",
    )


def _check_own_labels(pairs: Pairs) -> None:
    """Refuse two images with one label file, ``a.nii.gz`` and ``a_0000.nii.gz``: one patient would be two cases."""
    owner: dict[Path, Path] = {}
    for name, image, label in pairs.found:
        if (other := owner.setdefault(label, image)) != image:
            raise TrainingDataError(
                f"Case '{name}' has several images, {other.name} and {image.name}, in '{image.parent}', for the one"
                f" label file '{label}'.", "Move all but one of them to another folder.",
            )  # fmt: skip


def _note_left_out(
    pairs: Pairs, images: list[Path], labels: list[Path], channel: int, channels: dict[int, list[str]]
) -> None:
    for number, cases in sorted(channels.items()):
        pairs.notes.append(
            f"Channel {number} (_{number:04}) of {len(cases)} case{'s' * (len(cases) > 1)} is left out, since a model"
            f" sees one channel; channel {channel} is used."
        )
    for paths, partner in ((images, "label"), (labels, "image")):
        if paths:
            kind = "image" if partner == "label" else "label file"
            shown = ", ".join(path.name for path in paths[:_SHOWN]) + (", …" if len(paths) > _SHOWN else "")
            pairs.notes.append(f"{len(paths)} {kind}{'s' * (len(paths) > 1)} without {partner} left out: {shown}.")
