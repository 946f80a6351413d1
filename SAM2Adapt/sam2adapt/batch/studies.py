"""Find the volumes of a batch in files, folders and CSV lists, and name the output of each.

DICOM files are sorted into series, even if a series is in several folders or a folder holds several series. Outputs are
in the same subfolders as the inputs, relative to the deepest folder that all inputs share.
"""

import contextlib
import hashlib
import logging
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..imaging.dicom import SeriesInfo, is_dicom, list_series, scan
from ..shared import paths as look
from ..shared.errors import InputFileError, SeriesError, UserError
from ..shared.labels.image_names import DETACHED, FILE_SUFFIXES, SEGMENTATION, stem_of, suffix_of
from ..shared.study_lists import inputs_of, shared_folder

logger = logging.getLogger(__name__)
_SUFFIXES = FILE_SUFFIXES - {SEGMENTATION}  # segmentations are not inputs


@dataclass(frozen=True)
class Study:
    """One volume of a batch.

    :ivar source: the file, or the folder of the DICOM series.
    :ivar name: path of the output in the output folder, with "/", without suffix.
    :ivar series: identifier of the DICOM series, else "".
    :ivar files: the files of the DICOM series, else ().
    :ivar size: bytes of its files.
    :ivar fingerprint: changes when the path, size or modification time of one of its files changes.
    :ivar problem: why it cannot be read, if that is known.
    """

    source: Path
    name: str = ""
    series: str = ""
    files: tuple[str, ...] = ()
    size: int = 0
    fingerprint: str = ""
    problem: UserError | None = None
    description: str = field(default="", compare=False)

    def to_json(self) -> dict[str, Any]:
        """The study as plain data for ``from_json``."""
        problem = None if self.problem is None else self.problem.to_json()
        return vars(self) | {"source": str(self.source), "files": list(self.files), "problem": problem}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> "Study":
        """The study that ``to_json`` returned."""
        problem = None if entry["problem"] is None else UserError.from_json(entry["problem"])
        return cls(**entry | {"source": Path(entry["source"]), "files": tuple(entry["files"]), "problem": problem})


def hidden_folder(output: Path) -> Path:
    """The folder for the records of an output folder."""
    return output / ".sam2adapt"


def find_studies(
    inputs: Iterable[Path], output: Path, names: Mapping[tuple[str, str], str] | None = None
) -> list[Study]:
    """Find all volumes of the inputs: files in the order of inputs and names, then the DICOM series.

    A file that cannot be read becomes a study with a ``problem``, so that it appears in the results and stops no other.

    :param inputs: image files, DICOM files, folders (with their subfolders), and .csv files with a column "input".
    :param output: folder of the outputs; output folders of this and other batches in an input folder are left out.
    :param names: names of studies from earlier runs, by source and series; studies keep them when inputs are added.
    :raises InputFileError: a CSV file cannot be read, or the inputs hold no volume.
    :raises SettingsError: an input is in the output folder, or a CSV file has no column "input".
    """
    output = Path(os.path.abspath(output))
    paths = inputs_of(inputs, output)
    plain: dict[Study, None] = {}
    dicom: dict[str, list[str]] = {}
    for path in paths:
        _sort(path, output, plain, dicom)
    studies = [*plain, *_series(dicom)]
    if not studies:
        raise InputFileError("There is no volume to segment.", "Give image files, folders, or a CSV list of them.")
    return [_measured(study) for study in _named(studies, shared_folder(paths), names or {})]


def _sort(path: Path, output: Path, plain: dict[Study, None], dicom: dict[str, list[str]]) -> None:
    """Add the images of a file or folder to the plain studies, or to the DICOM files by folder."""
    unreadable: list[Study] = []
    empty = True
    for image in _images(path, output, lambda place, problem: unreadable.append(Study(place, problem=problem))):
        empty = False
        try:
            look.utf8_name(image)
            if _is_dicom(image):
                dicom.setdefault(str(image.parent), []).append(str(image))
            else:
                plain[Study(image)] = None
        except UserError as problem:
            plain[Study(image, problem=problem)] = None
    plain |= dict.fromkeys(unreadable)
    if empty and not unreadable:
        problem = InputFileError(f"There is no image in the folder '{path}'.", "Choose a folder that holds images.")
        plain[Study(path, problem=problem)] = None


def series_files(folder: Path, series: str) -> tuple[str, ...]:
    """The files of a DICOM series in a folder, in the order of their positions.

    :raises SeriesError: the folder does not hold the series.
    """
    here, _ = _split([str(path) for path in look.listing(folder) if _is_dicom(path)])
    for info in here:
        if info.uid == series:
            return info.files
    raise SeriesError(f"{folder} does not hold the series '{series}'.", "Run the batch again.")


