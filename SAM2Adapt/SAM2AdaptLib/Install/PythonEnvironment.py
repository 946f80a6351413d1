"""What is installed for the engine's Python, and what the engine needs, without running anything."""

import importlib
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import re
import sys
import sysconfig
from pathlib import Path

from SAM2AdaptLib.Engine.Process import enginePython
from SAM2AdaptLib.Install import Unfinished

# What sam2 asks for.
TORCH = ("torch>=2.5.1", "torchvision>=0.20.1")
BUILD_TOOLS = ("setuptools>=70.1",)  # the first that builds wheels without the package wheel
SAM2 = ("sam2==1.1.0",)
# Slicer and its extensions have loaded these or are built against them: whatever pip thinks, they stay as they are.
PROTECTED = ("numpy", "scipy", "SimpleITK", "vtk", "itk", "pydicom", "highdicom", "torch", "torchvision", "torchaudio")
IMPORT_NAMES = {"hydra-core": "hydra", "Pillow": "PIL", "scikit-image": "skimage", "scikit-learn": "sklearn"}

OK, MISSING, BROKEN, OTHER_VERSION = "ok", "missing", "broken", "other version"

# Windows refuses longer paths, whatever its settings say, because PythonSlicer does not ask for them.
MAX_WINDOWS_PATH = 259
# Longest paths inside the packages, with some reserve: those of torch's headers, and in 2.13 those of its licences.
LONGEST_PATH = 125
LONGEST_PATH_OF_TORCH_2_13 = 173


class PythonEnvironment:
    """What is installed for one Python, read without running it.

    :param python: path of the interpreter; None for the engine's.
    :ivar unfinished: names (lower case) of packages whose installation was killed.
    """

    def __init__(self, python=None):
        self.python = str(python or enginePython())
        self.isOwn = os.path.normcase(os.path.abspath(self.python)) == os.path.normcase(os.path.abspath(sys.executable))
        if self.isOwn:
            self.sitePackages = sysconfig.get_paths()["purelib"]
            self._paths = sys.path
        else:
            # Not resolved: in an environment made by venv the interpreter is a link to the one it was made from.
            prefix = Path(os.path.abspath(self.python)).parent.parent
            found = [*prefix.glob("lib/python3*/site-packages"), *prefix.glob("Lib/site-packages")]
            self.sitePackages = str(found[0]) if found else ""
            self._paths = [str(path) for path in found]
        self.refresh()

    def refresh(self):
        """Forget what was there, after something was installed."""
        importlib.invalidate_caches()
        self.unfinished = Unfinished.unfinished(self.sitePackages)

    def distribution(self, name):
        """The installed package of that name (upper and lower case are the same), or None."""
        found = importlib.metadata.distributions(name=name, path=self._paths)
        # A killed installation may leave a folder without metadata, which says no version.
        return next((package for package in found if _version(package)), None)

    def version(self, name):
        """Its version, or None."""
        package = self.distribution(name)
        return _version(package) if package else None

    def state(self, requirement):
        """``OK``, ``MISSING``, ``BROKEN`` (not all of it is there, whatever pip thinks) or ``OTHER_VERSION``.

        :param requirement: text such as ``monai>=1.5``.
        """
        from packaging.requirements import Requirement
        from packaging.utils import canonicalize_name

        requirement = Requirement(requirement)
        version = self.version(requirement.name)
        importable = self._isImportable(IMPORT_NAMES.get(requirement.name, requirement.name))
        if canonicalize_name(requirement.name) in self.unfinished:
            return BROKEN if version or importable else MISSING
        if version is None:
            # Slicer builds some of its packages itself, and not all of those say their version.
            return OK if importable and requirement.name in PROTECTED else MISSING
        if not importable:
            return BROKEN
        return OK if requirement.specifier.contains(version, prereleases=True) else OTHER_VERSION

    def unfinishedBeside(self, requirements):
        """Names of packages whose installation was killed and that others brought along: a list does not name them."""
        named = {packageName(text).casefold() for text in requirements}
        return [name for name in self.unfinished if name not in named]

    def _isImportable(self, name):
        if self.isOwn:
            spec = importlib.util.find_spec(name)
        else:
            spec = importlib.machinery.PathFinder.find_spec(name, self._paths)
        # A folder without code in it counts as a package too, one without an origin.
        return spec is not None and spec.origin is not None


def _version(package):
    """Version of an installed package, "" without one; reading all of its metadata would take fifty times as long."""
    header = (package.read_text("METADATA") or package.read_text("PKG-INFO") or "").partition("\n\n")[0]
    found = re.search(r"^Version:\s*(\S+)", header, re.MULTILINE | re.IGNORECASE)
    return found[1] if found else ""


def torchRequirements(sitePackages, windows=os.name == "nt"):
    """What to ask for as torch and torchvision: not torch 2.13 where its paths are too long.

    :param sitePackages: folder that it is to be installed in.
    """
    if windows and len(sitePackages) + 1 + LONGEST_PATH_OF_TORCH_2_13 > MAX_WINDOWS_PATH:
        return (f"{TORCH[0]},!=2.13.*", TORCH[1])
    return TORCH


def packageName(requirement):
    """Name of the package in a text such as ``monai>=1.5``."""
    from packaging.requirements import Requirement

    return Requirement(requirement).name
