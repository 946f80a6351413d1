"""A folder of packages, models and weights that was filled on a computer with internet, for one without."""

import os
import platform
import re
import shlex
import subprocess
from pathlib import Path

from sam2adapt.shared import paths
from sam2adapt.shared.errors import UserError
from sam2adapt.shared.files import hash_file
from sam2adapt.shared.known_bases import BASES
from sam2adapt.shared.safetensors_header import MODEL_KEY, SUFFIX, read_metadata
from slicer.i18n import tr as _

from SAM2AdaptLib.Engine.Error import EngineError
from SAM2AdaptLib.Engine.Requirements import requirements
from SAM2AdaptLib.Install.PythonEnvironment import (
    BUILD_TOOLS,
    OK,
    SAM2,
    PythonEnvironment,
    torchRequirements,
)

FOLDER = "SAM2Adapt-offline"
# Versions and hashes of all packages, for Python 3.11 to 3.13 on all systems, made by Testing/requirements/lock.sh.
LOCKS = Path(__file__).resolve().parents[2] / "Resources" / "Offline"
PACKAGES_LOCK, PYTORCH_LOCK = "packages.txt", "pytorch.txt"
# PyPI has only their sources, whose hashes are locked: what is built from them has another each time.
BUILT = ("antlr4-python3-runtime", "iopath", "sam2")

PACKAGE_SUFFIXES = (".whl", ".tar.gz", ".zip")
SUMS = "SHA256SUMS"  # of the packages, as sha256sum writes and checks it
_WRITE_SUMS = (
    f"import hashlib, pathlib; f = pathlib.Path('{FOLDER}'); (f / '{SUMS}').write_text(''.join(hashlib.sha256("
    "p.read_bytes()).hexdigest() + '  ' + p.name + chr(10) for p in sorted(f.iterdir()) if p.suffix in ('.whl', '.gz',"
    " '.zip')))"
)


def checkFolder(folder):
    """Make sure that a folder can be installed from.

    :param folder: path.
    :raises EngineError: there is no such folder, or no package in it.
    """
    if not Path(folder).is_dir():
        raise EngineError(
            "InstallError",
            _("The folder “{folder}” does not exist.").format(folder=folder),
            _("Choose the folder that holds the downloaded packages."),
        )
    if not any(path.name.endswith(PACKAGE_SUFFIXES) for path in Path(folder).iterdir()):
        raise EngineError(
            "InstallError",
            _("There are no Python packages (.whl files) in “{folder}”.").format(folder=folder),
            _("Choose the folder that holds the downloaded packages, not the one above it."),
        )
    _checkSums(Path(folder))


def _checkSums(folder):
    """Compare each package with the lock, and with the folder's SHA256SUMS, which alone knows what is not locked.

    :raises EngineError: a package is another than there, or is known to neither.
    """
    try:
        lines = paths.read_text(folder / SUMS).splitlines() if paths.is_file(folder / SUMS) else []
    except (UserError, ValueError) as error:
        raise EngineError("InstallError", str(error), _("Bring the whole folder again.")) from error
    known = {name.strip(" *"): {digest} for digest, _space, name in (line.partition(" ") for line in lines)}
    locked = lockedHashes()
    for path in sorted(folder.iterdir()):
        if not path.name.endswith(PACKAGE_SUFFIXES):
            continue
        package = _nameAndVersion(path.name)
        expected = [
            (source, hashes)
            for source, hashes in (
                (_("the list of SAM2Adapt"), locked.get(package) if package[0] not in BUILT else None),
                (SUMS, known.get(path.name)),
            )
            if hashes
        ]
        if not expected:
            raise EngineError(
                "InstallError",
                _("“{name}” is not among the packages that SAM2Adapt lists, and {sums} says nothing of it.").format(
                    name=path.name, sums=SUMS
                ),
                _(
                    "Bring the whole folder again, with the file {sums}, which the last command of the list writes."
                ).format(sums=SUMS),
            )
        digest = hash_file(path)
        for source, hashes in expected:
            if digest not in hashes:
                raise EngineError(
                    "InstallError",
                    _("“{name}” has the SHA-256 {digest}, and {source} says {known}.").format(
                        name=path.name, digest=digest, source=source, known=_(" or ").join(sorted(hashes)[:2])
                    ),
                    _("Bring the whole folder again."),
                )


def lockedHashes():
    """SHA-256 of the files of each package in the lock.

    :return: dict of (name, version) to set of hexadecimal digests; names in lower case, with hyphens.
    """
    found, package = {}, None
    for name in (PACKAGES_LOCK, PYTORCH_LOCK):
        for line in (LOCKS / name).read_text(encoding="utf-8").splitlines():
            if start := re.match(r"([A-Za-z0-9._-]+)==([^ ;]+)", line):
                package = _canonical(start[1]), start[2]
            for digest in re.findall(r"--hash=sha256:([0-9a-f]{64})", line):
                found.setdefault(package, set()).add(digest)
    return found


