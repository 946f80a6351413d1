"""A note beside the packages while they are written, so that an installation that was killed is seen and repaired.

pip writes what it says of a package (its metadata) and the code file by file; after a kill or a power cut, a package
that it lists may lack half of its code, or one that others need was never written.
"""

import importlib.metadata
import json
import os
import shutil
from pathlib import Path

NOTE = "SAM2Adapt-unfinished.json"


def begin(sitePackages, names):
    """Note that packages are going to be written; a note that is there already is added to.

    :param sitePackages: path of the folder of packages.
    :param names: list of their names; what they bring along need not be named.
    """
    former = _read(sitePackages) or {"packages": [], "before": [path.name for path in _metadataFolders(sitePackages)]}
    former["packages"] = sorted({*former["packages"], *map(_canonical, names)})
    part = Path(sitePackages, f"{NOTE}.part")
    with part.open("w", encoding="utf-8") as file:
        json.dump(former, file)
        file.flush()
        os.fsync(file.fileno())
    part.replace(Path(sitePackages, NOTE))


def end(sitePackages):
    """Remove the note if all that it speaks of is there."""
    if not unfinished(sitePackages):
        Path(sitePackages, NOTE).unlink(missing_ok=True)


def unfinished(sitePackages):
    """Names (lower case) of the packages that an installation was killed before it had written them wholly.

    :param sitePackages: path of the folder of packages; "" if there is none.
    """
    note = _read(sitePackages) if sitePackages else None
    if note is None:
        return []
    present = {_name(path): path for path in _metadataFolders(sitePackages)}
    new = (name for name, path in present.items() if path.name not in note["before"])
    return sorted(name for name in {*note["packages"], *new} if name not in present or not _isWhole(present[name]))


def removeRemains(sitePackages, name, importName):
    """Remove what there is of a package, so that pip writes it again.

    :param name: in lower case, as ``unfinished`` gives it.
    :param importName: name of its folder of code.
    """
    site = Path(sitePackages).resolve()
    for metadata in [path for path in _metadataFolders(site) if _name(path) == name]:
        for file in _files(metadata):
            path = Path(os.path.normpath(site / file))
            if path.is_relative_to(site) and not path.is_dir():
                path.unlink(missing_ok=True)
        shutil.rmtree(metadata)
    shutil.rmtree(site / importName, ignore_errors=True)


def withoutMetadata(sitePackages):
    """Folders that are named after packages and say nothing of them, as a killed installation leaves them.

    :return: dict from the name (lower case) to paths.
    """
    found = {}
    for folder in _metadataFolders(sitePackages):
        if not (folder / "METADATA").is_file():
            found.setdefault(_name(folder), []).append(folder)
    return found


def _read(sitePackages):
    try:
        note = json.loads(Path(sitePackages, NOTE).read_text(encoding="utf-8"))
        return {key: list(map(str, note[key])) for key in ("packages", "before")}
    except (OSError, ValueError, KeyError, TypeError):
        # There is none, or it is damaged. All packages could be looked at then, but Slicer's own may have other files
        # than pip wrote, and what counts as unfinished is removed.
        return None


def _metadataFolders(sitePackages):
    return list(Path(sitePackages).glob("*.dist-info"))


def _name(metadata):
    """Name of the package of a folder such as ``hydra_core-1.3.2.dist-info``."""
    return _canonical(metadata.name.partition("-")[0])


def _canonical(name):
    from packaging.utils import canonicalize_name

    return canonicalize_name(name)


def _files(metadata):
    return importlib.metadata.PathDistribution(metadata).files or []


def _isWhole(metadata):
    """Whether pip came to the end of a package, and all its files have the size that they should have."""
    # pip writes it after all files of the package itself.
    if not (metadata / "INSTALLER").is_file() or not (metadata / "METADATA").is_file():
        return False
    for file in _files(metadata):
        try:
            size = os.stat(metadata.parent / file).st_size
        except OSError:
            return False
        if file.size not in (None, size):
            return False
    return True
