"""A folder of packages, models and weights that was filled on a computer with internet, for one without."""

import os
import platform
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
    packageName,
    torchRequirements,
)

FOLDER = "SAM2Adapt-offline"

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
    """Compare the packages with the folder's SHA256SUMS, if it has one.

    :raises EngineError: a package is another than there, or none of those there.
    """
    try:
        lines = paths.read_text(folder / SUMS).splitlines() if paths.is_file(folder / SUMS) else None
    except (UserError, ValueError) as error:
        raise EngineError("InstallError", str(error), _("Bring the whole folder again.")) from error
    if lines is None:
        return
    known = {name.strip(" *"): digest for digest, _space, name in (line.partition(" ") for line in lines)}
    for path in sorted(folder.iterdir()):
        if path.name.endswith(PACKAGE_SUFFIXES) and (digest := hash_file(path)) != known.get(path.name):
            raise EngineError(
                "InstallError",
                _("“{name}” has the SHA-256 {digest}, and {sums} says {known}.").format(
                    name=path.name, digest=digest, sums=SUMS, known=known.get(path.name, _("nothing of it"))
                ),
                _("Bring the whole folder again."),
            )


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
    """The commands that fetch the packages that are missing, each after a line that says what it fetches."""
    torch = torchRequirements(environment.sitePackages)
    others = [text for text in (*BUILD_TOOLS, *requirements()) if environment.state(text) != OK]
    # These two would bring a second torch along.
    alone = [text for text in (*others, *SAM2) if packageName(text) in ("monai", "sam2")]
    others = [text for text in others if text not in alone]
    lines = []
    if any(environment.state(text) != OK for text in torch):
        lines += [
            _("   PyTorch for an NVIDIA GPU (about 3 GB; for another version of CUDA replace cu128), or"),
            _wheelCommand(*torch, "--index-url", "https://download.pytorch.org/whl/cu128"),
            _("   PyTorch for the CPU (about 200 MB):"),
            _wheelCommand(*torch, "--index-url", "https://download.pytorch.org/whl/cpu"),
        ]
    lines += [_("   all the rest (about 100 MB):"), *([_wheelCommand(*others)] if others else [])]
    switch = "set SAM2_BUILD_CUDA=0" if os.name == "nt" else "export SAM2_BUILD_CUDA=0"
    return [*lines, f"   {switch}", _wheelCommand("--no-deps", "--no-build-isolation", *alone)]


def _wheelCommand(*arguments):
    return _command("-m", "pip", "wheel", "-w", FOLDER, *arguments)


def _command(*arguments):
    words = ["PythonSlicer" if os.name == "nt" else "./PythonSlicer", *arguments]
    return "   " + (subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words))