def _nameAndVersion(fileName):
    """Of a package, from the name of its file."""
    stem = fileName.removesuffix(".whl").removesuffix(".zip").removesuffix(".tar.gz")
    if fileName.endswith(".whl"):
        name, _hyphen, rest = stem.partition("-")
        return _canonical(name), rest.partition("-")[0]
    name, _hyphen, version = stem.rpartition("-")
    return _canonical(name), version


def _canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def weightFiles(folder):
    """Arguments of the engine's command line for each model and each base's weights in a folder.

    Both commands do nothing for what is here already.

    :param folder: path.
    :return: list of (file name, list of arguments).
    """
    weights = []
    for info in BASES.values():
        path = Path(folder, info.file)
        if path.is_file():
            weights.append((path.name, ["models", "download", info.id, "--from", str(path)]))
    models = [path for path in sorted(Path(folder).glob(f"*{SUFFIX}")) if _isModel(path)]
    return weights + [(path.name, ["models", "add", str(path)]) for path in models]


def _isModel(path):
    """Whether a file says that it is a model of SAM2Adapt; the engine checks the rest of it."""
    try:
        return MODEL_KEY in read_metadata(path)
    except (OSError, ValueError):
        return False


def shoppingList(python=None):
    """What to fetch on a computer with internet for what is missing here, to print or to take along.

    :param python: path of the engine's interpreter; None for the one that is used.
    :return: text with the commands and addresses.
    """
    weights = [f"   {info.url}  ({info.bytes / 1e6:.0f} MB)" for info in BASES.values()]
    lines = [
        _("How to install the engine of SAM2Adapt on a computer without internet"),
        "",
        _(
            "1. On a computer with internet, with the same operating system ({system}) and the same Slicer or Python"
            " {python}, open a terminal in Slicer's folder “bin”. These commands fill the folder {folder}:"
        ).format(system=platform.system(), python=".".join(platform.python_version_tuple()[:2]), folder=FOLDER),
        *_packageCommands(PythonEnvironment(python)),
        _("   and at last their checksums, by which the installation sees that they arrived unchanged:"),
        _command("-c", _WRITE_SUMS),
        "",
        _("2. Weights of base networks; only some models and trainings need them. Put them into the same folder:"),
        *weights,
        "",
        _("3. Models that you were given (.safetensors): put them into the same folder."),
        "",
        _("4. Bring the folder here and choose it to install the engine from. No network is used then."),
    ]
    return "\n".join(lines)


def _packageCommands(environment):
    """The commands that fetch what is missing, each after a line that says what it fetches."""
    torch = torchRequirements(environment.sitePackages)
    lines = ["   " + _("First copy the folder {folder} there: it names versions and SHA-256 of all packages.").format(
        folder=LOCKS)]  # fmt: skip
    if any(environment.state(text) != OK for text in torch):
        lines += [
            _("   PyTorch as PyPI has it (Linux: for NVIDIA GPUs, about 3 GB; Windows and macOS: about 200 MB):"),
            _lockedCommand(PYTORCH_LOCK),
            _("   or another one, whose SHA-256 only PyTorch's server says, for an NVIDIA GPU (about 3 GB; for another"
              " version of CUDA replace cu128):"),
            _wheelCommand(*torch, "--index-url", "https://download.pytorch.org/whl/cu128"),
            _("   or for the CPU (about 200 MB):"),
            _wheelCommand(*torch, "--index-url", "https://download.pytorch.org/whl/cpu"),
        ]  # fmt: skip
    if any(environment.state(text) != OK for text in (*BUILD_TOOLS, *requirements(), *SAM2)):
        switch = "set SAM2_BUILD_CUDA=0" if os.name == "nt" else "export SAM2_BUILD_CUDA=0"
        lines += [_("   all the rest (about 200 MB):"), f"   {switch}", _lockedCommand(PACKAGES_LOCK)]
    return lines


def _lockedCommand(lock):
    # Without isolation, as that would fetch build tools of which no hash is known.
    options = ("--no-deps", "--no-build-isolation", "--require-hashes")
    return _wheelCommand(*options, "-r", str(Path(LOCKS.name, lock)))


def _wheelCommand(*arguments):
    return _command("-m", "pip", "wheel", "-w", FOLDER, *arguments)


def _command(*arguments):
    words = ["PythonSlicer" if os.name == "nt" else "./PythonSlicer", *arguments]
    return "   " + (subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words))
