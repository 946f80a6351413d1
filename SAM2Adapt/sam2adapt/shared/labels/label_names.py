"""Find what label values mean: names, colours and codes, in or beside the label files.

``label_table`` serves shell, panel and console. It reads segments in a .seg.nrrd file, the Caret table in a NIfTI file
(as TotalSegmentator writes it), the colour table in a .mgz file, label descriptions of ITK-SNAP, colour tables of
FreeSurfer and Slicer, ``dseg.tsv`` of BIDS, ``dataset.json`` of nnU-Net (1 and 2) and MSD, and ``labels.json``.
"""

import csv
import fnmatch
import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import paths
from ..errors import ClassesError, InputFileError, TrainingDataError
from .embedded_tables import caret_table, freesurfer_table
from .image_names import SEGMENTATION, stem_of, suffix_of
from .label_entries import LabelEntry, LabelTable, color_of

_IGNORE = "ignore"  # nnU-Net's name for voxels that are not annotated
_LONGEST = 1 << 24  # bytes of a header or table


def label_table(path: Path, of_folder: "Callable[[Path, str], LabelTable | None] | None" = None) -> LabelTable | None:
    """Find the meaning of the values in a label file: in the file, in one beside it, or in one for its folder.

    :param of_folder: called for the table of a folder, instead of ``folder_table``; it may remember tables.
    :return: None if no table exists.
    :raises InputFileError: a table cannot be read. :raises TrainingDataError: ``dataset.json`` is damaged.
    :raises ClassesError: ``dataset.json`` describes regions that overlap.
    """
    path = Path(path)
    suffix = suffix_of(path)
    if suffix == SEGMENTATION:
        return segments_in_header(path)
    for beside in _beside(path):
        if table := _read_table(beside):
            return table
    if suffix in (".nii", ".nii.gz") and (table := caret_table(path)):
        return table
    if suffix in (".mgz", ".mgh") and (table := freesurfer_table(path)):
        return table
    return (of_folder or folder_table)(path.parent, suffix)


def folder_table(folder: Path, suffix: str = "") -> LabelTable | None:
    """Find the meaning of the values in all label files of a folder, in a table in this folder or its parent.

    :param suffix: of the label files; FreeSurfer has a table for its own.
    """
    for place in (folder, folder.parent):
        if paths.is_file(place / "dataset.json"):
            return dataset_table(place / "dataset.json")
        listed = [file for file in paths.listing(place) if not file.name.startswith(".")]
        for pattern in ("labels.json", "*dseg.tsv", "*.label", "*.ctbl", "*LUT*.txt", "labels.txt", "*label*.txt"):
            tables = [file for file in listed if fnmatch.fnmatch(file.name, pattern) and paths.is_file(file)]
            if len(tables) == 1 and (table := _read_table(tables[0])):
                return table
    standard = Path(os.environ.get("FREESURFER_HOME", "")) / "FreeSurferColorLUT.txt"
    if suffix in (".mgz", ".mgh") and os.environ.get("FREESURFER_HOME") and paths.is_file(standard):
        return _read_table(standard)
    return None