def _images(folder: Path, output: Path, on_error: Callable[[Path, UserError], None]) -> Iterator[Path]:
    """Yield the image files of a folder and its subfolders; hidden files ("._name" of a Mac, too) are left out.

    Files that cannot be examined are included, because they may be images. If the path is not a folder, yield it.
    """

    def is_searched(path: Path) -> bool:
        if path.name.startswith(".") or path == output:
            return False
        return not _or(look.exists, hidden_folder(path), otherwise=False)

    if not _or(look.is_dir, folder, otherwise=False):
        yield folder
        return
    for place, folders, names in look.walk(folder, on_error):
        folders[:] = [name for name in folders if is_searched(place / name)]
        for name in names:
            known = suffix_of(name) in _SUFFIXES
            is_image = known or (suffix_of(name) != SEGMENTATION and _or(_is_dicom, place / name, otherwise=True))
            if is_image and not name.startswith("."):
                yield place / name


def _or(question: Callable[[Path], bool], path: Path, otherwise: bool) -> bool:
    """The answer to a question about a path; ``otherwise`` if it cannot be examined; reading it gives the error."""
    try:
        return question(path)
    except UserError:
        return otherwise


def _is_dicom(path: Path) -> bool:
    return suffix_of(path) not in _SUFFIXES and look.is_file(path) and is_dicom(path)


def _series(files: dict[str, list[str]]) -> Iterator[Study]:
    """Sort DICOM files by folder into series; the parts of a series in several folders are joined."""
    folders: dict[str, list[str]] = {}  # of each identifier
    series_of: dict[str, list[SeriesInfo]] = {}  # of each folder
    for folder, paths in files.items():
        whole, damaged = _split(paths)
        yield from (Study(Path(path), problem=error) for path, error in damaged)
        series_of[folder] = whole
        for uid in dict.fromkeys(_base(info) for info in whole):
            folders.setdefault(uid, []).append(folder)
    for folder, series in series_of.items():
        for uid in dict.fromkeys(_base(info) for info in series):
            infos = [info for info in series if _base(info) == uid]
            if folders[uid][0] != folder:
                continue
            if len(folders[uid]) > 1:
                parts = (info for other in folders[uid] for info in series_of[other] if _base(info) == uid)
                infos = list_series([path for info in parts for path in info.files])
            yield from (
                Study(Path(folder), series=info.uid, files=info.files, description=info.description) for info in infos
            )


def _base(info: SeriesInfo) -> str:
    # Images without an identifier belong together only within a folder.
    return info.uid.partition("#")[0] if not info.uid.startswith("unnamed") else f"unnamed {info.files[0]}"


def _split(paths: list[str]) -> tuple[list[SeriesInfo], list[tuple[str, UserError]]]:
    """The series of some files, and damaged files; files that show no anatomy are left out and logged."""
    scanned = scan(list(dict.fromkeys(paths)))
    if left_out := scanned.left_out():
        logger.warning("%s", left_out)
    return [info for info, _ in scanned.series], [(file.path, file.error) for file in scanned.unreadable]


def _named(studies: list[Study], root: Path, known: Mapping[tuple[str, str], str]) -> Iterator[Study]:
    """Give each study its earlier name, or the shortest free one; upper and lower case count as equal."""
    series = Counter(study.source for study in studies if study.series)
    names = [_names(study, root, series[study.source] == 1) for study in studies]
    short = Counter(name.casefold() for name, _ in names)
    taken = Counter(name.casefold() for name in known.values())
    for study, (name, longer) in zip(studies, names, strict=True):
        if kept := known.get((str(study.source), study.series)):
            yield replace(study, name=kept)
            continue
        chosen = name if short[name.casefold()] == 1 and not taken[name.casefold()] else longer
        taken[chosen.casefold()] += 1
        number = taken[chosen.casefold()]
        yield replace(study, name=chosen if number == 1 else f"{chosen}-{number}")


def _names(study: Study, root: Path, alone: bool) -> tuple[str, str]:
    """A short name, and a longer one in case another study has the short one."""
    place = study.source.relative_to(root)
    if not study.series:
        return place.with_name(stem_of(place) or place.name).as_posix() if place.name else root.name, place.as_posix()
    uid = _file_name(study.series)
    if alone:
        return place.as_posix() if place.parts else root.name, (place / uid).as_posix()
    description = _file_name(study.description) or "series"
    return (place / description).as_posix(), (place / f"{description} {uid}").as_posix()


def _file_name(text: str) -> str:
    """A name that every file system accepts."""
    return re.sub(r'[<>:"/\\|?*\x00-\x1f]+', "_", text).strip(" .")[:100]


def _measured(study: Study) -> Study:
    beside = [study.source]
    if suffix_of(study.source) in DETACHED:
        stem = stem_of(study.source)
        with contextlib.suppress(UserError):  # if the folder cannot be listed, only the header counts
            beside = [path for path in look.listing(study.source.parent) if path.name.startswith(f"{stem}.")]
    size, digest = 0, hashlib.sha256(study.series.encode())
    for path in study.files or beside:
        status = None
        with contextlib.suppress(UserError):  # reading it gives the error
            status = look.status(path)
        if status is None:
            continue
        size += status.st_size
        digest.update(f"\0{path}\0{status.st_size}\0{status.st_mtime_ns}".encode("utf-8", "surrogateescape"))
    return replace(study, size=size, fingerprint=digest.hexdigest())
