"""Every import is declared, and every declared package is imported: deptry looks at the engine, and at everything."""

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Modules of Slicer that no package brings; and torch, torchvision and sam2, which are installed with options before the
# engine. On the other side what sam2 imports, which is installed without its dependencies, and tools that are only run.
IGNORED = {
    "DEP001": (
        "qt",
        "ctk",
        "PyTorchUtils",
        "SampleData",
        "SegmentEditorEffects",
        "qSlicerSegmentationsEditorEffectsPythonQt",
    ),
    "DEP002": ("hydra-core", "iopath", "tqdm", "ruff", "deptry", "import-linter"),
    "DEP003": ("torch", "torchvision", "sam2", "threadpoolctl"),
}
MODULES = {"slicer-core": ("slicer", "vtk"), "pynrrd": ("nrrd",)}  # that are named unlike their packages


def faults(*arguments):
    """What deptry finds, one a line."""
    command = [sys.executable, "-m", "deptry", "--no-ansi", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, encoding="utf-8", check=False)
    found = [line for line in done.stderr.splitlines() if ": DEP" in line]
    assert bool(found) == bool(done.returncode), done.stderr
    return found


def test_engine_declares_what_it_imports_and_no_more():
    """By [tool.deptry] in pyproject.toml: what only the extras bring, the engine must not import."""
    assert faults("SAM2Adapt/sam2adapt") == []


def test_tests_and_benchmarks_declare_what_they_import_and_no_more():
    """With the engine and Slicer's side, and the extras as dependencies like all others."""
    folders = sorted({path.parent for path in (REPOSITORY / "Testing").rglob("*.py")})
    ignored = ",".join(f"{code}={'|'.join(names)}" for code, names in IGNORED.items())
    modules = ",".join(f"{package}={'|'.join(names)}" for package, names in MODULES.items())
    options = ["--per-rule-ignores", ignored, "--package-module-name-map", modules]
    options += ["--optional-dependencies-dev-groups", ""]  # no extra is for developers only here
    assert faults("SAM2Adapt", "SAM2AdaptTraining", *map(str, folders), *options) == []
