"""Small Python packages under real names, and an environment to install them into with the real pip."""

import hashlib
import io
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

NUMPY = "float32 = None\ndef ones(*arguments):\n    return [1.0, 1.0]\n"
TORCH = """__version__ = "{version}"
class version: cuda = None
class backends:
    class mps: is_available = staticmethod(lambda: False)
class Tensor:
    def sum(self): return self
    def item(self): return 2.0
def from_numpy(array): return Tensor()
"""
# Import name where it differs.
IMPORTS = {"hydra-core": "hydra", "Pillow": "PIL", "scikit-image": "skimage", "scikit-learn": "sklearn"}
# What a folder for offline computers holds, with the requirements that matter.
PACKAGES = {
    "torch": ("2.9.1", []),
    "torchvision": ("0.24.1", ["torch==2.9.1", "numpy", "Pillow"]),
    "numpy": ("9.9.9", []),
    "scipy": ("1.15.3", ["numpy>=1.23"]),
    "SimpleITK": ("9.9.9", []),
    "monai": ("1.5.1", ["torch>=2.4.1", "numpy>=1.24,<3.0"]),
    "scikit-image": ("0.25.2", ["numpy>=1.24", "scipy>=1.11", "networkx>=3.0"]),
    "scikit-learn": ("1.7.2", ["numpy>=1.22", "scipy>=1.8", "joblib>=1.2", "threadpoolctl>=3.1"]),
    "joblib": ("1.5.2", []),
    "threadpoolctl": ("3.6.0", []),
    "networkx": ("3.5", []),
    "Pillow": ("11.0.0", []),
    "safetensors": ("0.6.2", []),
    "jsonschema": ("4.25.1", []),
    "hydra-core": ("1.3.2", ["omegaconf<2.4,>=2.2"]),
    "omegaconf": ("2.3.0", []),
    "iopath": ("0.1.10", ["tqdm"]),
    "tqdm": ("4.67.1", []),
    "filelock": ("3.20.0", []),
    "pydicom": ("9.9.9", []),
    "highdicom": ("9.9.9", ["pydicom>=3.0.1", "numpy>=1.19", "pyjpegls>=1.0.0"]),
    "pyjpegls": ("1.5.0", ["numpy>=2.0"]),
}
# What a Slicer has before the engine is installed; of its own build of SimpleITK it says no version.
SLICERS = {"numpy": "2.1.0", "scipy": "1.14.1", "SimpleITK": None, "pydicom": "3.0.2", "highdicom": "0.27.0"}
# As on PyPI: no wheel; its build asks for torch, and its requirements are not to be resolved.
SAM2_SETUP = """import os
from setuptools import setup
assert os.environ["SAM2_BUILD_CUDA"] == "0", "the CUDA extension would be built"
setup(name="sam2", version="1.1.0", packages=["sam2"], install_requires=["torch>=99", "numpy>=99"])
"""
SAM2_PROJECT = (
    '[build-system]\nrequires = ["setuptools>=61.0", "torch>=2.5.1"]\nbuild-backend = "setuptools.build_meta"\n'
)


def code(name, version):
    """Text of the package's __init__.py."""
    return {"numpy": NUMPY, "torch": TORCH.format(version=version)}.get(name, f'__version__ = "{version}"\n')


def writeWheel(folder, name, version, requires=()):
    """A wheel file with one package of one file."""
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = [f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}", *(f"Requires-Dist: {r}" for r in requires)]
    path = Path(folder, f"{stem}-py3-none-any.whl")
    with zipfile.ZipFile(path, "w") as file:
        file.writestr(f"{IMPORTS.get(name, name)}/__init__.py", code(name, version))
        file.writestr(f"{stem}.dist-info/METADATA", "\n".join(metadata) + "\n")
        file.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{stem}.dist-info/RECORD", "")
    if (Path(folder) / "SHA256SUMS").exists():
        writeSums(Path(folder))
    return path


def writeSam2(folder):
    """A source package of sam2, as PyPI has it: no wheel."""
    files = {"setup.py": SAM2_SETUP, "pyproject.toml": SAM2_PROJECT, "sam2/__init__.py": ""}
    files["PKG-INFO"] = "Metadata-Version: 2.1\nName: sam2\nVersion: 1.1.0\n"
    with tarfile.open(Path(folder, "sam2-1.1.0.tar.gz"), "w:gz") as file:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"sam2-1.1.0/{name}")
            entry.size = len(text)
            file.addfile(entry, io.BytesIO(text.encode()))


def fillFolder(folder, without=()):
    """A folder as a hospital would bring it."""
    folder.mkdir(parents=True)
    for name, (version, requires) in PACKAGES.items():
        if name not in without:
            writeWheel(folder, name, version, requires)
    writeSam2(folder)
    writeSums(folder)
    return folder


def writeSums(folder):
    """The checksums of a folder, which stand for those of the real packages."""
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(folder.iterdir())]
    (folder / "SHA256SUMS").write_text("".join(line for line in lines if "SHA256SUMS" not in line), "utf-8")


def makeEnvironment(folder):
    """A Python environment with the pip and setuptools of this one; returns its interpreter and its site-packages."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    [site] = Path(folder).glob("lib/python3*/site-packages")
    here = Path(sysconfig.get_paths()["purelib"])
    for pattern in ("pip", "setuptools", "setuptools-*.dist-info", "_distutils_hack"):
        for path in here.glob(pattern):
            # Not links: whatever pip does in there must stay in there.
            shutil.copytree(path, site / path.name)
    return Path(folder, "bin", "python"), site


def putPackage(site, name, version=None):
    """A package that was there before: Slicer's own builds may come without metadata (version None)."""
    package = site / IMPORTS.get(name, name)
    package.mkdir()
    (package / "__init__.py").write_text(code(name, version))
    if version:
        putMetadata(site, name, version)


def putMetadata(site, name, version):
    """What pip goes by; alone, it is the remains of an installation that was killed."""
    folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    files = [f"{IMPORTS.get(name, name)}/__init__.py,,", f"{folder.name}/METADATA,,", f"{folder.name}/RECORD,,"]
    (folder / "RECORD").write_text("\n".join(files) + "\n")


def makeSlicersEnvironment(folder):
    """An environment like that of a Slicer: its own packages, and no engine."""
    interpreter, site = makeEnvironment(folder)
    for name, version in SLICERS.items():
        putPackage(site, name, version)
    return str(interpreter)
