"""Base weights on this machine: official SAM 2.1 checkpoints, and base files of SAM2Adapt.

Official checkpoints are pickles. They are used only if their SHA-256 is in ``BASES``; every other pickle is refused
unread. Base files of SAM2Adapt are safetensors, which cannot hold code.
"""

import contextlib
import difflib
import json
import os
from collections.abc import Callable
from pathlib import Path

from ..shared import files, paths
from ..shared.errors import ChecksumError, InputFileError, ModelFileError, SettingsError, UserError, WeightsMissingError
from ..shared.files import bases_folder, hash_file, megabytes
from ..shared.known_bases import BASES, NAMES, NANO, BaseInfo
from ..shared.safetensors_header import SUFFIX
from .card import PICKLE_SUFFIXES, is_pickle, read_base_card
from .download import download

# To hash this many bytes takes about 20 ms; the hash of a larger file is remembered.
_REMEMBER_ABOVE = 32_000_000
_CACHE = "checksums.json"


def base_file(base: str | Path, sha256: str | None = None) -> Path:
    """Find the file of a base network and make sure that it is safe to read.

    :param base: ``nano``, ``tiny``, ``small``, ``base_plus``, ``large``, the id of a base file in the bases folder, or
        a path.
    :param sha256: hash of the file that a model was trained on; another file is refused.
    :return: a safetensors base file of SAM2Adapt, or an official ``.pt`` whose SHA-256 is right.
    :raises WeightsMissingError: the weights are not on this machine.
    :raises ChecksumError: a ``.pt`` file is not official.
    :raises ModelFileError: the file does not hold base weights, or has another SHA-256.
    """
    if _looks_like_path(base):
        path = paths.expand(base)
        files_here = [(path, check_base(path))]
    else:
        files_here = [(path, check_base(path)) for path in _candidates(str(base))]
    if not files_here:
        raise _missing(str(base))
    for path, digest in files_here:
        if sha256 in (None, digest):
            return path
    path, digest = files_here[0]
    raise ModelFileError(
        f"The model needs base weights with SHA-256 {sha256}, but '{path}' has {digest}.",
        f"Put the weights that the model was trained on into '{bases_folder()}', or train the model again.",
    )


def base_present(base_id: str, sha256: str | None = None) -> bool:
    """Whether this machine has usable weights of a base; quick after the first call."""
    try:
        base_file(base_id, sha256)
    except UserError:
        return False
    return True


def check_base(path: Path) -> str:
    """Make sure that a file holds base weights and is safe to read.

    :return: its SHA-256.
    :raises InputFileError: the file is missing or unreadable; ``ChecksumError``: a ``.pt`` file is not official;
        ``ModelFileError``: the file does not hold base weights.
    """
    if not _is_pickle(path):
        read_base_card(path)
        return file_sha256(path)
    digest = file_sha256(path)
    if any(info.sha256 == digest for info in BASES.values()):
        return digest
    intended = next((info for info in BASES.values() if info.file == path.name), None)
    if intended is not None:
        size = paths.check_file(path).st_size
        raise ChecksumError(
            f"'{path}' is not the official file of that name: it has {size} of {intended.bytes} bytes"
            f" and SHA-256 {digest} instead of {intended.sha256}.",
            "Delete it, then download it again.",
            setting="download_base",
            value=intended.id,
        )
    raise ChecksumError(
        f"'{path}' (SHA-256 {digest}) is not an official SAM 2.1 checkpoint, and other pickles are never read, because"
        " they can run code.",
        "Use a .safetensors base file of SAM2Adapt, or download an official file.",
        setting="download_base",
        value="tiny",
    )


def official_info(path: Path) -> BaseInfo | None:
    """The published base with the size and SHA-256 of a file; None if there is none. Nothing is unpickled."""
    if paths.is_file(path) and paths.check_file(path).st_size in {info.bytes for info in BASES.values()}:
        digest = file_sha256(path)
        return next((info for info in BASES.values() if info.sha256 == digest), None)
    return None


