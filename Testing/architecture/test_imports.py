"""The arrows between rooms, and the wall between the engine and Slicer: import-linter reads the imports of all files.

``lint-imports Testing/architecture/importlinter.ini`` prints the same, with PYTHONPATH=SAM2Adapt.
"""

import configparser
import graphlib
import subprocess
import sys
from pathlib import Path

import grimp
import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
SOURCES = REPOSITORY / "SAM2Adapt"
CONTRACTS = Path(__file__).with_name("importlinter.ini")
PACKAGES = ("sam2adapt", "SAM2AdaptLib")
# In a process of its own: it silences the loggers of the process that it runs in.
LINT = "import sys; from importlinter.cli import lint_imports; sys.exit(lint_imports(sys.argv[1], no_cache=True))"
MOST_MODULES = 16  # of a folder, beside __init__.py: more do not fit on a page or into a head


@pytest.fixture(scope="module")
def graph():
    """All files of both packages with everything that they import, for types only as well."""
    return grimp.build_graph(*PACKAGES, include_external_packages=True, cache_dir=None)


def test_contracts_are_kept():
    command = [sys.executable, "-c", LINT, str(CONTRACTS)]
    done = subprocess.run(command, cwd=SOURCES, capture_output=True, encoding="utf-8", check=False)
    assert done.returncode == 0, done.stdout.partition("Broken contracts")[2] or done.stdout + done.stderr


def contract(name):
    """Options of one contract, as text."""
    contracts = configparser.ConfigParser()
    contracts.read(CONTRACTS, encoding="utf-8")
    return contracts[f"importlinter:contract:{name}"]


@pytest.mark.parametrize("name", ["engine-layers", "library-layers"])
def test_page_for_contributors_shows_the_arrows_that_hold(name):
    layers = [layer for layer in contract(name)["layers"].splitlines() if layer not in ("", "__main__")]
    assert " -> ".join(layers) in (REPOSITORY / "Testing" / "README.md").read_text(encoding="utf-8")


def test_wall_before_the_engine_has_no_gap():
    """The contract must name every room but the one that both sides share, for a room it does not name is open."""
    closed = contract("library-without-engine")["forbidden_modules"].split()
    rooms = {path.parent.name for path in (SOURCES / "sam2adapt").glob("*/__init__.py")} - {"shared"}
    assert {name for name in closed if name.startswith("sam2adapt.")} == {
        f"sam2adapt.{name}" for name in (*rooms, "__main__")
    }


def test_room_for_both_sides_needs_the_standard_library_and_numpy_only(graph):
    allowed = sys.stdlib_module_names | {"numpy", "sam2adapt"}  # of sam2adapt shared alone, by the contract of layers
    wrong = [
        f"{module} imports {name}"
        for module in sorted({"sam2adapt", "sam2adapt.shared", *graph.find_descendants("sam2adapt.shared")})
        for name in sorted(graph.find_modules_directly_imported_by(module))
        if name.partition(".")[0] not in allowed
    ]
    assert wrong == []


def circles(imports):
    """Circles of files, as lists of names; each is broken at one place to find those that share files with it."""
    while True:
        try:
            graphlib.TopologicalSorter(imports).prepare()
        except graphlib.CycleError as error:
            circle = error.args[1]
            yield circle
            imports[circle[1]] = imports[circle[1]] - {circle[0]}
        else:
            return


def test_no_files_import_each_other_in_a_circle(graph):
    """Beside the contract, which looks at the files of one folder: here a package's own file counts as well."""
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    assert [" <- ".join(circle) for circle in circles(imports)] == []


def test_every_circle_is_found():
    imports = {"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"c"}, "e": {"a"}}
    assert [set(circle) for circle in circles(imports)] == [{"a", "b", "c"}, {"c", "d"}]


def test_folders_stay_small():
    folders = {path.parent for package in PACKAGES for path in (SOURCES / package).rglob("*.py")}
    folders |= {path.parent for path in (REPOSITORY / "Testing" / "benchmarks" / "speed").rglob("*.py")}
    counts = {f: sum(path.name != "__init__.py" for path in f.glob("*.py")) for f in folders}
    assert {str(f.relative_to(REPOSITORY)): n for f, n in counts.items() if n > MOST_MODULES} == {}
