"""A file missing in CMake is missing in the installed extension, silently: so the lists are compared with git."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
MODULES = ("SAM2Adapt", "SAM2AdaptTraining")
INDEX_VALIDATOR_URL = re.compile(r"https://raw\.githubusercontent\.com/[\w-]+/SlicerSAM2Adapt/main/(\S+)")


def listed(module, variable):
    """Entries of one list of a module's CMakeLists.txt, in their order."""
    text = (REPOSITORY / module / "CMakeLists.txt").read_text(encoding="utf-8")
    match = re.search(rf"set\({variable}\n(.*?)\n\s*\)", text, re.DOTALL)
    assert match, f"{module}/CMakeLists.txt has no list {variable}"
    lines = [line.strip() for line in match.group(1).splitlines()]
    return [line.replace("${MODULE_NAME}", module) for line in lines]


def inGit(module):
    if not shutil.which("git") or not (REPOSITORY / ".git").exists():
        pytest.skip("needs a git checkout")
    command = ["git", "-C", str(REPOSITORY), "ls-files", "-z", "--", f"{module}/"]
    names = subprocess.run(command, capture_output=True, check=True).stdout.decode("utf-8").split("\0")
    return {name.removeprefix(f"{module}/") for name in names if name} - {"CMakeLists.txt"}


@pytest.mark.parametrize("module", MODULES)
def test_every_file_of_the_module_is_listed_and_no_other(module):
    entries = listed(module, "MODULE_PYTHON_SCRIPTS") + listed(module, "MODULE_PYTHON_RESOURCES")
    assert set(entries) == inGit(module)


@pytest.mark.parametrize("module", MODULES)
def test_each_file_is_listed_once_and_in_its_list(module):
    scripts, resources = listed(module, "MODULE_PYTHON_SCRIPTS"), listed(module, "MODULE_PYTHON_RESOURCES")
    assert len(set(scripts)) == len(scripts) and len(set(resources)) == len(resources)
    assert all(name.endswith(".py") for name in scripts)
    assert not any(name.endswith(".py") for name in resources)


def extensionVariable(name):
    """A variable of the top-level CMakeLists.txt by the Extensions Index's rule: one literal quoted string."""
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    match = re.search(rf'^set\({name} "([^"]+)"\)', text, re.MULTILINE)
    assert match, f"{name} is not one quoted string"
    assert "${" not in match.group(1)
    return match.group(1)


@pytest.mark.parametrize("name", ["EXTENSION_ICONURL", "EXTENSION_SCREENSHOTURLS"])
def test_pictures_of_the_extensions_index_are_in_the_repository(name):
    for url in extensionVariable(name).split():
        match = INDEX_VALIDATOR_URL.fullmatch(url)
        assert match, url
        assert (REPOSITORY / match.group(1)).read_bytes().startswith((b"\x89PNG", b"\xff\xd8")), url


def test_extension_is_described():
    assert extensionVariable("EXTENSION_DEPENDS").split() == ["PyTorch"]
    assert extensionVariable("EXTENSION_HOMEPAGE").startswith("https://")
    for name in ("EXTENSION_CONTRIBUTORS", "EXTENSION_DESCRIPTION"):
        assert extensionVariable(name).strip()
    text = (REPOSITORY / "CMakeLists.txt").read_text(encoding="utf-8")
    assert "project(SAM2Adapt)" in text and "## NEXT_MODULE" in text
    for module in MODULES:
        assert f"add_subdirectory({module})" in text
