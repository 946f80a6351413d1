"""Which Python environment.sh takes, and what it installs."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "Testing" / "requirements"
PYTHONS = ("3.11", "3.12", "3.13")
PLATFORMS = (("linux", "x86_64"), ("win32", "AMD64"), ("darwin", "arm64"))
# As much of a Python as is asked before the environment is made.
FITS, BROKEN = '#!/bin/sh\n[ "$1" = -c ]\n', "#!/bin/sh\nexit 1\n"
FULL = '#!/bin/sh\n[ "$1" = -c ] && exit\necho "ERROR: [Errno 28] No space left on device" >&2\nexit 1\n'
TOOLS = ("sh", "dirname", "cat", "cksum", "ls", "mkdir", "tail", "grep", "df")


@pytest.fixture
def checkout(tmp_path):
    """A copy of what environment.sh reads, and a folder for PATH that holds no Python yet."""
    for path in ("pyproject.toml", "SAM2Adapt/Resources/requirements.txt", "Testing/environment.sh"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / path, tmp_path / path)
    shutil.copytree(LOCKS, tmp_path / "Testing" / "requirements")
    (tmp_path / "bin").mkdir()
    for tool in TOOLS:
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool))
    return tmp_path


def make(checkout, pythons, chosen=None):
    """What making the environment says, and the Python that was asked to make it."""
    for name, text in pythons.items():
        (checkout / "bin" / name).write_text(text)
        (checkout / "bin" / name).chmod(0o755)
    variables = {"PATH": str(checkout / "bin")} | ({"SAM2ADAPT_PYTHON": chosen} if chosen else {})
    command = [shutil.which("bash"), "-c", f"set -euo pipefail; source '{checkout}/Testing/environment.sh'"]
    done = subprocess.run(command, env=variables, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 1
    found = re.search(r"(\S+) -m venv", (checkout / "Testing" / "output" / "install.log").read_text("utf-8"))
    return done.stderr, found and Path(found[1]).name


@pytest.mark.parametrize(
    ("pythons", "expected"),
    [
        ({"python3.11": FITS, "python3.12": FITS, "python3.13": FITS}, "python3.11"),
        ({"python3.12": FITS, "python3.13": FITS, "python3": FITS}, "python3.12"),
        ({"python3.11": BROKEN, "python3.13": FITS}, "python3.13"),
        ({"python3.11": BROKEN, "python3": BROKEN, "python": FITS}, "python"),
    ],
)
def test_first_python_that_fits_is_taken(checkout, pythons, expected):
    assert make(checkout, pythons)[1] == expected


def test_chosen_python_comes_before_all(checkout):
    assert make(checkout, {"python3.11": FITS, "other": FITS}, chosen=f"{checkout}/bin/other")[1] == "other"


def test_chosen_python_that_does_not_fit_is_refused(checkout):
    said, python = make(checkout, {"python3.11": FITS, "other": BROKEN}, chosen=f"{checkout}/bin/other")
    assert python is None
    assert f"SAM2ADAPT_PYTHON is {checkout}/bin/other, which is not Python 3.11, 3.12 or 3.13" in said


def test_without_a_python_it_says_which_are_needed(checkout):
    said, python = make(checkout, {"python3": BROKEN})
    assert python is None
    assert "Python 3.11, 3.12 or 3.13 with its venv module is needed and was not found." in said


def test_full_disk_is_told_with_what_is_needed_and_where(checkout):
    said, _ = make(checkout, {"python3.11": FULL})
    assert f"The disk is full. The environment takes up to 8 GB in {checkout}/.venv" in said
    assert "set SAM2ADAPT_VENV and TMPDIR to folders on another disk" in said
    said, _ = make(checkout, {"python3.11": FITS})
    assert "Setting up failed" in said and "The disk is full" not in said


def pins(name):
    """The lines of a lock file as requirements."""
    lines = (LOCKS / name).read_text(encoding="utf-8").splitlines()
    return [Requirement(line.rstrip(" \\")) for line in lines if re.match(r"[a-zA-Z0-9]", line)]


def wanted():
    """What the project asks for, with the extras that environment.sh installs."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    lines = (ROOT / "SAM2Adapt" / "Resources" / "requirements.txt").read_text(encoding="utf-8").splitlines()
    own = [line for line in lines if line and not line.startswith("#")]
    return [Requirement(text) for text in (*own, *(text for extra in extras.values() for text in extra))]


def canonical(name):
    """As in lock files."""
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("python", PYTHONS)
@pytest.mark.parametrize(("system", "machine"), PLATFORMS)
def test_lock_has_one_version_of_all_that_the_project_asks_for(python, system, machine):
    environment = {"python_version": python, "python_full_version": f"{python}.0", "implementation_name": "cpython"}
    environment |= {"sys_platform": system, "platform_machine": machine}
    versions = {}
    for pin in pins("environment.txt"):
        if pin.marker is None or pin.marker.evaluate(environment):
            versions.setdefault(canonical(pin.name), []).append(str(pin.specifier).removeprefix("=="))
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
    assert versions["torch"] == ["2.14.1"] and versions["torchvision"] == ["0.29.1"] and versions["sam2"] == ["1.1.0"]
    for requirement in wanted():
        [version] = versions[canonical(requirement.name)]
        assert requirement.specifier.contains(version), f"{requirement}: run Testing/requirements/lock.sh"