def dataset_table(path: Path) -> LabelTable:
    """Read the classes of a ``dataset.json``: MSD and nnU-Net 1 write ``{"1": "name"}``, nnU-Net 2 ``{"name": 1}``.

    :raises TrainingDataError: it cannot be parsed. :raises ClassesError: it describes regions that overlap.
    """
    table, regions = LabelTable(path), {}
    try:
        for key, value in json.loads(paths.read_text(path))["labels"].items():
            if isinstance(value, list):
                regions[str(key)] = tuple(int(number) for number in value)
                continue
            number, name = (int(key), str(value)) if str(key).isdigit() else (int(value), str(key))
            if name.lower() == _IGNORE:
                table.ignored.add(number)
            elif number:
                table.entries[number] = LabelEntry(name)
    except (InputFileError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = error.message if isinstance(error, InputFileError) else f"{error}."
        raise TrainingDataError(
            f"'{path}' cannot be read as an MSD or nnU-Net description: {reason}",
            "Correct the file, or give the folders of the images and the labels, and name the classes.",
            setting=("images", "labels", "classes"),
        ) from error
    _add_regions(table, regions)
    return table


def _add_regions(table: LabelTable, regions: dict[str, tuple[int, ...]]) -> None:
    """Add regions of nnU-Net as classes of several label values; refuse regions that overlap."""
    regions = {name: tuple(n for n in values if n) for name, values in regions.items() if any(values)}
    counted: dict[int, str] = {value: entry.name for value, entry in table.entries.items()}
    for name, values in regions.items():
        if clash := next((counted[value] for value in values if value in counted), None):
            shown = ", ".join(f"'{n}' = {' + '.join(map(str, v))}" for n, v in regions.items())
            numbers = sorted({*counted, *values})
            raise ClassesError(
                f"'{table.source}' describes regions that overlap ({shown}): voxels of '{name}' also belong to"
                f" '{clash}', but a model gives each voxel one class.",
                "Name the label values instead of the regions.",
                setting="classes",
                value=",".join(f"{n}=name of {n}" for n in numbers),
            )
        for value in values:
            counted[value] = name
            table.entries[value] = LabelEntry(name)


def segments_in_header(path: Path) -> LabelTable | None:
    """Read the segments of a .seg.nrrd file, with the label values that the engine uses, from its header.

    :raises InputFileError: the file cannot be read.
    """
    with paths.open_file(path) as file:
        header = b"".join(_until_empty(file.readline)).decode("utf-8", "replace")
    fields: dict[int, dict[str, str]] = {}
    for number, key, value in re.findall(r"^Segment(\d+)_(\w+):=([^\r\n]*)\r?$", header, re.MULTILINE):
        fields.setdefault(int(number), {})[key] = value
    if not fields:
        return None
    segments = [fields[number] for number in sorted(fields)]
    values = [int(segment.get("LabelValue", "1")) for segment in segments]
    if len(set(values)) < len(values):  # in layers; numbered as in segmentation_file.merge_layers
        values = list(range(1, len(values) + 1))
    table = LabelTable(path, complete=False)  # a model also writes structures without voxels
    for value, segment in zip(values, segments, strict=True):
        terminology = re.search(r"(?:^|\|)TerminologyEntry:([^|]*)", segment.get("Tags", ""))
        color = color_of(segment.get("Color", "").split(), 1.0)
        name = segment.get("Name", segment.get("ID", f"Segment_{value}"))
        table.entries[value] = LabelEntry(name, color, terminology[1] if terminology else "", segment.get("ID", ""))
    return table


def _until_empty(readline: Callable[[int], bytes]) -> Iterator[bytes]:
    read = 0
    while (line := readline(_LONGEST)).strip() and read < _LONGEST:
        read += len(line)
        yield line


def _beside(path: Path) -> list[Path]:
    stem = stem_of(path)
    names = [f"{stem}{end}" for end in (".tsv", ".label", ".txt", ".ctbl", "_ColorTable.ctbl", ".json")]
    return [path.parent / name for name in names if paths.is_file(path.parent / name)]


def _read_table(path: Path) -> LabelTable | None:
    """Read a table of any kind, by its contents; None if it is not a table."""
    with paths.open_file(path) as file:
        text = file.read(_LONGEST).decode("utf-8-sig", "replace")
    table = LabelTable(path, complete=False)
    suffix = path.suffix.lower()
    entries = _from_json(text) if suffix == ".json" else _from_tsv(text) if suffix == ".tsv" else _from_lines(text)
    for value, entry in entries:
        if value > 0 and entry.name:
            table.entries[value] = entry
    return table if table.entries else None


def _from_json(text: str) -> Iterator[tuple[int, LabelEntry]]:
    try:
        content = json.loads(text)
    except ValueError:
        return
    if isinstance(content, dict):
        for key, value in content.items():
            if key.isdigit() and isinstance(value, str):
                yield int(key), LabelEntry(value)


def _from_tsv(text: str) -> Iterator[tuple[int, LabelEntry]]:
    """BIDS: columns index, name, and perhaps color (#rrggbb)."""
    for row in csv.DictReader(text.splitlines(), delimiter="\t"):
        index, name = (row.get("index") or "").strip(), (row.get("name") or "").strip()
        if index.isdigit() and name:
            digits = (row.get("color") or "").strip().lstrip("#")
            parts = (
                [str(int(digits[n : n + 2], 16)) for n in (0, 2, 4)] if re.fullmatch("[0-9a-fA-F]{6}", digits) else []
            )
            yield int(index), LabelEntry(name, color_of(parts, 255.0))


def _from_lines(text: str) -> Iterator[tuple[int, LabelEntry]]:
    """ITK-SNAP (index, R, G, B, A, two switches, "name"), or FreeSurfer and Slicer (index, name, R, G, B, A)."""
    for line in text.splitlines():
        snap = re.fullmatch(r'\s*(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s+[\d.]+\s+[01]\s+[01]\s+"(.*)"\s*', line)
        if snap:
            yield int(snap[1]), LabelEntry(snap[5].strip(), color_of(snap.groups()[1:4], 255.0))
            continue
        if named := re.fullmatch(r"\s*(\d+)\s+(\S.*?)\s+(\d+)\s+(\d+)\s+(\d+)\s+(\d+)\s*", line):
            yield int(named[1]), LabelEntry(named[2], color_of(named.groups()[2:5], 255.0))