def download_base(
    base_id: str,
    source: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Path:
    """Download an official base, or copy a local file.

    :param source: another address than the publisher's, or a path.
    :raises WeightsMissingError: the base is unknown. Others: as ``download.download``.
    """
    info = BASES.get(base_id)
    if info is None:
        raise WeightsMissingError(
            f"There is no base '{base_id}' to download{_suggestion(base_id)}.", f"Choose one of {', '.join(BASES)}."
        )
    target, address = bases_folder() / info.file, str(source or info.url)
    path = download(address, target, info.sha256, info.bytes, progress=progress, cancel=cancel)
    _remember(path, info.sha256)
    return path


def remove_base(base_id: str) -> list[Path]:
    """Delete a downloaded official base and the rest of a broken download.

    :return: the deleted files.
    :raises WeightsMissingError: there is nothing to delete; ``SettingsError``: this base is not a download.
    """
    if base_id not in BASES:
        raise SettingsError(f"'{base_id}' is not a base that can be downloaded.", f"Choose one of {', '.join(BASES)}.")
    file = bases_folder() / BASES[base_id].file
    present = [path for path in (file, file.with_name(file.name + ".part")) if paths.is_file(path)]
    if not present:
        raise WeightsMissingError(
            f"The base weights '{base_id}' are not on this machine.", "There is nothing to delete."
        )
    for path in present:
        try:
            path.unlink()
        except OSError as error:
            raise files.output_error(path, error) from error
    return present


def file_sha256(path: Path) -> str:
    """SHA-256 (hex) of a file; for a large file, it is remembered with size and modification time.

    :raises InputFileError: the file is missing or unreadable.
    """
    path = Path(path)
    before = paths.check_file(path)
    if before.st_size < _REMEMBER_ABOVE:
        return hash_file(path)
    known = _read_cache().get(str(path.resolve()))
    if isinstance(known, dict) and (known.get("size"), known.get("mtime_ns")) == _state(before):
        return str(known.get("sha256"))
    digest = hash_file(path)
    if _state(paths.check_file(path)) == _state(before):
        _remember(path, digest)
    return digest


def _candidates(base_id: str) -> list[Path]:
    """Files of a base, the official or bundled one first."""
    candidates = []
    if base_id in BASES and paths.is_file(official := bases_folder() / BASES[base_id].file):
        candidates.append(official)
    for folder in (files.bundled_folder(), bases_folder()):
        for path in paths.listing(folder):
            if path.suffix != SUFFIX:
                continue
            # Models and broken files in the same folders are skipped.
            with contextlib.suppress(ModelFileError, InputFileError):
                if read_base_card(path)["id"] == base_id:
                    candidates.append(path)
    return candidates


def _missing(base_id: str) -> WeightsMissingError:
    info = BASES.get(base_id)
    if info is not None:
        return WeightsMissingError(
            f"The base weights '{base_id}' ({info.file}, {megabytes(info.bytes)}) are not on this machine.",
            f"Put the file from {info.url} into '{bases_folder()}', or let SAM2Adapt download it.",
            setting="download_base",
            value=base_id,
        )
    if base_id == NANO:
        return WeightsMissingError(
            f"The base weights 'nano' are missing from '{files.bundled_folder()}', where SAM2Adapt installs them.",
            "Install SAM2Adapt again.",
        )
    return WeightsMissingError(
        f"No base weights '{base_id}' are on this machine{_suggestion(base_id)}.",
        f"Choose one of {', '.join(NAMES)}, or put a base file of SAM2Adapt into '{bases_folder()}'.",
    )


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.5)
    return f"; did you mean '{close[0]}'?" if close else ""


def _looks_like_path(base: str | Path) -> bool:
    if isinstance(base, Path):
        return True
    return any(mark in base for mark in ("/", os.sep)) or base.lower().endswith((SUFFIX, *PICKLE_SUFFIXES))


def _is_pickle(path: Path) -> bool:
    with paths.open_file(path) as file:
        start = file.read(4)
    return path.suffix.lower() in PICKLE_SUFFIXES or is_pickle(start)


def _state(stat: os.stat_result) -> tuple[int, int]:
    return stat.st_size, stat.st_mtime_ns


def _read_cache() -> dict:
    try:
        cache = json.loads(paths.read_text(files.home() / _CACHE))
    except (UserError, ValueError):
        return {}
    return cache if isinstance(cache, dict) else {}


def _remember(path: Path, sha256: str) -> None:
    """Remember the SHA-256 of a large file; if the home folder cannot be written, it is computed again next time."""
    stat = paths.check_file(path)
    if stat.st_size < _REMEMBER_ABOVE:
        return
    entry = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "sha256": sha256}
    with contextlib.suppress(UserError, OSError):
        cache = _read_cache() | {str(path.resolve()): entry}
        with files.atomic_write(files.make_folder(files.home()) / _CACHE) as file:
            file.write(json.dumps(cache, indent=1).encode())
